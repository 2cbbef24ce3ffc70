"""The HTML pages in headless Chromium, opened from disk: `nox -s browser`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CommandLine
from tests.reports.runs import cell, write_run

pytestmark = pytest.mark.browser

NASTY = 'x"><img src=nowhere onerror="document.title=1"> | $a$'


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three models under one protocol, one of them under a second, one with failures."""
    folder = tmp_path / "runs"
    for model, psnr, rfid in (("alpha", 21.0, 3.0), ("beta", 25.0, 1.0), (NASTY, 23.0, 10.0)):
        columns = {"psnr": [psnr - 1, psnr, psnr, psnr + 1]}
        write_run(folder, model, columns=columns, sets={"rfid": cell(rfid, 0.1)}, pictures=(0,))
    write_run(folder, "beta", protocol="exact", settings={"uint8": "exact"})
    write_run(folder, "gamma", task="coco-recon", failed={0: "decode_error"})
    return folder


def models(page: Any, section: int = 0) -> list[str]:
    rows = page.locator("section").nth(section).locator("tbody tr:visible td:nth-child(2)")
    return [text.strip() for text in rows.all_inner_texts()]


def open_board(uwt_eval: CommandLine, page: Any, runs: Path, tmp_path: Path) -> None:
    target = tmp_path / "board.html"
    words = ["leaderboard", runs, "--out", tmp_path / "L.md", "--html", target, "--by", "psnr"]
    assert uwt_eval(*words).code == 0
    page.goto(target.as_uri())


def first(page: Any) -> int:
    """The section with three models."""
    headings = page.locator("section h2").all_inner_texts()
    return next(i for i, text in enumerate(headings) if "imagenet-recon · protocol wetok" in text)


def test_sort(uwt_eval: CommandLine, page: Any, runs: Path, tmp_path: Path) -> None:
    open_board(uwt_eval, page, runs, tmp_path)
    section = first(page)
    assert models(page, section) == ["beta", NASTY, "alpha"]
    head = page.locator("section").nth(section).get_by_role("button", name="rFID")
    head.click()
    # As numbers: 10.0 is the largest.
    assert models(page, section) == ["beta", "alpha", NASTY]
    head.click()
    assert models(page, section) == [NASTY, "alpha", "beta"]
    assert page.locator("th[aria-sort=descending]").count() == 1
    head.focus()
    page.keyboard.press("Enter")
    assert models(page, section) == ["beta", "alpha", NASTY]


def test_filter(uwt_eval: CommandLine, page: Any, runs: Path, tmp_path: Path) -> None:
    open_board(uwt_eval, page, runs, tmp_path)
    assert page.locator("section:visible").count() == 3
    page.get_by_label("Protocol").select_option("exact")
    assert page.locator("section:visible").count() == 1
    assert "protocol exact" in page.locator("section:visible h2").inner_text()
    page.get_by_label("Protocol").select_option("")
    page.get_by_label("Task").select_option("coco-recon")
    assert page.locator("section:visible").count() == 1
    page.get_by_label("Task").select_option("")
    page.get_by_label("Model").fill("ALPH")
    assert page.locator("section:visible").count() == 1
    assert models(page, first(page)) == ["alpha"]


def test_open_a_run(uwt_eval: CommandLine, page: Any, runs: Path, tmp_path: Path) -> None:
    open_board(uwt_eval, page, runs, tmp_path)
    row = page.locator("section").nth(first(page)).locator("tbody tr").first
    record = row.locator("pre")
    assert not record.is_visible()
    row.locator("summary").click()
    assert record.is_visible()
    assert '"protocol": "wetok"' in record.inner_text()
    assert page.title() == "Leaderboard"


def test_a_run_and_the_tables(uwt_eval: CommandLine, page: Any, runs: Path, tmp_path: Path) -> None:
    root = next(path for path in runs.iterdir() if "alpha" in path.name)
    assert uwt_eval("report", "html", root, "--out", tmp_path / "run.html").code == 0
    page.goto((tmp_path / "run.html").as_uri())
    assert "alpha" in page.locator("h1").inner_text()
    page.get_by_text("Identity").click()
    assert page.get_by_text("model_digest").is_visible()
    words = ["report", "all", "--runs", runs, "--format", "html", "--out", tmp_path / "t.html"]
    assert uwt_eval(*words).code == 0
    page.goto((tmp_path / "t.html").as_uri())
    assert page.locator("tr.measured").count() >= 3
    assert page.locator("table").count() == 6
    wide = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert wide
