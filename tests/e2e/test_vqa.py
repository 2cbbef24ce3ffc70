"""All eleven suites on local rows through lmms-eval, with a model that breaks down once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.vqa.process import EVALUATOR
from tasks.vqa.task import POPE
from tests.conftest import CommandLine
from tests.strangers import hostile
from tests.tasks.vqa.copies import REPLIES, ROWS, write_copies, write_json
from tests.uniwetok.mllm import toys
from uniwetok.mllm import Assistant

pytest.importorskip("lmms_eval")

TOY = Path(__file__).parent.parent / "tasks" / "vqa" / "toy_chat.py"
RESULTS = {
    "seedbench": {"accuracy": 1 / 2, "accuracy_all": 2 / 3},
    "vqav2": {"accuracy": 0.95},
    "gqa": {"accuracy": 1 / 2},
    "scienceqa": {"accuracy": 1.0},
    "textvqa": {"accuracy": 1.0},
    "chartqa": {"accuracy": 1 / 2, "accuracy_human": 1.0, "accuracy_augmented": 0.0},
    "ai2d": {"accuracy": 1 / 2},
    "realworldqa": {"accuracy": 1 / 2},
    "mme": {"perception": 200.0, "cognition": 200.0, "total": 400.0},
    "mmmu": {"accuracy": 1.0, "accuracy_random": None},
}
"""By hand from the rows and the toy's replies; lmms-eval draws one of MMMU's."""
THEIRS = {
    "seedbench": {"accuracy": "seed_image,none", "accuracy_all": "seed_all,none"},
    **{
        task: {"accuracy": "exact_match,none"}
        for task in ("vqav2", "gqa", "scienceqa", "textvqa", "realworldqa")
    },
    "chartqa": {
        "accuracy": "relaxed_overall,none",
        "accuracy_human": "relaxed_human_split,none",
        "accuracy_augmented": "relaxed_augmented_split,none",
    },
    "ai2d": {"accuracy": "exact_match,flexible-extract"},
    "mmmu": {"accuracy_random": "mmmu_acc,none"},
}
"""What lmms-eval calls our figures."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vqa")
    write_copies(folder / "copies")
    hostile(folder / "here")
    (folder / "copies" / "mme" / "images" / "0-image.png").write_bytes(b"no picture")
    table = {**REPLIES, "hat in": "<exit once>", "dog in": None, "tie in": "n\x00o" + "o" * 5000}
    (folder / "replies.json").write_text(json.dumps(table))
    return folder


def run(place: Path, *tasks: str) -> tuple[int, dict[str, Any], str]:
    """The command line in a process of its own, and its records by task."""
    command = [str(Path(sys.executable).parent / "uwt-eval"), "run", *tasks]
    command += ["--plugin", str(TOY), "--json"]
    command += ["--model", f"toy-chat:{place / 'replies.json'}", "--data", str(place / "copies")]
    command += ["--out", str(place / "runs"), "--device", "cpu", "--max-failures", "1"]
    environment = {**os.environ, "HF_HOME": str(place / "hub")}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=place / "here"
    )
    records = json.loads(done.stdout) if done.stdout else []
    return done.returncode, {record["task"]: record for record in records}, done.stderr


def asked(place: Path) -> list[str]:
    return (place / "replies.log").read_text().splitlines()


@pytest.fixture(scope="module")
def first(place: Path) -> tuple[int, dict[str, Any], str]:
    return run(place, "vqa")


def test_a_crash_in_one_suite_leaves_the_others(
    first: tuple[int, dict[str, Any], str], place: Path
) -> None:
    code, records, messages = first
    assert code == 3, messages
    assert set(records) == set(ROWS)
    assert records["pope"]["status"] == "incomplete"
    assert records["pope"]["failures"] == {"model_error": len(ROWS["pope"])}
    lost = "000000, 000001, 000002 and 3 more: model_error: lmms-eval broke down: "
    assert f"{lost}lmms-eval's process died (exit code 7)" in messages
    assert messages.count("process died") == 1
    assert "%|" not in messages
    for task, expected in RESULTS.items():
        cells = records[task]["metrics"]
        assert set(cells) == set(expected)
        if task != "mme":
            for metric, value in expected.items():
                assert value is None or cells[metric]["value"] == pytest.approx(value)


def test_figures_are_lmms_evals_own(first: tuple[int, dict[str, Any], str], place: Path) -> None:
    _, records, messages = first
    assert "differ on" not in messages
    assert set(THEIRS) == set(ROWS) - {"pope", "mme"}
    for task, names in THEIRS.items():
        (folder,) = (place / "runs").glob(f"{task}-*")
        kept = json.loads((folder / "lmms-eval" / "results.json").read_text())["results"]
        (theirs,) = kept.values()
        for metric, key in names.items():
            ours = records[task]["metrics"][metric]["value"]
            assert ours == pytest.approx(theirs[key], abs=1e-5), (task, metric)


