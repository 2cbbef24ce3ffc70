"""A plain install runs the main job; whatever needs an extra says in one line how to get it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from harness.interfaces.extras import EXTRAS, install
from tests.strangers import hiding

COMMANDS = """
import json, sys
from uwt_eval.main import main

for line in sys.argv[1:]:
    sys.argv[1:] = json.loads(line)
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, (line, stop.code)
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a plain install."""
    site = tmp_path_factory.mktemp("plain")
    hiding(site, EXTRAS, [module.replace("_", "-") for module in EXTRAS])
    return {**os.environ, "PYTHONPATH": str(site), "UWT_EVAL_OFFLINE": "1"}


def test_a_plain_install_measures(
    plain: dict[str, str], tmp_path: Path, photo_folder: Path
) -> None:
    photo = next(each for each in photo_folder.rglob("*") if each.is_file())
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.open(photo).convert("RGB").resize((64, 64)).save(tmp_path / name / "photo.png")
    commands = [
        ["list"],
        ["show", "imagenet-recon"],
        ["run", "imagenet-recon", "--limit", "1", "--model", "uniwetok-nano", "--model", "webp"],
        ["metrics", "a", "b", "--metrics", "psnr,ssim", "--protocol", "exact"],
        ["export", "runs", "--to", "csv"],
        ["doctor", "--json"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, *map(json.dumps, commands)],
        cwd=tmp_path,
        env=plain,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    findings = json.loads(done.stdout[done.stdout.rindex("\n[\n") :])
    texts = {each["name"]: each["text"] for each in findings}
    extras = ", ".join(dict.fromkeys(EXTRAS.values()))
    assert texts["extras"].startswith(f"{extras} not, ")
    assert "openai, which is not installed" in texts["judge"]
    assert len([*(tmp_path / "runs").glob("*/record.json")]) == 2


ENTRIES = {
    ("train", "tokenizer", "--preset", "nano", "--dry-run"): "train",
    ("train", "ar", "--preset", "nano-ar", "--dry-run"): "train",
    ("train", "mllm", "--preset", "gen", "--dry-run"): "train",
    ("data", "check", "records.jsonl"): "train",
    ("reproduce", "mini-ablations", "--dry-run"): "train",
    ("reproduce", "mini-mllm"): "mini",
    ("chat", "--model", "folder", "Hello"): "mllm",
    ("generate", "--model", "folder", "A cat"): "mllm",
    ("show", "uniwetok-chat:folder"): "mllm",
    ("show", "lmms:qwen2_vl"): "vqa",
    ("show", "hf-vlm:folder"): "mllm",
    ("show", "diffusers-vae:folder"): "diffusers",
    ("show", "openai-chat:model@http://localhost:9/v1"): "judge",
    ("run", "imagenet-recon", "--data", "table"): "datasets",
    ("run", "text-recon", "--model", "jpeg", "--limit", "1"): "text",
    ("run", "face-recon", "--model", "jpeg", "--limit", "1"): "faces",
}


@pytest.mark.parametrize("words", ENTRIES, ids=" ".join)
def test_what_needs_an_extra_says_how_to_get_it(
    words: tuple[str, ...], plain: dict[str, str], tmp_path: Path
) -> None:
    for name in ("folder", "table"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder" / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    (tmp_path / "records.jsonl").write_text("{}\n")
    pd.DataFrame({"image": [b"x"]}).to_parquet(tmp_path / "table" / "validation.parquet")
    done = subprocess.run(
        [sys.executable, "-m", "uwt_eval", *words],
        cwd=tmp_path,
        env=plain,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].endswith(install(ENTRIES[words])), done.stderr
    assert "Traceback" not in done.stderr
