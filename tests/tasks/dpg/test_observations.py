"""Scoring files of answers, bad questions and answers."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.scoring import write_answers
from harness.interfaces.errors import UserError
from harness.interfaces.types import Status
from tasks.dpg.answers import read_observations
from tasks.dpg.data import SMALL_FILE
from tasks.dpg.questions import Item, read_questions
from tasks.dpg.settings import DpgSettings
from tasks.dpg.task import DPG
from tests.conftest import CommandLine

SETTINGS = DpgSettings.of(DPG.protocol("dpg").settings)
VLM_SETTINGS = DpgSettings.of(DPG.protocol("dpg-vlm").settings)
ITEMS = read_questions(SMALL_FILE)


def answers(items: Sequence[Item] = ITEMS) -> list[dict[str, Any]]:
    return [
        {"item_id": item.id, "crop": crop, "proposition_id": question.number, "answer": "yes"}
        for item in items
        for crop in range(4)
        for question in item.questions
    ]


def write(path: Path, objects: list[Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in objects), encoding="utf-8")
    return path


def rows() -> list[dict[str, str]]:
    with SMALL_FILE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_csv(path: Path, lines: list[dict[str, str]]) -> Path:
    pd.DataFrame(lines).to_csv(path, index=False)
    return path


def score(
    uwt_eval: CommandLine, path: Path, out: Path, *more: object, questions: Path = SMALL_FILE
) -> dict[str, Any]:
    command = ("score", "dpg", "--questions", questions, "--observations", path, "--out", out)
    (record,) = uwt_eval(*command, "--json", *more).records
    return record


def test_command_scores_a_file(uwt_eval: CommandLine, tmp_path: Path) -> None:
    objects = answers()
    objects[0]["answer"] = "no"  # kitchen, top left: no photograph.
    objects[2]["answer"] = "no"  # No apples: neither two nor green.
    objects[-1]["answer"] = "  "
    path = write(tmp_path / "answers.jsonl", objects)
    record = score(uwt_eval, path, tmp_path, "--max-failures", 1)
    values = {name: cell["value"] for name, cell in record["metrics"].items()}
    assert values["dpg_overall"] == pytest.approx(100 * ((4 / 8 + 3) / 4 + 1) / 2)
    assert values["global"] == pytest.approx(100 * 6 / 7)
    assert values["attribute"] == pytest.approx(100 * 10 / 11)
    assert record["failures"] == {"parse_error": 1}
    (root,) = tmp_path.glob("dpg-*")
    failed = pd.read_parquet(root / "samples.parquet").set_index("id").loc["harbour/0003"]
    assert failed["error"] == "question 7 got an empty answer"
    fine = json.loads((root / "categories.json").read_text())
    assert fine["attribute - texture"] == {"score": 100, "n": 4}


def test_the_official_arithmetic_is_another_protocol(uwt_eval: CommandLine, tmp_path: Path) -> None:
    path = write(tmp_path / "answers.jsonl", [{**a, "answer": "Yes"} for a in answers()])
    fixed = score(uwt_eval, path, tmp_path)
    official = score(uwt_eval, path, tmp_path, "--protocol", "dpg-official")
    assert fixed["metrics"]["dpg_overall"]["value"] == 100
    assert official["metrics"]["dpg_overall"]["value"] == 0
    assert fixed["protocol_digest"] != official["protocol_digest"]
    assert "8 questions" not in official["metrics"]["global"]["note"]


def test_answers_that_are_not_there(tmp_path: Path) -> None:
    objects = [a for a in answers() if (a["item_id"], a["crop"]) != ("harbour", 2)]
    del objects[0]
    found = read_observations(write(tmp_path / "a.jsonl", objects), SMALL_FILE, SETTINGS)
    failed = {
        sample.id: error
        for sample, status, error in zip(found.samples, found.statuses, found.errors, strict=True)
        if status is Status.MISSING
    }
    assert failed == {
        "kitchen/0000": "no answer to question 1 about quarter 0 of item 'kitchen'",
        "harbour/0002": "the file has no answer about quarter 2 of item 'harbour'",
    }
    assert "2 prompts, DPG-Bench has 1065" in found.notice


BAD_ANSWERS = {
    "item 'garden' is not among the questions": {"item_id": "garden"},
    "'crop' must be 0 to 3, found 4": {"crop": 4},
    "has no proposition 99": {"proposition_id": 99},
    "'answer' must be a text, found True": {"answer": True},
    "comes from other; the protocol's is mplug": {"model": "other"},
    "about quarter 0 of item 'kitchen' again": {"proposition_id": 1},
}


@pytest.mark.parametrize("message", BAD_ANSWERS)
def test_bad_answers_are_named(message: str, tmp_path: Path) -> None:
    first, second = answers()[:2]
    path = write(tmp_path / "a.jsonl", [first, {**second, **BAD_ANSWERS[message]}])
    with pytest.raises(UserError) as raised:
        read_observations(path, SMALL_FILE, SETTINGS)
    assert message in str(raised.value)
    assert "a.jsonl, line 2" in str(raised.value)


BOXES = ("(0, 0, 64, 64)", "(64, 0, 128, 64)", "(0, 64, 64, 128)", "(64, 64, 128, 128)")


def write_details(path: Path, *, first: bool = True) -> Path:
    """What the published script writes of pictures in which all is yes but the last quarter's 2."""
    text = "".join(
        f"a, b/{item.id}.png, {box}, {question.text}, "
        f"{'no' if (question.number, box) == (2, BOXES[3]) else 'yes'}\n"
        for item in ITEMS
        for box in BOXES
        for question in item.questions
        if first or not question.first
    )
    path.write_text(text, encoding="utf-8")
    return path


