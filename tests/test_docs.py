"""The examples in the documents run just as they stand there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file

from harness.interfaces import registry
from tests.conftest import CommandLine

REPOSITORY = Path(__file__).parent.parent
BLOCK = re.compile(r"```(?P<language>\w*)\n(?P<text>.*?)```", re.DOTALL)


def blocks(document: str, language: str) -> list[str]:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    return [match["text"] for match in BLOCK.finditer(text) if match["language"] == language]


@pytest.fixture
def fresh_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an example registers is forgotten after the test."""
    for name in ("TASKS", "MODELS", "METRICS", "EXTRACTORS", "FAMILIES"):
        kept = getattr(registry, name)
        monkeypatch.setattr(kept, "_registered", dict(kept._registered))


PLUGINS = {
    text.splitlines()[0].removeprefix("# "): text for text in blocks("CONTRIBUTING.md", "python")
}
COMMANDS = [
    line
    for text in blocks("CONTRIBUTING.md", "")
    for line in text.splitlines()
    if line.startswith(("uwt-eval run", "uwt-eval metrics"))
]
HUB = "owner/patches"
"""The repository of an example."""


CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = {
    **PLUGINS,
    **dict(re.findall(r"`([\w.]+\.json)`:\n\n```json\n(.*?)```", CONTRIBUTING, re.DOTALL)),
}
OWN_DATA = {"sums", "walls"}
"""Tasks of the examples that bring their data."""


def test_every_example_has_its_command() -> None:
    named = {word for command in COMMANDS for word in shlex.split(command)}
    assert set(PLUGINS) <= named


MOST_FILES = {
    "a model": 1,
    "a family of weights from the hub": 1,
    "a network metric": 2,
    "a text-to-image benchmark": 2,
}
"""New files that an addition takes, as its worked example has them; none edits a file of ours."""
TRIED_WITH = {"painter.py"}
"""Of an example, what only tries it."""


