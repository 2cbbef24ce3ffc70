"""Groups and ranks."""

from __future__ import annotations

import html
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from harness.interfaces.errors import UserError
from harness.interfaces.types import MetricValue
from reports.leaderboard.board import Group, build, ranks
from reports.leaderboard.outputs import to_html, to_markdown
from reports.records import load_records
from tests.reports.runs import cell, change_record, read_record, write_record, write_run


def board(folder: Path, by: str | None = None) -> list[Group]:
    return build(load_records([folder]), by)


def test_surely_better_pushes_down_and_overlap_ties() -> None:
    assert ranks([(9, 11), (8, 9.5), (7, 8.5), (1, 2)]) == [1, 1, 2, 4]
    assert ranks([(1, 2), (2, 3)]) == [1, 1]
    assert ranks([(1, 1), (2, 2), (2, 2)]) == [3, 1, 1]
    assert ranks([]) == []


spans = st.lists(
    st.tuples(st.integers(-20, 20), st.integers(0, 10)).map(lambda s: (s[0], s[0] + s[1])),
    max_size=12,
)


@given(spans)
def test_rank_is_one_more_than_the_intervals_wholly_above(
    given_spans: list[tuple[int, int]],
) -> None:
    expected = [1 + sum(low > high for low, _ in given_spans) for _, high in given_spans]
    assert ranks([(float(a), float(b)) for a, b in given_spans]) == expected


def test_lower_is_better_where_the_metric_says_so(tmp_path: Path) -> None:
    for name, value, half in (("a", 3.0, 0.1), ("b", 2.0, 0.1), ("c", 2.15, 0.1), ("d", 9.0, None)):
        write_run(tmp_path, name, sets={"rfid": cell(value, half)})
    (group,) = board(tmp_path)
    assert group.ranked_by == "rfid"
    found = [(entry.record.model, entry.rank, entry.tied) for entry in group.entries]
    assert found == [("b", 1, True), ("c", 1, True), ("a", 3, False), ("d", 4, False)]


def test_only_what_compares_shares_a_table(tmp_path: Path) -> None:
    write_run(tmp_path, "a")
    write_run(tmp_path, "b")
    write_run(tmp_path, "c", settings={"uint8": "truncate"})
    write_run(tmp_path, "d", columns={"psnr": [20.0, 30.0]})
    write_run(tmp_path, "e", task="coco-recon")
    groups = board(tmp_path)
    assert sorted(len(group.entries) for group in groups) == [1, 1, 1, 2]
    assert groups[0].task == "coco-recon"


def test_incomplete_and_missing_have_no_rank_and_say_why(tmp_path: Path) -> None:
    write_run(tmp_path, "a", sets={"rfid": cell(3.0, 0.1)})
    write_run(tmp_path, "b", sets={"rfid": cell(1.0, 0.1)}, failed={0: "model_error"})
    write_run(tmp_path, "c")
    (group,) = board(tmp_path)
    found = {entry.record.model: (entry.rank, entry.why) for entry in group.entries}
    assert found == {
        "a": (1, ""),
        "b": (None, "incomplete: 1 sample failed"),
        "c": (None, "not asked for"),
    }
    assert group.entries[0].record.model == "a"


def test_where_nothing_could_be_computed_the_records_reason_stands(tmp_path: Path) -> None:
    why = "not computed: the detector's weights are missing"
    absent = MetricValue.absent(why, higher_is_better=True).model_dump()
    write_run(tmp_path, "a", columns={"psnr": [1.0]}, task="geneval")
    change_record(
        next(tmp_path.glob("geneval-*")),
        metrics={"single_object": absent, "geneval_overall": absent},
    )
    (group,) = board(tmp_path)
    assert group.ranked_by is None
    assert group.entries[0].why == why
    assert f"no rank: {why}" in html.unescape(to_html([group]))


def test_another_metric_ranks_on_request(tmp_path: Path) -> None:
    write_run(tmp_path, "a", columns={"psnr": [20.0, 20.1]}, sets={"rfid": cell(1.0)})
    write_run(tmp_path, "b", columns={"psnr": [30.0, 30.1]}, sets={"rfid": cell(2.0)})
    assert [entry.record.model for entry in board(tmp_path)[0].entries] == ["a", "b"]
    assert [entry.record.model for entry in board(tmp_path, "psnr")[0].entries] == ["b", "a"]
    with pytest.raises(UserError, match="did you mean 'psnr'"):
        board(tmp_path, "psrn")


def test_a_metric_without_values_gives_the_records_own_reason(tmp_path: Path) -> None:
    absent = MetricValue.absent("not computed: weights missing", higher_is_better=False)
    write_run(tmp_path, "a", sets={"lpips_alex": absent})
    with pytest.raises(UserError, match=r"lpips_alex: no record has a value .*: psnr$"):
        board(tmp_path, "lpips_alex")
    write_run(tmp_path, "b", task="coco-recon", sets={"lpips_alex": cell(0.2, metric="rfid")})
    groups = board(tmp_path, "lpips_alex")
    whys = {entry.record.model: entry.why for group in groups for entry in group.entries}
    assert whys == {"a": "not computed: weights missing", "b": ""}


def test_entries_of_one_name_say_what_tells_them_apart(tmp_path: Path) -> None:
    for code in ("first", "second", "third"):
        write_run(tmp_path, "mine", code=code)
    write_run(tmp_path, "mine", code="first", seed=1)
    write_run(tmp_path, "other")
    groups = board(tmp_path)
    (group,) = groups
    found = {entry.apart: entry.record.model_digest for entry in group.entries if entry.apart}
    assert len(found) == 4
    assert all(f"digest {digest[:12]}" in apart for apart, digest in found.items())
    assert sum(apart.startswith("seed 1 · ") for apart in found) == 1
    assert [entry.record.model for entry in group.entries if not entry.apart] == ["other"]
    page, text = to_html(groups), to_markdown(groups)
    for apart in found:
        assert f"| mine · {apart} |" in text
        assert f'mine <span class="dim">{apart}</span>' in page
    assert "| other |" in text


def test_runs_of_one_model_whose_record_tells_nothing_more_are_told_by_their_ids(
    tmp_path: Path,
) -> None:
    one = read_record(write_run(tmp_path / "runs", "mine"))
    write_record(tmp_path / "two.json", [one, one | {"run_id": "elsewhere"}])
    (group,) = board(tmp_path / "two.json")
    assert {entry.apart for entry in group.entries} == {one["run_id"], "elsewhere"}
