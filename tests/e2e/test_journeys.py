"""Four users' days, from an empty folder: the documented commands, each in a process of its own."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.test_docs import PLUGINS, blocks

pytestmark = pytest.mark.slow
SCRIPT = str(Path(sys.executable).parent / "uwt-eval")
AUTOENCODER = """
import torch


class Autoencoder(torch.nn.Module):
    # Sixteen greys, one for each square of 16 pixels.
    def encode(self, images):
        grey = torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), 16)
        return ((grey + 1) * 7.5).round().long()

    def decode(self, codes):
        return (codes / 7.5 - 1).float().expand(-1, 3, -1, -1).repeat_interleave(
            16, 2
        ).repeat_interleave(16, 3)


autoencoder = Autoencoder()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty folder."""
    monkeypatch.setenv("UWT_EVAL_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def do(command: str, code: int = 0, *more: str) -> str:
    """Run a command as it is printed; what it said on both streams."""
    words = shlex.split(command)
    assert words[0] == "uwt-eval", command
    done = subprocess.run(
        [SCRIPT, *words[1:], *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code, f"{command}: {done.stdout}"
    assert "Traceback" not in done.stdout
    return done.stdout


def python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def photos_in(folder: Path, photos: list[Image.Image]) -> None:
    folder.mkdir(parents=True)
    for index, photo in enumerate(photos):
        photo.save(folder / f"{index}.png")


def run_of(model: str) -> Path:
    """The run directory of a model."""
    records = [json.loads(path.read_text()) for path in Path("runs").glob("*/record.json")]
    (name,) = [each["run_id"] for each in records if each["model"] == model]
    return Path("runs", name)


def test_a_new_user_reads_the_readme(here: Path, photos: list[Image.Image]) -> None:
    """Runs, looks, compares, views and gates; two pictures show what 48 do."""
    few = ("--limit", "2")
    install, *_ = [text for text in blocks("README.md", "") if "pip install ." in text]
    table = do(install.strip().removeprefix("pip install . && "), 0, *few)
    for text in ("uniwetok-nano", "webp", "avif", "paper Tab. 8*", "sample-set", "LPIPS(A)"):
        assert text in table
    assert {"record.json", "samples.parquet", "grid.png"} <= {
        path.name for path in run_of("uniwetok-nano").iterdir()
    }
    photos_in(here / "my" / "originals", photos[:2])
    photos_in(here / "my" / "reconstructions", [photo.resize((256, 256)) for photo in photos[:2]])
    (text,) = [each for each in blocks("README.md", "") if "uwt-eval compare" in each]
    said = {}
    for line in text.splitlines():
        if "RUN_A" in line or "RUN_B" in line:
            line = line.replace("runs/RUN_A", str(run_of("webp")))
            line = line.replace("runs/RUN_B", str(run_of("webp:2048")))
        said[line.split()[1]] = do(line, 0, *(few if "webp" in line.split() else ()))
    assert "psnr" in said["compare"].lower()
    assert "gate passed" in said["gate"]
    assert Path("viewer/index.html").is_file()


def test_a_researcher_measures_a_tokenizer(here: Path, photos: list[Image.Image]) -> None:
    """A module in five lines, then as a plug-in on an own folder, beside a codec; and exports."""
    (example,) = blocks("README.md", "py")
    printed = python(AUTOENCODER + example.replace("limit=16", "limit=2"))
    assert "mine" in printed
    assert "webp" in printed
    photos_in(here / "photos", photos[:3])
    Path("mean_colour.py").write_text(PLUGINS["mean_colour.py"], encoding="utf-8")
    run = next(
        line
        for text in blocks("CONTRIBUTING.md", "")
        for line in text.splitlines()
        if "--plugin mean_colour.py --model mean-colour" in line
    )
    own = ("--data", "photos", "--metrics", "bpp,psnr", "--model", "webp")
    table = do(run, 0, *own)
    assert "flat-colour:90?tint=red" in table
    assert "mean-colour" in do("uwt-eval show mean-colour --plugin mean_colour.py")
    runs = {path.name for path in Path("runs").glob("*")}
    assert len(runs) == 6
    mine = [path for path in map(Path, Path("runs").glob("*")) if model_of(path) == "mean-colour"]
    codec = [path for path in Path("runs").glob("*") if model_of(path) == "webp" and on(path, 3)]
    compared = do(f"uwt-eval compare {mine[0]} {codec[0]} --plugin mean_colour.py")
    assert "psnr" in compared.lower()
    table = do("uwt-eval export runs --to csv --plugin mean_colour.py")
    assert len([line for line in table.splitlines() if ",psnr," in line]) == 6


def model_of(run: Path) -> str:
    return str(json.loads((run / "record.json").read_text())["model"])


def on(run: Path, samples: int) -> bool:
    return bool(json.loads((run / "record.json").read_text())["n"] == samples)


CODEC = """
from harness.baselines.codecs import WebP
from harness.interfaces.registry import MODELS


