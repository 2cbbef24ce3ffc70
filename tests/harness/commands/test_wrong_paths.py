"""What is not there is told before torch is imported, which takes seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
from harness.cli import main
try: main()
except SystemExit as stop: assert stop.code == 2, stop.code
sys.exit('torch' in sys.modules)
"""
IN_THE_WAY = "file is a file, no folder: give another place"
RECON = "run imagenet-recon --model webp"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (f"{RECON} --data absent", "'absent' does not exist"),
        (f"{RECON} --model uniwetok-nano --data absent", "'absent' does not exist"),
        (f"{RECON} --out file/runs", f"cannot write file/runs: {IN_THE_WAY}"),
        ("metrics . . --record --out file", f"cannot write file: {IN_THE_WAY}"),
        ("explain . . --out file/a", f"cannot write file/a: {IN_THE_WAY}"),
        ("sweep imagenet-recon -m webp --report file", f"cannot write file: {IN_THE_WAY}"),
        (
            "sample --model uniwetok-ar-nano --classes 1 --out file/a.png",
            f"cannot write file: {IN_THE_WAY}",
        ),
        (f"{RECON} --plugin absent.py", "no such file"),
        (f"{RECON} --protocol absent", "unknown protocol"),
        (f"{RECON} --metrics absent", "unknown metric"),
        (f"{RECON} --device absent", "--device absent: use auto, cpu, cuda"),
        (f"{RECON} --device cuda", "torch sees no CUDA device here"),
        ("run absent", "unknown task"),
        ("run imagenet-recon --model absent", "unknown model"),
        ("run imagenet-recon --model uniwetok:absent", "no such place"),
        ("run imagenet-recon --model vqgan:absent", "no such place"),
        ("run imagenet-recon --images absent", "no such folder"),
        ("run imagenet-gen --model uniwetok-ar-nano --data absent", "does not exist"),
        ("run geneval --model uniwetok-gen:absent", "no such folder"),
        ("run mme --model uniwetok-chat:absent", "no such folder"),
        ("metrics absent file", "'absent' does not exist"),
        ("metrics file absent", "file"),
        ("calibrate absent", "'absent' does not exist"),
        ("score absent", "is not a run directory"),
        ("compare absent file", "absent"),
        ("report table8 --runs absent", "absent"),
        ("generate words --model absent", "no such folder"),
        ("chat words --model absent", "no such folder"),
        ("train tokenizer --preset uniwetok-256-imagenet --data absent", "absent"),
        (
            "train tokenizer --preset nano --data . --out run --set init=absent",
            "init=absent: there",
        ),
        (
            "train mllm --preset pretrain --data . --out run --language-model ./absent",
            "--language-model ./absent: there",
        ),
        (
            "train mllm --preset pretrain --dry-run --language-model ./absent",
            "--language-model ./absent: there",
        ),
        ("data check absent", "absent does not exist"),
        ("explain absent", "absent: no such file"),
        ("explain . absent", "absent: no such file"),
    ],
)
def test_torch_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, told: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    result = subprocess.run(
        [sys.executable, "-c", CODE, *words.split()],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert told in " ".join(result.stderr.split()), result.stderr
    assert result.stderr.startswith("error: "), "something was said before it"
    assert result.returncode == 0, f"torch was imported: {result.stderr}"
