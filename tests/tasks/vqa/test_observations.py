from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.vqa.task import SUBMISSION
from tests.conftest import CommandLine

POPE = {"question": "Is there a cat?", "question_id": "1", "answer": "yes", "category": "random"}


def write(path: Path, *entries: Any) -> Path:
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_replies_are_scored_without_model_or_lmms_eval(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    entries = [
        {"id": name, "document": {**POPE, "category": split}, "reply": reply, "status": "ok"}
        for name, split, reply in (
            ("1", "random", "yes"),
            ("2", "popular", "no"),
            ("3", "adversarial", "Yes"),
        )
    ]
    path = write(tmp_path / "replies.jsonl", *entries)
    result = uwt_eval("score", "pope", "--observations", path, "--out", tmp_path, "--json")
    assert result.code == 0, result.err
    metrics = result.records[0]["metrics"]
    assert metrics["f1"]["value"] == pytest.approx(0.8)
    assert metrics["f1_split_mean"]["value"] == pytest.approx(2 / 3)
    assert metrics["accuracy"]["value"] == pytest.approx(2 / 3)
    (run,) = tmp_path.glob("pope-*")
    assert "Is there" not in (run / "record.json").read_text()
    assert (run / "gallery.html").is_file()


def test_logs_of_lmms_eval_are_read_and_compared(uwt_eval: CommandLine, tmp_path: Path) -> None:
    logged = [
        {
            "doc_id": place,
            "target": "yes",
            "input": "Is there a cat?\nAnswer …",
            "filtered_resps": reply,
            "pope_accuracy": {"score": score},
        }
        for place, (reply, score) in enumerate([("yes", 1.0), ("no", 0.0), ("yes", 0.0)])
    ]
    path = write(tmp_path / "samples_pope.jsonl", *logged)
    lines = write(tmp_path / "data.jsonl", *[POPE] * 3)
    table = tmp_path / "data.parquet"
    pd.DataFrame([{**POPE, "image": b"..."}] * 3).to_parquet(table)
    for questions in (lines, table):
        words = ("score", "pope", "--observations", path, "--out", tmp_path / questions.suffix)
        result = uwt_eval(*words, "--questions", questions)
        assert result.code == 0, result.err
        assert "our scorer and lmms-eval's differ on 1 of 3 replies" in result.err
    short = write(tmp_path / "short.jsonl", POPE)
    result = uwt_eval(*words, "--questions", short)
    assert result.code == 2
    assert "line 2: " in result.err
    assert "short.jsonl has no question '000001'" in result.err


@pytest.mark.parametrize(
    "kind", [str, int, float, "{:06d}".format], ids=["text", "int", "float", "ours"]
)
def test_replies_pair_by_id_whatever_its_type(
    uwt_eval: CommandLine, tmp_path: Path, kind: Any
) -> None:
    questions = write(tmp_path / "q.jsonl", *[{**POPE, "answer": a} for a in ("no", "yes", "no")])
    # Out of order, and one question was not asked: neither place nor count would pair them.
    replies = [{"doc_id": kind(2), "resps": [["no"]]}, {"doc_id": kind(1), "resps": [["yes"]]}]
    path = write(tmp_path / "r.jsonl", *replies)
    words = ("score", "pope", "--observations", path, "--questions", questions, "--json")
    result = uwt_eval(*words, "--out", tmp_path)
    assert result.code == 0, result.err
    assert result.records[0]["metrics"]["accuracy"]["value"] == 1.0


@pytest.mark.parametrize(
    ("field", "value"),
    [("doc_id", value) for value in ("", "one", "-1", -1, 1.5, True, None, [1], {})]
    + [("id", value) for value in ("", None, True, 1.5, [1])],
)
def test_an_id_that_cannot_be_used_is_refused(
    uwt_eval: CommandLine, tmp_path: Path, field: str, value: Any
) -> None:
    path = write(tmp_path / "r.jsonl", {field: value, "document": POPE, "reply": "yes"})
    result = uwt_eval("score", "pope", "--observations", path, "--out", tmp_path)
    assert result.code == 2
    assert f"line 1: '{field}' is {value!r}, expected" in result.err


def test_lines_with_and_without_ids_are_refused(uwt_eval: CommandLine, tmp_path: Path) -> None:
    questions = write(tmp_path / "q.jsonl", POPE, POPE)
    path = write(tmp_path / "r.jsonl", {"doc_id": 1, "resps": "yes"}, {"resps": "no"})
    words = ("score", "pope", "--observations", path, "--questions", questions)
    result = uwt_eval(*words, "--out", tmp_path)
    assert result.code == 2
    assert "line 2: named by its place, lines before it by doc_id" in result.err


def test_unparsed_options_fail_and_are_reported_both_ways(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    document = {
        "id": "validation_Art_1",
        "question_type": "multiple-choice",
        "options": "['old', 'new']",
        "answer": "A",
    }
    replies = ["A", "B", "who knows"]
    entries = [{"id": str(n), "document": document, "reply": r} for n, r in enumerate(replies)]
    path = write(tmp_path / "replies.jsonl", *entries)
    words = ("score", "mmmu", "--observations", path, "--out", tmp_path, "--json")
    withheld = uwt_eval(*words)
    assert withheld.code == 3
    assert withheld.records[0]["failures"] == {"parse_error": 1}
    result = uwt_eval(*words, "--max-failures", 1)
    metrics = result.records[0]["metrics"]
    assert metrics["accuracy"]["value"] == pytest.approx(1 / 2)
    assert (metrics["accuracy"]["n"], metrics["accuracy"]["n_failed"]) == (2, 1)
    assert metrics["accuracy_random"]["value"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert metrics["accuracy_random"]["n"] == 3


def test_test_split_becomes_a_submission(uwt_eval: CommandLine, tmp_path: Path) -> None:
    document = {"question_id": 77, "question": "Which colour?", "answers": None}
    path = write(tmp_path / "r.jsonl", {"id": "a", "document": document, "reply": "The Red."})
    words = ("--protocol", "lmms-test", "--out", tmp_path, "--json")
    result = uwt_eval("score", "vqav2", "--observations", path, *words)
    status = result.records[0]["metrics"]["accuracy"]["status"]
    assert "upload the submission file" in status
    (run,) = tmp_path.glob("vqav2-*")
    assert json.loads((run / SUBMISSION).read_text()) == [{"question_id": 77, "answer": "red"}]


def test_documents_may_lie_in_a_file_of_questions(uwt_eval: CommandLine, tmp_path: Path) -> None:
    questions = write(tmp_path / "q.jsonl", {"id": "x", "document": POPE})
    replies = write(tmp_path / "r.jsonl", {"id": "x", "reply": "yes"})
    words = ("score", "pope", "--observations", replies, "--out", tmp_path, "--json")
    assert uwt_eval(*words, "--questions", questions).code == 0
    alone = uwt_eval(*words)
    assert alone.code == 2
    assert "line 1: it has no 'document'" in alone.err


def test_failures_and_odd_replies_are_counted(uwt_eval: CommandLine, tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.jsonl",
        {"id": "1", "document": POPE, "reply": "yes"},
        {"id": "2", "document": POPE, "reply": None},
        {"id": "3", "document": POPE, "status": "decode_error", "error": "no picture"},
        {"id": "4", "document": POPE, "reply": "y\x00\x1b[31mes\ud800"},
        {"id": "5", "document": POPE, "reply": "x" * 5000},
    )
    words = ("score", "pope", "--observations", path, "--out", tmp_path, "--max-failures", 2)
    result = uwt_eval(*words)
    assert result.code == 0, result.err
    assert "1 model_error" in result.out
    assert "1 decode_error" in result.out
    assert "1 answer cut at the protocol's limit" in result.err
    assert "control characters of 1 answer replaced" in result.err


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["{"], "line 1: no JSON"),
        (["[]"], "line 1: expected a JSON object, found list"),
        ([""], "no replies are in it"),
        (
            [{"id": "1", "document": POPE, "reply": "a"}] * 2,
            "line 2: the id '1' stands there twice",
        ),
        (
            [{"id": "1", "document": POPE, "reply": "a", "status": "fine"}],
            "unknown status 'fine'",
        ),
        (
            [{"id": "1", "document": {"question": "?"}, "reply": "a"}],
            "its document has no column 'answer', which POPE's questions have",
        ),
    ],
)
def test_files_that_cannot_be_read(
    uwt_eval: CommandLine, tmp_path: Path, entries: list[Any], message: str
) -> None:
    path = write(tmp_path / "replies.jsonl", *entries)
    result = uwt_eval("score", "pope", "--observations", path, "--out", tmp_path)
    assert result.code == 2
    assert message in result.err


def test_bytes_that_are_no_text(uwt_eval: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    result = uwt_eval("score", "pope", "--observations", path, "--out", tmp_path)
    assert result.code == 2
    assert "cannot be read as UTF-8 text" in result.err
