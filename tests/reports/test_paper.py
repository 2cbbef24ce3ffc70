"""The paper's tables as data: every number as it was printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from harness.interfaces.registry import METRICS, REFERENCES
from reports.paper import load_table, reference_rows

PAPER = Path(__file__).resolve().parents[2].parent / "shared" / "paper" / "uniwetok.md"
COMPARISONS = [8, 10]
COLUMNS = ("values", "coco", "imagenet")


def printed_rows() -> list[str]:
    """The paper's table rows without emphasis marks."""
    text = re.sub(r"</?[bi]>|</?math>|\$", "", PAPER.read_text(encoding="utf-8"))
    return [line for line in text.splitlines() if "\t" in line]


def printed(metric: str, value: float) -> str:
    return f"{100 * value:.0f}%" if metric.startswith("usage") else f"{value:.2f}"


def numbers_of(row: dict[str, Any]) -> list[str]:
    """What the paper prints of a row, in its order; the rate is derived, not printed."""
    return [
        printed(metric, value)
        for column in COLUMNS
        for metric, value in row.get(column, {}).items()
        if metric != "bpp"
    ]


@pytest.mark.parametrize("number", COMPARISONS)
def test_table_says_what_it_is(number: int) -> None:
    table = load_table(number)
    assert table["table"] == number
    assert table["title"]
    assert table["rows"]
    assert all(row["method"] for row in table["rows"])
    assert sum(bool(row.get("ours")) for row in table["rows"]) >= 1


@pytest.mark.parametrize("number", COMPARISONS)
def test_columns_are_metrics_in_their_own_units(number: int) -> None:
    for row in load_table(number)["rows"]:
        for column in COLUMNS:
            for metric, value in row.get(column, {}).items():
                assert metric in METRICS
                assert value > 0
                if metric in {"ssim", "usage_pooled"}:
                    assert value <= 1


@pytest.mark.skipif(not PAPER.is_file(), reason="the paper's text is not at hand")
@pytest.mark.parametrize("number", COMPARISONS)
def test_every_row_is_printed_in_the_paper(number: int) -> None:
    rows = printed_rows()
    for row in load_table(number)["rows"]:
        name = row["method"] + (f" [{row['citation']}]" if "citation" in row else " (Ours)")
        candidates = [line.split("\t") for line in rows if line.startswith(name + "\t")]
        wanted = numbers_of(row)
        assert any([cell for cell in cells if cell in wanted] == wanted for cells in candidates), (
            f"{name}: {wanted} not in {candidates}"
        )


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (
            "imagenet-recon",
            {
                "Tab. 8": {"rfid": 0.79, "psnr": 23.26, "usage_pooled": 1.0, "bpp": 0.125},
                "Tab. 10": {"rfid": 1.18, "psnr": 22.97, "ssim": 0.66, "bpp": 0.125},
            },
        ),
        (
            "coco-recon",
            {"Tab. 10": {"rfid": 6.18, "psnr": 22.58, "ssim": 0.66, "bpp": 0.125}},
        ),
        ("imagenet-recon-native", {"Tab. 10": {"rfid": 1.25, "psnr": 22.66, "ssim": 0.65}}),
        ("coco-recon-native", {"Tab. 10": {"rfid": 6.46, "psnr": 22.29, "ssim": 0.65}}),
    ],
)
def test_reference_rows_are_the_papers_own(
    task: str, expected: dict[str, dict[str, float]]
) -> None:
    rows = reference_rows(task)
    assert {row.source: dict(row.values) for row in rows} == expected
    assert len(rows) == len(expected)
    assert all(row.label == "paper" for row in rows)


def test_only_a_stated_number_of_images_is_given() -> None:
    by_source = {row.source: row for row in reference_rows("imagenet-recon")}
    assert by_source["Tab. 8"].n == 50_000


def test_zero_shot_is_of_the_two_full_models() -> None:
    rows = {row.source: row.values["top1"] for row in reference_rows("imagenet-zeroshot")}
    assert rows == {"Tab. 1": 0.4877, "Tab. 7": 0.3541}


def test_unknown_task_has_no_reference_rows() -> None:
    assert reference_rows("no-such-task") == []


def test_reference_rows_are_offered_to_the_command_line() -> None:
    assert REFERENCES.get("paper") is reference_rows
