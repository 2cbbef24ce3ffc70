"""`uwt-eval report html`: one page of one run."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest
from PIL import Image
from syrupy.assertion import SnapshotAssertion

from tests.conftest import CommandLine
from tests.reports.leaderboard.test_leaderboard import NASTY, parse
from tests.reports.runs import cell, write_run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    settings = {"uint8": "round", "geometry": {"crop": 256}}
    sets = {"rfid": cell(1.5, 0.1)}
    failed = {2: "decode_error"}
    return write_run(tmp_path / "runs", NASTY, sets=sets, failed=failed, settings=settings)


def test_page(
    uwt_eval: CommandLine, root: Path, tmp_path: Path, snapshot: SnapshotAssertion
) -> None:
    out = tmp_path / "run.html"
    result = uwt_eval("report", "html", root, "--out", out)
    assert result.code == 0, result.err
    assert out.read_text(encoding="utf-8") == snapshot
    page = parse(out)
    text = " ".join("".join(page.text).split())
    for words in (
        "photo-2",
        "decode_error",
        "geometry.crop",
        "1 failed",
        "1.40 to 1.60",
        "0123456",
    ):
        assert words in text
    assert "img" not in {tag for tag, _ in page.tags}


def test_the_grid_lies_in_the_page(uwt_eval: CommandLine, root: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(root / "grid.png")
    out = tmp_path / "run.html"
    uwt_eval("report", "html", root, "--out", out)
    (source,) = [attributes["src"] for tag, attributes in parse(out).tags if tag == "img"]
    assert source is not None
    prefix = "data:image/png;base64,"
    assert source.startswith(prefix)
    assert base64.b64decode(source.removeprefix(prefix)) == (root / "grid.png").read_bytes()


def test_a_record_alone_has_a_page_too(
    uwt_eval: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_run(tmp_path / "runs", "toy")
    (tmp_path / "alone").mkdir()
    record = shutil.copy(root / "record.json", tmp_path / "alone" / "x.json")
    monkeypatch.chdir(tmp_path)
    result = uwt_eval("report", "html", record)
    assert result.out == f"{root.name}.html\n"
    assert "record alone" in (tmp_path / f"{root.name}.html").read_text(encoding="utf-8")


def test_many_failures_are_counted(uwt_eval: CommandLine, tmp_path: Path) -> None:
    columns = {"psnr": [20.0] * 130}
    root = write_run(tmp_path, columns=columns, failed=dict.fromkeys(range(120), "model_error"))
    out = tmp_path / "run.html"
    assert uwt_eval("report", "html", root, "--out", out).code == 0
    assert "and 20 more" in out.read_text(encoding="utf-8")


def test_a_damaged_run_file_is_one_line(uwt_eval: CommandLine, root: Path, tmp_path: Path) -> None:
    (root / "run.json").write_text("[]")
    result = uwt_eval("report", "html", root, "--out", tmp_path / "x.html")
    assert result.code == 2
    assert "is damaged" in result.err