def test_unparsed_options_and_broken_pictures_have_a_status_of_their_own(
    first: tuple[int, dict[str, Any], str],
) -> None:
    _, records, _ = first
    assert records["mmmu"]["failures"] == {"parse_error": 1}
    assert records["mmmu"]["metrics"]["accuracy"]["n"] == 2
    assert records["mmmu"]["metrics"]["accuracy_random"]["n"] == 3
    assert records["mme"]["failures"] == {"decode_error": 1}
    cell = records["mme"]["metrics"]["cognition"]
    assert (cell["value"], cell["n"]) == (200.0, 2)
    assert records["mme"]["metrics"]["perception"]["status"].startswith("not computed")


def test_the_same_command_goes_on_where_it_stopped(
    first: tuple[int, dict[str, Any], str], place: Path
) -> None:
    before = asked(place)
    (root,) = (place / "runs").glob("pope-*")
    assert POPE.kept(root) == len(ROWS["pope"]) - 3  # What a dry run says is there already.
    code, records, messages = run(place, "gqa", "pope")
    assert code == 0, messages
    again = asked(place)[len(before) :]
    assert again[0] == "load"
    questions = [row["question"] for row in ROWS["pope"]]
    # The unanswered one is asked again, then the one that broke the process, and the last.
    assert again[1:] == [questions[1], questions[4], questions[5]]
    assert records["pope"]["failures"] == {"model_error": 1}
    assert records["pope"]["n"] == len(ROWS["pope"])
    assert POPE.kept(root) == len(ROWS["pope"]) - 1
    assert "1 answer cut at the protocol's limit" in messages
    assert "control characters of 1 answer replaced" in messages


def test_pages_show_pictures(first: tuple[int, dict[str, Any], str], place: Path) -> None:
    for task in set(ROWS) - {"pope"}:
        (folder,) = (place / "runs").glob(f"{task}-*")
        page = (folder / "gallery.html").read_text(encoding="utf-8")
        assert "data:image/jpeg" in page, task


@pytest.fixture
def chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[object, ...]]:
    """Words of a model that this process must not load, and where runs are kept."""

    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError("the parent needs no weights")

    model = f"uniwetok-chat:{toys.saved(tmp_path / 'model')}"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(Assistant, "from_pretrained", refuse)
    yield ("--model", model, "--out", tmp_path / "runs", "--device", "cpu", "--json")
    EVALUATOR.close()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"answer": "no"', '"answer": "maybe"', ", row 2: its 'answer' is 'maybe', where POPE"),
        ('"question_id": "1"', '"question_id": "', " cannot be used as lmms-eval's data: Arrow"),
    ],
    ids=["an answer that is none", "a broken line"],
)
def test_a_wrong_row_is_named_with_its_file_before_anything_is_asked(
    uwt_eval: CommandLine, chat: tuple[object, ...], tmp_path: Path, old: str, new: str, told: str
) -> None:
    file = write_json(tmp_path / "theirs", ROWS["pope"]) / "questions.jsonl"
    file.write_text(file.read_text().replace(old, new, 1))
    refused = uwt_eval("run", "pope", "--data", tmp_path / "theirs", *chat)
    assert refused.code == 2
    assert f"error: pope: {file}{told}" in " ".join(refused.err.split())
    assert not list((tmp_path / "runs").glob("*/lmms-eval/asked.jsonl"))
    if "maybe" in new:  # What is not asked is not looked at.
        assert uwt_eval("run", "pope", "--data", tmp_path / "theirs", *chat, "--limit", 1).code == 0


def test_rows_of_another_suite_are_refused_by_column_and_file_and_others_answered(
    uwt_eval: CommandLine, chat: tuple[object, ...], tmp_path: Path
) -> None:
    """In one process after all, and only that one loads the model."""
    write_json(tmp_path / "theirs", ROWS["pope"])
    # One by its description, one by its protocol; `tests/tasks/vqa` has what others need.
    columns = {"seedbench": "choice_a", "vqav2": "answers"}
    refused = uwt_eval("run", *columns, "--data", tmp_path / "theirs", *chat)
    assert (refused.code, refused.records) == (2, []), refused.err
    words = " ".join(refused.err.split())
    for task, column in columns.items():
        assert f"{task}: {tmp_path}/theirs/questions.jsonl has no column {column!r}" in words
    assert "KeyError" not in words
    process = EVALUATOR._process
    assert process is not None
    write_copies(tmp_path / "copies")
    result = uwt_eval("run", "pope", "--data", tmp_path / "copies", *chat)
    assert EVALUATOR._process is process
    (record,) = result.records
    assert (result.code, record["n_failed"]) == (0, 0), result.err
    assert record["model"].startswith("uniwetok-chat:")
