"""Every page is HTML without a single parse error, whatever names and texts it holds."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import html5lib
import pytest

from tests.conftest import CommandLine
from tests.reports.runs import cell, write_run

NASTY = "a | <b>&\"'\n</table></script><!-- ]]>"


class Outline(HTMLParser):
    """Ids, and what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in {"src", "href"} and not (value or "").startswith("data:"):
                self.loaded.append(value or "")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    write_run(folder, NASTY, sets={"rfid": cell(2.0, 0.1)}, dataset=NASTY)
    write_run(folder, "b", protocol=NASTY, failed={0: "decode_error"})
    return folder


@pytest.mark.parametrize("page", ["leaderboard", "tables", "run"])
def test_page(uwt_eval: CommandLine, tmp_path: Path, runs: Path, page: str) -> None:
    target = tmp_path / "page.html"
    words = {
        "leaderboard": ["leaderboard", runs, "--out", tmp_path / "L.md", "--html", target],
        "tables": ["report", "all", "--runs", runs, "--format", "html", "--out", target],
        "run": ["report", "html", sorted(runs.iterdir())[0], "--out", target],
    }[page]
    result = uwt_eval(*words)
    assert result.code == 0, result.err
    text = target.read_text(encoding="utf-8")
    html5lib.HTMLParser(strict=True).parse(text)
    outline = Outline()
    outline.feed(text)
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.loaded == []
    assert outline.tags.count("b") == text.count("<b>")
    assert "<b>&" not in text
