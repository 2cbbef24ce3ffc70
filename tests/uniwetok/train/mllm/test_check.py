"""The check lists every offending line with its field and a fix, and counts the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import CommandLine
from tests.uniwetok.train.mllm.tiny import records, write_data, write_images, write_lines


def spoil(folder: Path) -> Path:
    """A file whose lines 2, 4, 5, 6 and 7 are wrong."""
    names = write_images(folder)
    (folder / "torn.png").write_bytes((folder / names[0]).read_bytes()[:60])
    (folder / "text.png").write_text("no image")
    Image.new("RGB", (1000, 8)).save(folder / "strip.png")
    good = [json.dumps(record) for record in records(names)]
    caption = {"kind": "text-image", "text": "x"}
    lines = [
        good[0],
        '{"kind": "text-image", "text": "x"',
        good[4],
        json.dumps({**caption, "image": "missing.png"}),
        json.dumps({**caption, "image": "text.png"}),
        json.dumps({**caption, "image": "strip.png"}),
        json.dumps({**caption, "picture": "0.png"}),
        json.dumps({**caption, "image": "torn.png"}),
    ]
    path = folder / "spoiled.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_good_data_is_counted(uwt_eval: CommandLine, tmp_path: Path) -> None:
    result = uwt_eval("data", "check", str(write_data(tmp_path)), "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert report["ok"]
    assert report["kinds"] == {"chat": 2, "edit": 2, "interleaved": 2, "text-image": 2}
    assert (report["records"], report["images"], report["offending"]) == (8, 11, 0)
    assert (report["smallest"], report["largest"]) == ([64, 64], [300, 200])


def test_offending_lines_are_named(uwt_eval: CommandLine, tmp_path: Path) -> None:
    path = spoil(tmp_path)
    result = uwt_eval("data", "check", str(path))
    assert result.code == 2
    lines = result.out.splitlines()
    expected = {
        2: "not JSON",
        4: "image: ",
        5: "image: text.png is not a readable image",
        6: "image: strip.png of 8x1000 pixels would be stretched",
        7: "picture: is no field of 'text-image'",
    }
    listed = [line for line in lines if line.startswith(f"{path}:")]
    for line, (number, text) in zip(listed, expected.items(), strict=True):
        assert line.startswith(f"{path}:{number}: {text}")
        assert "; " in line
    assert "missing.png cannot be read (No such file or directory)" in result.out
    assert lines[-1] == "5 offending records"
    assert "8 records; good: 1 edit, 2 text-image" in lines


def test_decoding_finds_torn_images(uwt_eval: CommandLine, tmp_path: Path) -> None:
    result = uwt_eval("data", "check", str(spoil(tmp_path)), "--decode", "--json")
    report = json.loads(result.out)
    assert result.code == 2
    assert report["offending"] == 6
    assert report["findings"][-1]["line"] == 8


def test_a_maximum_is_listed_and_all_are_counted(uwt_eval: CommandLine, tmp_path: Path) -> None:
    lines = [{"kind": "chat", "messages": []}] * 700
    path = write_lines(tmp_path / "many.jsonl", lines)
    result = uwt_eval("data", "check", str(path), "--max", "3")
    assert result.code == 2
    assert sum(line.startswith(f"{path}:") for line in result.out.splitlines()) == 3
    assert "700 offending records, the first 3 listed" in result.out


@pytest.mark.parametrize(
    ("name", "message"), [("none.jsonl", "does not exist"), ("empty.jsonl", "holds no record")]
)
def test_files_that_cannot_be_checked(
    uwt_eval: CommandLine, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "empty.jsonl").touch()
    result = uwt_eval("data", "check", str(tmp_path / name))
    assert result.code == 2
    assert message in result.err
