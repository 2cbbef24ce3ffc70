from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.train_step import main


def _checkouts(folder: Path) -> list[str]:
    """Options that name a folder which looks like both checkouts."""
    for file in (
        "modeling/vision_encoder/autoencoder_uni.py",
        "src/WeTok/modules/losses/vqperceptual.py",
    ):
        (folder / file).parent.mkdir(parents=True)
        (folder / file).touch()
    return ["--bitdance", str(folder), "--wetok", str(folder)]


def test_needs_both_checkouts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main()
    assert "required: --bitdance, --wetok" in capsys.readouterr().err


def test_says_what_to_clone_where_a_folder_is_no_checkout(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"git clone https://github.com/shallowdream204/BitDance"):
        main("--bitdance", str(tmp_path), "--wetok", str(tmp_path))


@pytest.mark.parametrize("name", ["--rounds", "--batch"])
def test_counts_are_at_least_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(SystemExit, match=f"{name} 0: give at least 1"):
        main(*_checkouts(tmp_path), name, "0")


@pytest.mark.parametrize(
    ("name", "value"), [("--image", "100"), ("--size", "huge"), ("--rows", "with-lpips")]
)
def test_unknown_choices_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    with pytest.raises(SystemExit):
        main(*_checkouts(tmp_path), name, value)
    assert f"{name}: invalid choice: " in capsys.readouterr().err
