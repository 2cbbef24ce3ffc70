"""Tokens, codebooks and rates of measured models beside the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.figures.scatter import draw_rates
from reports.records import load_records
from reports.tables.codes import Codes
from reports.tables.filled import fill
from reports.tables.formats import to_markdown
from tests.reports.runs import PROVENANCE, cell, change_record, write_run

BINARY = {"codebook": "2^128", "tokens": 64, "bits": 8192.0, "bpp": 0.125}
CONTINUOUS = {"continuous": "float32", "tokens": 1024, "bits": 1024 * 4 * 32.0}


def run_of(folder: Path, model: str, codes: Any, bpp: float = 0.125) -> Path:
    sets = {"rfid": cell(0.99), "bpp": cell(bpp, metric="bpp")}
    root = write_run(folder / model, model, columns={"psnr": [20.0, 21.0, 22.0, 23.0]}, sets=sets)
    return change_record(root, provenance={**PROVENANCE, "codes": codes})


def test_measured_rows_have_the_papers_columns(tmp_path: Path) -> None:
    run_of(tmp_path, "binary", BINARY)
    run_of(tmp_path, "sd", CONTINUOUS)
    run_of(tmp_path, "codec", None)
    text = to_markdown([fill(8, load_records([tmp_path]))])
    rows = {
        line.split("|")[1].split()[0]: [part.strip() for part in line.split("|")[2:5]]
        for line in text.splitlines()
        if "(measured" in line
    }
    assert rows["binary"] == ["8x8", "32", r"2^128"]
    assert rows["sd"] == ["32x32", "8", "continuous, float32"]
    assert rows["codec"] == ["", "", ""]
    assert "8,192 bits an image of 256x256, 0.125 bpp, 192:1" in text
    assert "continuous latents stored as float32" in text
    assert "| 32 |" in to_markdown([fill(10, load_records([tmp_path]))])


@pytest.mark.parametrize(
    "codes",
    ["text", [1], {"tokens": True}, {"tokens": -1, "bits": "many"}, {"bits": float("nan")}, {}],
)
def test_what_others_wrote_is_not_believed(codes: Any, tmp_path: Path) -> None:
    run_of(tmp_path, "odd", codes)
    (loaded,) = load_records([tmp_path])
    assert Codes.of(loaded.record).text == ""
    assert Codes.of(loaded.record).facts(("tokens", "ratio", "codebook")) == ("", "", "")


def test_figures_of_rates_keep_continuous_latents_apart(tmp_path: Path) -> None:
    run_of(tmp_path, "binary", BINARY)
    run_of(tmp_path, "sd", CONTINUOUS, bpp=2.0)
    figure = draw_rates(load_records([tmp_path]))
    for axes in figure.axes:
        assert axes.get_xlim()[1] < 1, "2 bpp is off the axis"
        assert any("sd, continuous float32, 2 bpp" in text.get_text() for text in axes.texts)
