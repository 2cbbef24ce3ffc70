"""A finished run is told as it is stored, unless anything that decides it is another."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from harness.engine import provenance, score
from harness.engine.runner import Finished
from harness.interfaces.registry import METRICS
from tests.harness.engine.test_runner import run, truncate
from tests.harness.toys import Control, request, result_of


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that were scored; the code is taken for a clean checkout's."""
    found: list[str] = []
    compute = score.score

    def counted(file, *given):  # type: ignore[no-untyped-def]
        found.append(file.run_id)
        return compute(file, *given)

    monkeypatch.setattr(score, "score", counted)
    monkeypatch.setattr(provenance, "code_revision", lambda: {"commit": "0123", "dirty": False})
    return found


def again(tiles: Path, first: Finished, scored: list[str], **changes: object) -> bool:
    """Whether the same command computes its result anew, which is the same."""
    scored.clear()
    second = run(request(tiles, **changes))
    assert result_of(second.record) == result_of(first.record)
    assert second.first_errors == first.first_errors
    assert second.notice == first.notice
    return bool(scored)


def test_a_finished_run_is_read(tiles: Path, control: Control, scored: list[str]) -> None:
    first = run(request(tiles))
    stored = (first.root / "record.json").read_bytes()
    assert not again(tiles, first, scored)
    assert (first.root / "record.json").read_bytes() == stored
    assert again(tiles, first, scored, fresh=True)


def test_samples_that_failed_are_told_again(
    tiles: Path, control: Control, scored: list[str]
) -> None:
    truncate(tiles / "tile_03.png")
    first = run(request(tiles, max_failures=1))
    assert first.first_errors[0].startswith("tile_03.png: decode_error")
    assert not again(tiles, first, scored, max_failures=1)


@pytest.mark.parametrize(
    "name", ["record.json", "samples.parquet", "grid.png", "outputs/*", "observations/pixels/*"]
)
def test_a_file_that_is_gone_is_made_again(
    tiles: Path, control: Control, scored: list[str], name: str
) -> None:
    first = run(request(tiles))
    gone = sorted(first.root.glob(name))[0]
    gone.unlink()
    assert again(tiles, first, scored)
    assert gone.is_file()


def test_a_grid_whose_pictures_are_gone_is_drawn_again(tiles: Path, control: Control) -> None:
    first = run(request(tiles))
    grid = (first.root / "grid.png").read_bytes()
    kept = {path.name: path.read_bytes() for path in (first.root / "pictures").iterdir()}
    shutil.rmtree(first.root / "pictures")
    control.forget()
    run(request(tiles))
    assert not (first.root / "pictures").exists(), "the grid is there"
    (first.root / "grid.png").unlink()
    run(request(tiles))
    assert control.encoded == 0
    assert (first.root / "grid.png").read_bytes() == grid
    assert {path.name: path.read_bytes() for path in (first.root / "pictures").iterdir()} == kept


@pytest.mark.parametrize("name", ["record.json", "run.json", "samples.parquet"])
def test_a_damaged_file_is_made_again(
    tiles: Path, control: Control, scored: list[str], name: str
) -> None:
    first = run(request(tiles))
    damaged = first.root / name
    damaged.write_bytes(damaged.read_bytes().replace(b"psnr", b"snrp").replace(b"toy", b"yot"))
    assert again(tiles, first, scored)


def test_other_data_other_code_and_other_packages_are_seen(
    tiles: Path, control: Control, scored: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(request(tiles))
    monkeypatch.setattr(provenance, "code_revision", lambda: {"commit": "4567", "dirty": False})
    assert again(tiles, first, scored), "another commit"
    assert not again(tiles, first, scored)
    monkeypatch.setattr(provenance, "code_revision", lambda: {"commit": "4567", "dirty": True})
    assert again(tiles, first, scored)
    assert again(tiles, first, scored), "what is edited may be edited further"
    monkeypatch.setattr(provenance, "code_revision", lambda: {"commit": "4567", "dirty": False})
    assert again(tiles, first, scored)
    versions = {**provenance.package_versions(), "scipy": "0.1"}
    monkeypatch.setattr(provenance, "package_versions", lambda: versions)
    assert again(tiles, first, scored), "another scipy"
    assert not again(tiles, first, scored)
    scored.clear()
    Image.new("RGB", (64, 64)).save(tiles / "tile_00.png")
    assert run(request(tiles)).root != first.root
    assert scored


def test_an_installation_is_known_by_its_files(
    tiles: Path, control: Control, scored: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "code_revision", dict)
    first = run(request(tiles))
    assert not again(tiles, first, scored)
    long_ago = time.time() - 10 * 365 * 86400
    os.utime(first.root / "record.json", (long_ago, long_ago))
    assert again(tiles, first, scored), "files of ours are younger than the record"


def test_another_metric_and_the_code_of_anothers_are_seen(
    tiles: Path, control: Control, scored: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(request(tiles, metrics=("bpp", "psnr")))
    scored.clear()
    assert "ssim" in run(request(tiles, metrics=("ssim",))).record.metrics
    assert scored
    first = run(request(tiles, metrics=("ssim",)))
    assert not again(tiles, first, scored, metrics=("psnr",)), "the run has it already"
    monkeypatch.setattr(METRICS, "code", lambda name: "abc" if name == "psnr" else "")
    assert again(tiles, first, scored, metrics=("psnr",)), "its code is in no key"


def test_it_is_told_without_torch(tmp_path: Path) -> None:
    """As the command line tells it, of a codec and of the network that ships."""
    code = (
        "import sys; from harness.engine import provenance; from harness.cli import main\n"
        "provenance.code_revision = lambda: {}\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "heavy = {'torch', 'pandas', 'scipy'} & set(sys.modules)\n"
        "sys.exit(','.join(heavy) or 0)"
    )
    command = [sys.executable, "-c", code, "run", "imagenet-recon", "--device", "auto", "--limit"]
    command += ["2", "--out", str(tmp_path), "--model", "webp", "--model", "uniwetok-nano"]
    command += ["--metrics", "bpp,psnr", "--json"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        for _ in range(2)
    )
    assert "torch" in first.stderr
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout
