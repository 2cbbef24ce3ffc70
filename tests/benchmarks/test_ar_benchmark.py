from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.ar import main
from benchmarks.ar.options import SIZES, parse


def checkout(folder: Path) -> list[str]:
    """An option that names a folder which looks like a checkout."""
    file = folder / "imagenet_gen" / "src" / "model.py"
    file.parent.mkdir(parents=True)
    file.touch()
    return ["--bitdance", str(folder)]


def test_the_goals_setting_is_the_default(tmp_path: Path) -> None:
    options = parse(checkout(tmp_path))
    assert (options.images, options.steps, options.cfg) == (2, 20, 3.0)
    assert SIZES[options.size].tokens == 64
    assert options.rows == ("sampling", "training", "memory", "batches")


def test_rows_beside_the_released_code_need_it() -> None:
    with pytest.raises(SystemExit, match=r"git clone https://github.com/shallowdream204/BitDance"):
        main("--rows", "memory", "training")
    assert parse(["--rows", "memory"]).bitdance is None


def test_says_what_to_clone_where_a_folder_is_no_checkout(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"holds no imagenet_gen/src/model.py; give a checkout"):
        main("--bitdance", str(tmp_path))


@pytest.mark.parametrize("name", ["--rounds", "--images", "--steps", "--batch"])
def test_counts_are_at_least_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(SystemExit, match=f"{name} 0: give at least 1"):
        main(*checkout(tmp_path), name, "0")


def test_released_guidance_is_above_one(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--cfg 1: give more than 1"):
        main(*checkout(tmp_path), "--cfg", "1")


@pytest.mark.parametrize(("name", "value"), [("--size", "huge"), ("--rows", "decoding")])
def test_unknown_choices_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    with pytest.raises(SystemExit):
        main(*checkout(tmp_path), name, value)
    assert f"{name}: invalid choice: " in capsys.readouterr().err
