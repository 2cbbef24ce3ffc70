"""Files that reports write: their endings, their folders, and names made of other names."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.interfaces.errors import UserError
from reports.files import check_ending, file_name, write_text


def test_an_ending_is_that_of_what_is_written() -> None:
    check_ending("--out", Path("a.PNG"), [".png", ".svg"])
    for name in ("a.txt", "png", "a.png.txt"):
        with pytest.raises(UserError, match=rf"--out {name}: end its name in .png or .svg$"):
            check_ending("--out", Path(name), [".png", ".svg"])


@pytest.mark.parametrize("below", ["x.html", "deeper/still/x.html"])
def test_a_file_in_the_way_is_named(tmp_path: Path, below: str) -> None:
    file = tmp_path / "t.txt"
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"t\.txt is a file, no folder: give another place"):
        write_text(file / below, "page")
    assert file.read_text(encoding="utf-8") == "mine"
    write_text(tmp_path / "new" / below, "page")
    assert (tmp_path / "new" / below).read_text(encoding="utf-8") == "page"


def test_a_name_becomes_a_part_of_a_files_name() -> None:
    assert file_name("../a b/画像.png") == "-a-b-.png"