@pytest.mark.parametrize(
    "section",
    [each for each in CONTRIBUTING.split("\n## Add ") if each.partition("\n")[0] in MOST_FILES],
    ids=lambda section: section.partition("\n")[0],
)
def test_an_addition_takes_as_few_files_as_promised(section: str) -> None:
    named = {name for name in FILES if f"# {name}\n" in section or f"`{name}`:" in section}
    assert 1 <= len(named - TRIED_WITH) <= MOST_FILES[section.partition("\n")[0]]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's repository, as the hub's library caches it."""
    folder = tmp_path / "snapshots" / "c0ffee"
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    table = torch.rand(64, 3 * 8**2, generator=generator) * 2 - 1
    save_file({"table": table}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"patch": 8}')
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")

    def download(name: str, **_: object) -> str:
        assert name == HUB
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)


@pytest.mark.usefixtures("fresh_registries", "hub")
def test_a_family_from_the_hub_is_known_by_its_commit_and_takes_any_size(
    uwt_eval: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo_folder: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    text = PLUGINS["patches.py"]
    assert len(text.splitlines()) <= 80
    (tmp_path / "patches.py").write_text(text)
    shown = uwt_eval("show", f"patches:{HUB}", "--plugin", "patches.py")
    assert shown.code == 0, shown.err
    for fact in ("c0ffee", "mit", "6144"):
        assert fact in shown.out
    words = ("--plugin", "patches.py", "--data", photo_folder, "--metrics", "bpp,psnr", "--json")
    for model in (f"patches:{HUB}", f"patches:{HUB}?nearest=angle"):
        run = uwt_eval("run", "imagenet-recon-native", "--model", model, *words)
        assert run.code == 0, run.err
        (record,) = run.records
        assert record["provenance"]["codes"] == {
            "codebook": "64", "tokens": 1024, "bits": 6144.0, "bpp": 0.09375, "compression": 256.0,
        }  # fmt: skip
        assert record["metrics"]["bpp"]["value"] >= 0.09375
    (tmp_path / "empty").mkdir()
    refused = uwt_eval("run", "imagenet-recon", "--model", "patches:empty", *words)
    assert refused.code == 2
    assert "there is no config.json in empty" in refused.err


@pytest.mark.usefixtures("fresh_registries", "hub")
@pytest.mark.parametrize("command", COMMANDS)
def test_contributing_example_runs(
    command: str,
    uwt_eval: CommandLine,
    tmp_path: Path,
    photo_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    words = shlex.split(re.sub(r"path/to/\w+", str(photo_folder), command))[1:]
    if words[0] == "run" and not OWN_DATA & {*words} and "--data" not in words:
        words += ["--data", str(photo_folder)]
    result = uwt_eval(*words, "--json")
    assert result.code == 0, result.err
    for record in result.records:
        measured = [cell["value"] for cell in record["metrics"].values()]
        assert any(value is not None for value in measured)
    if "sums" in words:
        assert result.records[0]["metrics"]["right_sums"]["value"] == pytest.approx(0.91)
    if "walls" in words:
        _check_walls(words, result.records[0], uwt_eval, tmp_path)


def _check_walls(
    words: list[str], record: dict[str, Any], uwt_eval: CommandLine, folder: Path
) -> None:
    """Two files give a figure with its interval over prompts, pictures, and resuming."""
    cell = record["metrics"]["paint"]
    greys = np.array([255, 128, 0])
    assert cell["value"] == pytest.approx(np.mean(1 - abs(204 - greys) / 255))
    assert (cell["n"], cell["method"]) == (12, "bootstrap over prompts")
    assert cell["ci_low"] == pytest.approx(0.2)
    assert cell["ci_high"] == pytest.approx(0.8)
    (root,) = (folder / "runs").glob("walls-*")
    assert {"grid.png", "gallery.html", "record.json"} <= {path.name for path in root.iterdir()}
    assert len(list((root / "images").glob("*/*.png"))) == 12
    made = {path: path.stat().st_mtime_ns for path in folder.rglob("outputs/**/*.parquet")}
    again = uwt_eval(*words, "--json").records[0]
    assert len(made) > 0
    assert made == {path: path.stat().st_mtime_ns for path in made}, "drawn again"
    assert again["metrics"] == record["metrics"]
    elsewhere = uwt_eval("run", "walls", "--images", root / "images", "--json").records[0]
    assert elsewhere["metrics"] == record["metrics"]


ELSEWHERE = [line for text in blocks("docs/elsewhere.md", "") for line in text.splitlines()]


def test_images_made_elsewhere_are_measured(
    uwt_eval: CommandLine,
    tmp_path: Path,
    photo_folder: Path,
    photos: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = ("reconstructions", "native", "numbered", "samples", "originals")
    for name in folders:
        (tmp_path / name).mkdir()
    small = [ImageOps.fit(photo, (256, 256)) for photo in photos]
    originals = sorted(path for path in photo_folder.rglob("*") if path.is_file())
    for index, (path, photo) in enumerate(zip(originals, small, strict=True)):
        for name in ("reconstructions", "originals"):
            photo.save(tmp_path / name / f"{path.stem}.png")
        Image.open(path).convert("RGB").save(tmp_path / "native" / f"{path.stem}.webp")
        for name in ("numbered", "samples"):
            photo.save(tmp_path / name / f"{index:06d}.png")
    pixels = np.stack([np.asarray(photo) for photo in small])
    for name in ("samples.npz", "VIRTUAL_imagenet256_labeled.npz"):
        np.savez(tmp_path / name, pixels)
    for line in ELSEWHERE:
        words = shlex.split(line.replace("path/to/imagenet", str(photo_folder)))[1:]
        words += ["--device", "cpu"] if words[0] == "run" else []
        words += ["--limit", str(len(photos))] if "imagenet-gen" in words else []
        result = uwt_eval(*words)
        assert result.code == 0, f"{line}: {result.err}"
    board = (tmp_path / "board.md").read_text()
    for name in ("MyTokenizer (images made elsewhere)", "native (images", "SiT-XL (images"):
        assert name in board


def test_readme_library_example_runs() -> None:
    (example,) = blocks("README.md", "python")
    scope: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), scope)
    assert tuple(scope["restored"].shape) == (2, 3, 250, 300)  # type: ignore[attr-defined]
    assert tuple(scope["codes"].shape) == (2, 128, 8, 10)  # type: ignore[attr-defined]


def test_readme_comparison_runs(
    uwt_eval: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo_folder: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photo_folder, tmp_path / "my" / "originals")
    for path in photo_folder.rglob("*.*"):
        target = tmp_path / "my" / "reconstructions" / f"{path.stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        ImageOps.fit(Image.open(path), (256, 256)).save(target)
    (text,) = [each for each in blocks("README.md", "") if "uwt-eval compare" in each]
    roots: dict[str, str] = {}
    for line in text.splitlines():
        words = shlex.split(line)[1:]
        # Four photos show what 48 do; the sample set's own pictures are many.
        words += ["--limit", "4"] if "webp" in words else []
        result = uwt_eval(*(roots.get(word, word) for word in words))
        assert result.code == 0, f"{line}: {result.err}"
        if "webp" in words:
            small, large = sorted(map(str, Path("runs").iterdir()), key=lambda each: "2048" in each)
            roots = {"runs/RUN_A": small, "runs/RUN_B": large}
    assert Path("viewer/index.html").is_file()


def test_readme_python_is_that_of_its_document() -> None:
    (example,) = blocks("README.md", "py")
    assert example == blocks("docs/python.md", "python")[0]


def test_ci_calls_the_readme_test_command() -> None:
    command = "pip install nox && nox -s tests"
    assert command in (REPOSITORY / "README.md").read_text(encoding="utf-8")
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert command in script


def test_linked_files_exist() -> None:
    for document in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]:
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
