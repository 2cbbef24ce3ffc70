"""Footnotes of measured rows: data sets where there are several, and each reason once."""

from __future__ import annotations

from pathlib import Path

from reports.records import load_records
from reports.tables.filled import fill
from reports.tables.formats import footnotes
from tests.reports.runs import cell, write_run


def notes(folder: Path) -> list[str]:
    return [line for line in footnotes(fill(8, load_records([folder]))) if line.startswith("[")]


def test_data_sets_are_named_where_a_model_has_several(tmp_path: Path) -> None:
    more = {"psnr": [20.0, 21, 22, 23, 24, 25]}
    write_run(tmp_path, "nano", dataset="zoo", ids=("lion", "ape", "bear", "cat"))
    write_run(tmp_path, "nano", dataset="photos")
    write_run(tmp_path, "nano", dataset="photos", columns=more)
    write_run(tmp_path, "webp", dataset="photos")
    lines = [line for line in notes(tmp_path) if "run imagenet" in line]
    where = [line.partition("wetok, ")[2].partition(" (")[0] for line in lines]
    assert where[:3] == ["data set photos", "data set photos", "data set zoo"]
    assert "(n=6, " in lines[0], "the largest part of a set first"
    assert lines[3].startswith("[4] webp: protocol wetok, n 4, run ")


def test_a_reason_is_given_once(tmp_path: Path) -> None:
    for model in ("a", "b"):
        write_run(tmp_path, model, columns={"psnr": [20.0] * 4, "ssim": [0.5] * 4})
    write_run(tmp_path, "c", columns={"psnr": [20.0] * 4}, sets={"rfid": cell(3.0)})
    reasons = [line for line in notes(tmp_path) if "run imagenet" not in line]
    (reason,) = reasons
    assert reason.startswith("[1], [2] — rFID, ")
    assert "; [3] — " in reason
    assert reason.count("not measured") == 1
    assert reason.endswith(": not measured")