@MODELS.register("ours")
class Ours(WebP):
    def budget(self, width, height):
        return super().budget(width, height) // SHARE
"""
NIGHTLY = """
tasks = ["imagenet-recon"]
models = ["ours"]
data = "photos"
metrics = ["psnr"]
plugins = ["ours.py"]
out = "runs"

[[gates]]
baseline = "gates/ours.json"
rules = ["psnr>=-0.05"]
"""


def test_a_maintainer_gates_a_codec(here: Path, photos: list[Image.Image]) -> None:
    """Exit codes of a nightly job: 2 before there is a baseline, 0, and 1 for a regression."""
    photos_in(here / "photos", photos[:2])
    Path("ours.py").write_text(CODEC.replace("SHARE", "1"))
    do("uwt-eval init nightly.toml --yes")
    assert "is there already" in do("uwt-eval init nightly.toml --yes", 2)
    Path("nightly.toml").write_text(NIGHTLY)
    assert "the same command with --update-baseline makes it" in do("uwt-eval run nightly.toml", 2)
    do("uwt-eval run nightly.toml --update-baseline")
    assert "gate passed" in do("uwt-eval run nightly.toml")
    (before,) = Path("runs").iterdir()
    Path("ours.py").write_text(CODEC.replace("SHARE", "2"))
    assert "psnr" in do("uwt-eval run nightly.toml", 1)
    (after,) = set(Path("runs").iterdir()) - {before}
    gate = f"uwt-eval gate {after} --baseline gates/ours.json --plugin ours.py"
    (check,) = json.loads(do(f"{gate} --rule 'psnr>=-0.05' --json", 1))["checks"]
    assert check["outcome"] == "regression"
    do(f"{gate} --rule 'psnr>=-20'")
    assert "did you mean" in do(f"{gate} --rule 'pnsr>=-0.05'", 2)


def test_somebody_trains_a_tokenizer(here: Path, photos: list[Image.Image]) -> None:
    """The recipe for a CPU, cut to a step; then what it prints, and the picture of its log."""
    photos_in(here / "photos", photos[:2])
    tiny = ["steps=1", "batch_size=2", "log_every=1", "data.workers=0", "data.resolution=64"]
    settings = " ".join(f"--set {each}" for each in tiny)
    train = f"uwt-eval train tokenizer --preset nano --device cpu --data photos {settings}"
    said = do(train)
    assert "done: 1 steps" in said
    (line,) = [each for each in said.splitlines() if each.startswith("evaluate it: ")]
    assert "uniwetok" in do(line.removeprefix("evaluate it: "), 0, "--limit", "1")
    assert model_of(next(Path("runs").glob("imagenet-recon-*"))).startswith("uniwetok")
    do("uwt-eval report training runs/train/nano --out training.png")
    with Image.open("training.png") as picture:
        assert picture.width > 100
