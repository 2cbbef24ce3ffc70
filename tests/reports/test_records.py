"""Loading records: what is read, what is refused, and in which words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.interfaces.errors import UserError
from reports.records import load_record, load_records
from tests.reports.runs import cell, change_record, read_record, write_record, write_run


def refusal(*paths: Path) -> str:
    with pytest.raises(UserError) as error:
        load_records(paths)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_files_runs_and_folders_are_read_in_order(tmp_path: Path) -> None:
    one = write_run(tmp_path / "runs", "one")
    two = write_run(tmp_path / "runs" / "deeper", "two")
    loose = write_record(tmp_path / "more" / "x.record.json", read_record(one) | {"run_id": "x"})
    (tmp_path / "more" / "unrelated.json").write_text("[]", encoding="utf-8")
    found = load_records([two, tmp_path / "more", tmp_path / "runs"])
    assert [loaded.record.run_id for loaded in found] == [two.name, "x", one.name]
    assert found[0].root == two
    assert found[1].path == loose
    assert found[1].root is None


def test_a_file_may_hold_several_records(tmp_path: Path) -> None:
    one, two = write_run(tmp_path, "one"), write_run(tmp_path, "two")
    both = write_record(tmp_path / "all.json", [read_record(one), read_record(two)])
    assert [loaded.record.model for loaded in load_records([both])] == ["one", "two"]
    with pytest.raises(UserError, match="holds 2 records"):
        load_record(both)


def test_the_same_result_counts_once_whenever_it_was_computed(tmp_path: Path) -> None:
    root = write_run(tmp_path / "a")
    copy = tmp_path / "b" / root.name
    shutil.copytree(root, copy)
    change_record(copy, provenance={"finished": "later"})
    (only,) = load_records([root, copy])
    assert only.path == root / "record.json"


def test_two_results_of_one_run_are_refused(tmp_path: Path) -> None:
    root = write_run(tmp_path / "a")
    copy = tmp_path / "b" / root.name
    shutil.copytree(root, copy)
    metrics = read_record(copy)["metrics"]
    metrics["psnr"]["value"] = 99.0
    change_record(copy, metrics=metrics)
    text = refusal(root, copy)
    assert str(root) in text
    assert str(copy) in text
    assert root.name in text


def copy_with(root: Path, folder: Path, **metrics: Any) -> Path:
    """A copy of a run whose record has these metrics."""
    copy = folder / root.name
    shutil.copytree(root, copy)
    change_record(copy, metrics=metrics, provenance={"finished": "later"})
    return copy


def test_copies_of_a_run_give_the_union_of_their_metrics(tmp_path: Path) -> None:
    root = write_run(tmp_path / "a", sets={"rfid": cell(3.0), "bpp": cell(0.1)})
    cells = read_record(root)["metrics"]
    few = copy_with(root, tmp_path / "b", psnr=cells["psnr"])
    other = copy_with(root, tmp_path / "c", psnr=cells["psnr"], ssim=cells["psnr"])
    for places in ([root, few], [few, root]):
        (only,) = load_records(places)
        assert list(only.record.metrics) == ["psnr", "rfid", "bpp"]
        assert only.root == root
    (only,) = load_records([few, other, root])
    assert set(only.record.metrics) == {"psnr", "ssim", "rfid", "bpp"}


def test_a_value_counts_where_the_other_copy_did_not_compute_it(tmp_path: Path) -> None:
    root = write_run(tmp_path / "a", sets={"rfid": cell(3.0)})
    cells = read_record(root)["metrics"]
    absent = cells["rfid"] | {"value": None, "n": 0, "status": "not computed: weights missing"}
    without = copy_with(root, tmp_path / "b", psnr=cells["psnr"], rfid=absent)
    for places in ([root, without], [without, root]):
        (only,) = load_records(places)
        assert only.record.value("rfid") == 3.0
        assert only.root == root
    withheld = absent | {"status": "withheld: few images"}
    other = copy_with(root, tmp_path / "c", psnr=cells["psnr"], rfid=withheld)
    assert "different results" in refusal(root, other)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (None, "schema_version"),
        ("0.9", "uwt-eval score"),
        ("1.7", "update uwt-eval"),
        ("2.0", "update uwt-eval"),
        ("new", "is no version"),
    ],
)
def test_another_schema_is_refused_by_name(tmp_path: Path, version: str | None, words: str) -> None:
    record = read_record(write_run(tmp_path))
    record.pop("schema_version")
    if version is not None:
        record["schema_version"] = version
    path = write_record(tmp_path / "old.json", record)
    text = refusal(path)
    assert words in text
    assert str(path) in text
    assert version is None or version in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", ["value", "ci_low", "ci_high"])
def test_what_is_no_number_is_refused(tmp_path: Path, field: str, value: float) -> None:
    root = write_run(tmp_path)
    metrics = read_record(root)["metrics"]
    metrics["psnr"][field] = value
    change_record(root, metrics=metrics)
    assert "'psnr'" in refusal(root)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"value": None}, "has no value"), ({"status": "withheld: few"}, "has a value")],
)
def test_status_and_value_must_agree(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    root = write_run(tmp_path)
    metrics = read_record(root)["metrics"]
    metrics["psnr"] |= change
    change_record(root, metrics=metrics)
    assert words in refusal(root)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"run_id": ', "is damaged"),
        ("[]", "empty list"),
        ('{"a": 1}', "no result record"),
        ("[3]", "no result record"),
        ('{"run_id": "x", "metrics": {}, "schema_version": "1.0"}', "field 'task'"),
        ("[" * 100_000, "is damaged"),
    ],
    ids=["cut off", "empty", "other", "numbers", "incomplete", "nested"],
)
def test_damaged_files_are_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text, encoding="utf-8")
    assert words in refusal(path)


def test_other_files_and_places_are_one_line(tmp_path: Path) -> None:
    binary = tmp_path / "grid.json"
    binary.write_bytes(b"\x89PNG\r\n\xff\xfe")
    assert "no JSON text" in refusal(binary)
    assert "no such file" in refusal(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "holds no result" in refusal(tmp_path / "empty")


def test_a_run_that_has_not_finished_says_so(tmp_path: Path) -> None:
    root = write_run(tmp_path)
    (root / "record.json").unlink()
    assert "has not finished" in refusal(root)


def test_a_misspelt_field_is_named(tmp_path: Path) -> None:
    path = change_record(write_run(tmp_path), colour="blue")
    assert "'colour'" in refusal(path)
    assert json.loads(path.read_text())["colour"] == "blue"


@pytest.mark.parametrize("text", ['{"run_id": ' + "9" * 5000 + "}", "[" * 100_000])
def test_numbers_and_lists_beyond_bounds_are_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"record\.json is damaged"):
        load_records([path])