def test_the_published_scripts_details_are_read(uwt_eval: CommandLine, tmp_path: Path) -> None:
    path = write_details(tmp_path / "dpg-bench_detail.txt")
    record = score(uwt_eval, path, tmp_path / "runs", "--label", "m")
    same = [
        {**each, "answer": "no"} if (each["proposition_id"], each["crop"]) == (2, 3) else each
        for each in answers()
    ]
    ours = score(uwt_eval, write(tmp_path / "a.jsonl", same), tmp_path / "runs", "--label", "m")
    assert {name: cell["value"] for name, cell in record["metrics"].items()} == {
        name: cell["value"] for name, cell in ours["metrics"].items()
    }
    assert (record["model"], ours["model"]) == ("m (judged elsewhere)", "m")
    # The script drops the file's first question, and the mended protocol misses its answers.
    path = write_details(path, first=False)
    lacking = score(uwt_eval, path, tmp_path / "runs")
    assert lacking["failures"] == {"missing": 4}
    as_there = score(uwt_eval, path, tmp_path / "runs", "--protocol", "dpg-official")
    assert as_there["n_failed"] == 0


def test_a_prompt_that_the_script_leaves_out_may_lack_answers(tmp_path: Path) -> None:
    lines = rows()
    lines[1]["dependency"] = "1"  # On the question that the script drops.
    questions = write_csv(tmp_path / "q.csv", lines)
    path = write_details(tmp_path / "x_detail.txt", first=False)
    text = [each for each in path.read_text().splitlines() if "kitchen" not in each]
    path.write_text("\n".join(text), encoding="utf-8")
    settings = SETTINGS.model_copy(update={"quirks": "official"})
    found = read_observations(path, questions, settings)
    assert set(found.statuses) == {Status.OK}
    assert np.isnan(found.columns["dpg_answers"]["dpg"][:4]).all()
    assert not np.isnan(found.columns["dpg_answers"]["dpg"][4:]).any()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("kitchen.png, yes", "expected IMAGE, (x0, y0, x1, y1), QUESTION, ANSWER"),
        (f"garden.png, {BOXES[0]}, Is there?, yes", "item 'garden' is not among the questions"),
        (f"kitchen.png, {BOXES[0]}, Is there a whale?, yes", "asks none of the questions about"),
        (f"kitchen.png, {BOXES[0]}, {ITEMS[0].questions[0].text}, yes", "of item 'kitchen' again"),
    ],
)
def test_details_that_cannot_be_read_are_named(tmp_path: Path, line: str, words: str) -> None:
    path = write_details(tmp_path / "x_detail.txt")
    count = len(path.read_text().splitlines())
    path.write_text(f"{path.read_text()}{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"line {count + 1}: ") as raised:
        read_observations(path, SMALL_FILE, SETTINGS)
    assert words in str(raised.value)


def test_models_never_mix(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names no model; the protocol's is Qwen"):
        read_observations(write(tmp_path / "a.jsonl", answers()), SMALL_FILE, VLM_SETTINGS)


def test_questions_are_needed(uwt_eval: CommandLine, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", answers())
    result = uwt_eval("score", "dpg", "--observations", path)
    assert result.code == 2
    assert "--questions" in result.err


def scored(path: Path, quirks: str) -> tuple[str, list[float]]:
    """What is said of a file of questions, and the first prompt's pictures where all is yes."""
    items = read_questions(path)
    settings = SETTINGS.model_copy(update={"quirks": quirks})
    found = read_observations(write(path.parent / "a.jsonl", answers(items)), path, settings)
    return found.notice, list(found.columns["dpg_answers"]["dpg"][:4])


def test_a_parent_that_is_not_there_is_named_and_no_condition(tmp_path: Path) -> None:
    lines = [row for row in rows() if (row["item_id"], row["proposition_id"]) != ("kitchen", "6")]
    path = write_csv(tmp_path / "q.csv", lines)
    rows_told = "row 7: 7 of 'kitchen' on 6, row 8: 8 of 'kitchen' on 6"
    orphan = f"2 questions depend on one that is not there ({rows_told}): "
    said, dpg = scored(path, "fixed")
    assert f"{orphan}that is no condition" in said
    assert dpg == [1, 1, 1, 1]
    said, dpg = scored(path, "official")
    assert f"{orphan}their prompts are left out" in said
    assert np.isnan(dpg).all()


def test_a_circle_is_named_and_ends(tmp_path: Path) -> None:
    lines = rows()
    lines[1]["dependency"] = "2" if lines[1]["proposition_id"] == "1" else "1,2"
    said, dpg = scored(write_csv(tmp_path / "q.csv", lines), "fixed")
    assert "1 questions depend on themselves (row 3: 2 of 'kitchen'): one no" in said
    assert dpg == [1, 1, 1, 1]


def test_a_number_that_comes_again_is_named_and_the_later_row_counts(tmp_path: Path) -> None:
    lines = rows()
    lines[1]["proposition_id"] = "1"
    path = write_csv(tmp_path / "q.csv", lines)
    said, _ = scored(path, "fixed")
    assert "1 questions have the number of a later row (row 2: 1 of 'kitchen'): the later" in said
    first = read_questions(path)[0].questions[0]
    assert (first.number, first.text) == (1, lines[1]["question_natural_language"])


@pytest.mark.parametrize("cells", ["kitchen,too,few", "kitchen" + ",more" * 12])
def test_a_ragged_row_is_named(tmp_path: Path, cells: str) -> None:
    text = SMALL_FILE.read_text(encoding="utf-8").splitlines()
    (tmp_path / "q.csv").write_text("\n".join([*text[:3], cells, *text[3:]]), encoding="utf-8")
    with pytest.raises(UserError, match=r"q.csv, row 4: more or fewer cells than the header's 9"):
        read_questions(tmp_path / "q.csv")


def test_oddities_of_many_rows_are_counted(tmp_path: Path) -> None:
    lines = [{**row, "dependency": "99"} for row in rows()]
    said, _ = scored(write_csv(tmp_path / "q.csv", lines), "fixed")
    assert f"{len(lines)} questions depend on one that is not there (row 2: 1 of" in said
    assert "row 4: 3 of 'kitchen' on 99, …)" in said


BAD_QUESTIONS = {
    "no question_natural_language": {"question_natural_language": ""},
    "must be a whole number": {"proposition_id": "one"},
    "whole numbers between commas": {"dependency": "1;2"},
    "is no name of a file": {"item_id": "../kitchen"},
}


@pytest.mark.parametrize("message", BAD_QUESTIONS)
def test_bad_questions_are_named(message: str, tmp_path: Path) -> None:
    lines = rows()
    lines[1] |= BAD_QUESTIONS[message]
    with pytest.raises(UserError) as raised:
        read_questions(write_csv(tmp_path / "q.csv", lines))
    assert message in str(raised.value)
    assert "q.csv, row 3" in str(raised.value)


def test_a_foreign_csv_and_a_stray_category(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected DPG-Bench's columns"):
        read_questions(write_csv(tmp_path / "q.csv", [{"prompt": "a cat"}]))
    lines = rows()
    lines[0]["tuple"] = "scene - whole (kitchen)"
    path = write_csv(tmp_path / "q.csv", lines)
    found = read_observations(write(tmp_path / "a.jsonl", answers()), path, SETTINGS)
    assert "1 question of no known category ('scene')" in found.notice


def test_a_file_of_the_whole_benchmark(uwt_eval: CommandLine, tmp_path: Path) -> None:
    table, path = write_answers(tmp_path)
    record = score(uwt_eval, path, tmp_path / "runs", questions=table)
    assert record["n"] == 4260
    assert record["n_failed"] == 0
    assert 40 < record["metrics"]["dpg_overall"]["value"] < 80
