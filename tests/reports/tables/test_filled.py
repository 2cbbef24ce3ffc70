"""Measured rows beside printed ones: where they stand, and what makes them compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.interfaces.registry import TASKS
from reports.paper import load_table
from reports.records import load_records
from reports.tables.filled import COMPARISONS, Filled, Row, fill, why_apart
from tests.reports.runs import cell, change_record, write_run


def measured(filled: Filled) -> list[tuple[str, Row]]:
    return [
        (section.heading, row)
        for section in filled.sections
        for row in section.rows
        if row.measured
    ]


def as_the_paper(root: Path, n: int = 50_000, **fields: Any) -> Path:
    """The record claims as many samples as the paper has."""
    return change_record(root, n=n, **fields)


@pytest.mark.parametrize("number", COMPARISONS)
def test_without_results_a_table_is_the_papers(number: int) -> None:
    filled = fill(number, [])
    assert measured(filled) == []
    rows = [row for section in filled.sections for row in section.rows]
    assert all(len(row.cells) == len(filled.measures) for row in rows)
    assert all(len(row.facts) == len(filled.facts) for row in rows)
    assert sum(width for _, width in filled.spans) in {0, len(filled.measures)}


def test_a_comparable_result_has_its_difference(tmp_path: Path) -> None:
    as_the_paper(write_run(tmp_path, "tok", sets={"rfid": cell(0.99, 0.05)}))
    ((_, row),) = measured(fill(8, load_records([tmp_path])))
    assert row.reasons == ()
    values = dict(zip([m.metric for m in fill(8, []).measures], row.cells, strict=True))
    assert values["rfid"].delta == pytest.approx(0.99 - 0.79)
    assert values["psnr"].delta == pytest.approx(21.5 - 23.26)
    assert values["usage_pooled"].value is None
    assert values["usage_pooled"].status == "not measured"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n": 48}, "48 samples, the paper's set has 50,000"),
        ({"protocol": "exact"}, "protocol exact, the paper's is wetok"),
        ({"status": "incomplete", "n_failed": 2}, "incomplete, 2 of 50000 samples failed"),
    ],
)
def test_what_does_not_compare_says_why(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    as_the_paper(write_run(tmp_path, "tok"), **{"n": 50_000, **fields})
    ((_, row),) = measured(fill(8, load_records([tmp_path])))
    assert row.reasons == (words,)
    assert all(each.delta is None for each in row.cells)


def test_a_part_of_a_set_whose_size_no_table_states(tmp_path: Path) -> None:
    record = load_records([write_run(tmp_path, "tok", task="pope")])[0].record
    whole = record.model_copy(update={"n": 9_000})
    assert why_apart(load_table(12), record)[0] == "4 samples, the whole set has 9,000"
    assert why_apart(load_table(12), whole)[0] == "the paper does not state the number of samples"


def test_one_model_on_two_datasets_is_one_row(tmp_path: Path) -> None:
    as_the_paper(write_run(tmp_path, "tok", task="imagenet-recon"))
    as_the_paper(write_run(tmp_path, "tok", task="coco-recon"), n=5_000)
    as_the_paper(write_run(tmp_path, "tok", task="coco-recon-native"), n=48)
    (resized, first), (original, second) = measured(fill(10, load_records([tmp_path])))
    assert (resized, original) == ("Resize 256 x 256", "Original Resolution")
    assert len(first.records) == 2
    assert first.reasons == ()
    known = [each.value is not None for each in first.cells]
    assert known == [False, True, False, False, True, False]
    assert second.reasons == ("48 samples, the paper's set has 5,000",)


def test_two_results_for_one_place_are_two_rows(tmp_path: Path) -> None:
    write_run(tmp_path, "tok")
    write_run(tmp_path, "tok", columns={"psnr": [20.0, 30.0]})
    rows = [row for _, row in measured(fill(8, load_records([tmp_path])))]
    assert [row.number for row in rows] == [1, 2]
    assert {row.n for row in rows} == {"4", "2"}


def test_results_of_other_tasks_are_left_out(tmp_path: Path) -> None:
    write_run(tmp_path, "tok", task="imagenet-zeroshot")
    assert all(measured(fill(number, load_records([tmp_path]))) == [] for number in COMPARISONS)


def test_benchmarks_under_their_own_first_protocols_are_one_row(tmp_path: Path) -> None:
    for task, protocol, key, value in (
        ("geneval", "geneval", "geneval_overall", 0.75),
        ("dpg", "dpg", "dpg_overall", 80.5),
        ("geneval-long", "geneval", "geneval_overall", 0.85),
        ("geneval", "geneval-hf", "geneval_overall", 0.65),
    ):
        folder = tmp_path / f"{task} {protocol}"
        root = write_run(folder, "painter", task=task, sets={key: cell(value, 0.01)})
        change_record(root, protocol=protocol, run_id=f"{task}-{protocol}")
    filled = fill(11, load_records([tmp_path]))
    places = [
        next(place for place, each in enumerate(filled.measures) if each.metric == key)
        for key in ("geneval_overall", "dpg_overall")
    ]
    rows = {tuple(row.cells[place].value for place in places) for _, row in measured(filled)}
    assert rows == {(0.75, 80.5), (0.85, None), (0.65, None)}


def test_results_of_one_model_share_a_row_whatever_their_tasks_protocols_are_called(
    tmp_path: Path,
) -> None:
    for task, metric in (("geneval", "geneval_overall"), ("dpg", "dpg_overall")):
        own = TASKS.get(task).spec.protocols[0]
        sets = {metric: cell(0.5, metric="top1")}
        write_run(tmp_path, "mine", task=task, protocol=own, sets=sets)
    long = TASKS.get("geneval-long").spec.protocols[0]
    sets = {"geneval_overall": cell(0.6, metric="top1")}
    write_run(tmp_path, "mine", task="geneval-long", protocol=long, sets=sets)
    write_run(tmp_path, "mine", task="geneval", protocol="other", sets=sets)
    rows = [
        row
        for section in fill(11, load_records([tmp_path])).sections
        for row in section.rows
        if row.measured
    ]
    assert sorted(sorted(record.task for record in row.records) for row in rows) == [
        ["dpg", "geneval"],
        ["geneval"],
        ["geneval-long"],
    ]
