"""Rows as the world makes them: what lmms-eval ends at is refused before anything is asked."""

from __future__ import annotations

import contextlib
import copy
import io
from pathlib import Path
from typing import Any

import pytest

from harness.interfaces.registry import TASKS
from tasks.vqa.lmms_files import catalogue
from tasks.vqa.local_data import find_copy
from tasks.vqa.needs import fault_in
from tasks.vqa.scorers import UnparsedReply
from tasks.vqa.suites import SUITES
from tests.tasks.vqa.copies import ROWS, write_json

PEOPLE: list[Any] = [[{"answer": each}] for each in ("red", None, 5)]
VALUES: list[Any] = [
    *(None, "", "Yes ", "no.", "maybe", 5, 1, -1, 2.0, float("nan"), True),
    *([], ["a"], [None], [5], {"a": 1}, [{}], *PEOPLE),
    *("1", "two", "-5", "['a', 'b']", "[1]", "[]", "validation_Art_1", "Art_1", "a+_b_1", "(_b_1"),
]
REPLIES = ("yes", "a long reply that names no option", "B")
STRICT = ("choices", "options")
"""lmms-eval would ask a text, which a CSV file makes of a list, letter by letter."""
READ = {"question", "answer", "answers", "choices", "options", "id", "question_type", "data_type"}


@pytest.fixture(params=list(SUITES))
def task(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Any]:
    """A suite's name, and lmms-eval's task on its rows."""
    pytest.importorskip("lmms_eval")
    from lmms_eval.tasks import TaskManager, get_task_dict

    name: str = request.param
    settings = TASKS.get(name).protocol("lmms").settings
    (file,) = catalogue().members(settings["lmms_task"])
    rows = [{**row, "image": None} for row in ROWS[name]]
    found = find_copy(write_json(tmp_path / name, rows), (name, file.name), "", file.split)
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)  # Before it tries again.
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    manager = TaskManager("ERROR", include_path=[str(file.path.parent)], include_defaults=False)
    own = {"task": file.name, "fewshot_config": None, "process_docs": lambda rows: rows}
    return name, get_task_dict([{**found.overrides(file.split), **own}], manager)[file.name]


def ends(task: Any, row: dict[str, Any], pairs: bool) -> bool:
    """Whether lmms-eval ends at a row with one of the replies."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            for reply in REPLIES:
                task.doc_to_text(copy.deepcopy(row))
                task.doc_to_target(copy.deepcopy(row))
                results = task.process_results(copy.deepcopy(row), [reply])
                for figure in results.keys() & task.aggregation().keys() - {"submission"}:
                    task.aggregation()[figure]([results[figure]] * (1 + pairs))
    except Exception:
        return True
    return False


def test_refused_is_what_lmms_eval_ends_at_and_nothing_else(task: tuple[str, Any]) -> None:
    name, theirs = task
    suite = SUITES[name]
    wrong = []
    rows = ROWS[name] if name == "mmmu" else ROWS[name][:1]
    for row in rows:
        plain = {key: value for key, value in row.items() if not key.startswith("image")}
        for column in READ & {*plain, "answers"}:
            for value in VALUES:
                if column == "question" and isinstance(value, list):
                    continue  # SEED-Bench's prompt would show it as Python writes it.
                changed = {**plain, column: value}
                twice = [changed] * (1 + bool(suite.pair(changed)))
                refused = bool(fault_in(suite, twice))
                if column in suite.columns and column in STRICT and refused:
                    continue
                if refused != ends(theirs, changed, bool(suite.pair(changed))):
                    wrong.append((column, value, "refused" if refused else "taken"))
                if not refused:
                    assert suite.judge is not None
                    with contextlib.suppress(UnparsedReply):
                        for reply in REPLIES:
                            suite.judge(changed, reply)
    assert not wrong


@pytest.mark.parametrize("name", list(SUITES))
def test_the_rows_of_a_suite_have_no_fault(name: str) -> None:
    assert fault_in(SUITES[name], ROWS[name]) == ""


@pytest.mark.parametrize(
    ("name", "column", "value", "told"),
    [
        ("realworldqa", "answer", None, "'answer' is None, where RealWorldQA has a text"),
        ("ai2d", "answer", "7", "'answer' is '7', where AI2D has a place in 'options'"),
        ("textvqa", "answers", [], "'answers' is [], where TextVQA has a list of texts"),
        ("mmmu", "id", "Art_1", "'id' is 'Art_1', where MMMU has a name as 'validation_Art_12'"),
        (
            "ai2d",
            "options",
            "['a', 'b', 'c']",
            "'options' is \"['a', 'b', 'c']\"",
        ),
        ("scienceqa", "choices", {"a": 1}, "'choices' is {'a': 1}, where ScienceQA has a list"),
        ("mme", "category", "exsistence", "'category' is 'exsistence', where MME has one of its"),
        ("pope", "answer", "yes.", "'answer' is 'yes.', where POPE has yes or no"),
    ],
)
def test_the_row_its_column_and_what_belongs_there_are_told(
    name: str, column: str, value: Any, told: str
) -> None:
    first = ROWS[name][0]
    found = fault_in(SUITES[name], [first, {**first, column: value}])
    assert found.startswith(f"row 2: its {told}")


@pytest.mark.parametrize("count", [1, 3])
def test_mme_scores_pairs_alone(count: int) -> None:
    """Its aggregation asserts so."""
    rows = ROWS["mme"][:2] + ROWS["mme"][2:3] * count
    assert fault_in(SUITES["mme"], rows).startswith("row 3: MME has two questions of one category")
