from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.engine.world import World
from harness.interfaces.errors import UserError
from harness.interfaces.registry import METRICS, TASKS, expand_tasks
from harness.interfaces.types import Status
from reports.paper import reference_rows
from tasks import PROTOCOLS
from tasks.vqa import protocol as versions
from tasks.vqa.answers import Row, write_rows
from tasks.vqa.scorers.literal import PERCEPTION
from tasks.vqa.suites import SUITES
from tasks.vqa.task import _SPLITS, MME, POPE, VQAV2
from tests.conftest import CommandLine

TOY = Path(__file__).parent / "toy_chat.py"


def test_groups_hold_the_eleven_suites() -> None:
    assert set(expand_tasks(["vqa"])) == set(expand_tasks(["table12"])) == set(SUITES)


def test_metrics_are_those_of_the_published_table() -> None:
    for name in SUITES:
        spec = TASKS.get(name).spec
        assert all(metric in METRICS for metric in spec.metrics)
        (row,) = reference_rows(name)
        assert set(row.values) <= set(spec.metrics), name


def test_each_suite_has_its_task_in_the_protocol() -> None:
    for name in SUITES:
        task = TASKS.get(name)
        for protocol in task.spec.protocols:
            assert task.protocol(protocol).settings["lmms_task"] in _SPLITS
    with pytest.raises(UserError, match="'lmms_task' is missing"):
        POPE.protocol("lmms-test")
    assert VQAV2.protocol("lmms-test").digest != VQAV2.protocol("lmms").digest
    assert len(PERCEPTION) == 10


def version(monkeypatch: pytest.MonkeyPatch, found: str | None) -> None:
    monkeypatch.setattr(versions, "installed_version", lambda: found)
    monkeypatch.setattr("tasks.vqa.performing.installed_version", lambda: found)


def test_the_digest_holds_the_version_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = {}
    for found in (None, "0.7.3", "0.7.9", "0.8.0"):
        version(monkeypatch, found)
        digests[found] = POPE.protocol("lmms").digest
    assert digests[None] == digests["0.7.3"] == digests["0.8.0"]
    assert digests["0.7.9"] != digests["0.7.3"]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            None,
            'lmms-eval is not installed, and it asks the questions: pip install "uwt-eval[vqa]"',
        ),
        ("0.8.0", "lmms-eval 0.8.0 is installed and the protocol is for 0.7: pip install"),
    ],
)
def test_missing_or_other_versions_are_refused(
    uwt_eval: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    found: str | None,
    message: str,
) -> None:
    version(monkeypatch, found)
    (tmp_path / "replies.json").write_text("{}")
    model = f"toy-chat:{tmp_path / 'replies.json'}"
    words: list[Any] = ["run", "pope", "--plugin", TOY, "--model", model, "--data", tmp_path]
    (tmp_path / "pope.jsonl").write_text("{}")
    result = uwt_eval(*words, "--out", tmp_path / "runs")
    assert result.code == 2
    assert message in " ".join(result.err.split())


def test_models_that_answer_nothing_and_data_that_are_not_there(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    result = uwt_eval("run", "pope", "--model", "webp", "--out", tmp_path)
    assert result.code == 2
    assert "pope needs one that answers questions" in result.err


def test_what_a_suite_is_can_be_listed(uwt_eval: CommandLine) -> None:
    result = uwt_eval("show", "mme")
    assert result.code == 0
    assert MME.spec.title in result.out


def test_a_suite_that_breaks_before_any_question_leaves_the_others(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tasks.vqa import process

    asked: list[str] = []

    def broken(job: Any, on_progress: Any, meet: Any) -> None:
        asked.append(job.suite)
        raise process.Crashed("killed by signal 9")

    version(monkeypatch, "0.7.3")
    monkeypatch.setattr(process.EVALUATOR, "carry_out", broken)
    (tmp_path / "replies.json").write_text("{}")
    model = f"toy-chat:{tmp_path / 'replies.json'}"
    words: list[Any] = ["run", "mme", "mmmu", "--plugin", TOY, "--model", model]
    result = uwt_eval(*words, "--out", tmp_path / "runs", "--device", "cpu")
    assert result.code == 3
    assert asked == ["mme", "mmmu"]
    assert "all questions: model_error: lmms-eval broke down: killed by signal 9" in result.err


def test_another_headline_scores_the_same_replies(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tasks.vqa import process

    asked: list[str] = []

    def answer(job: Any, on_progress: Any, meet: Any) -> None:
        asked.append(job.suite)
        rows = [
            Row(
                id=f"{place:06d}",
                question="Which?",
                document={"question_id": place, "data_type": kind, "answer": "A"},
                reply="A" if right else "B",
                lmms_score=float(right),
            )
            for place, (kind, right) in enumerate([("image", 1), ("image", 0), ("video", 1)])
        ]
        write_rows(job.result, rows)

    version(monkeypatch, "0.7.3")
    monkeypatch.setattr(process.EVALUATOR, "carry_out", answer)
    (tmp_path / "replies.json").write_text("{}")
    text = (PROTOCOLS / "lmms.toml").read_text(encoding="utf-8")
    (tmp_path / "all.toml").write_text(text.replace('headline = "image"', 'headline = ""'))
    (tmp_path / "cut.toml").write_text(text.replace("reply_limit = 4096", "reply_limit = 8"))
    command: list[Any] = ["run", "seedbench", "--plugin", TOY, "--model"]
    command += [f"toy-chat:{tmp_path / 'replies.json'}", "--out", tmp_path / "runs", "--json"]
    command += ["--device", "cpu", "--protocol"]
    (images,) = uwt_eval(*command, "lmms").records
    (every,) = uwt_eval(*command, tmp_path / "all.toml").records
    assert asked == ["seedbench"]
    assert images["metrics"]["accuracy"]["value"] == pytest.approx(1 / 2)
    assert every["metrics"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert images["run_id"] != every["run_id"]
    uwt_eval(*command, tmp_path / "cut.toml")
    assert asked == ["seedbench", "seedbench"], "another limit of replies is another run"


def test_shards_are_merged_and_scored_once(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tasks.vqa import process
    from tasks.vqa.asking import share
    from tasks.vqa.replies import Answered, hand_over, handed_over

    asked: list[int] = []
    questions = [f"Is there a cat in picture {place}?" for place in range(6)]

    def answer(job: Any, on_progress: Any, meet: Any) -> None:
        documents = [{"question_id": place, "answer": "yes"} for place in range(len(questions))]
        ids = [f"{place:06d}" for place in range(len(questions))]
        given = list(zip(ids, questions, documents, strict=True))
        none = {"status": Status.MISSING}
        rows = [Row(id=id, question=text, document=row, **none) for id, text, row in given]
        write_rows(job.asked, rows)
        if job.answered:
            got = handed_over(job.answers(0))
        else:
            places = share(len(rows), job.batch_size, job.shard, job.shards)
            got = {place: Answered(reply="no" if place == 4 else "yes") for place in places}
            asked.extend(places)
        meet()
        if job.shards > 1:
            hand_over(job.answers(0), got)
            return
        write_rows(
            job.result,
            [
                replace(row, **vars(got[place]), lmms_score=float(got[place].reply == "yes"))
                for place, row in enumerate(rows)
            ],
        )

    version(monkeypatch, "0.7.3")
    monkeypatch.setattr(process.EVALUATOR, "carry_out", answer)
    (tmp_path / "replies.json").write_text("{}")
    command: list[Any] = ["run", "pope", "--plugin", TOY, "--device", "cpu", "--json", "--model"]
    command += [f"toy-chat:{tmp_path / 'replies.json'}", "--out"]
    (whole,) = uwt_eval(*command, tmp_path / "whole").records
    asked.clear()
    planned = uwt_eval(*command, tmp_path / "1", "--shard", "1/2", "--dry-run")
    assert json.loads(planned.out)[0]["shard"] == "shard 1 of 2"
    for number in (1, 2):
        result = uwt_eval(*command, tmp_path / str(number), "--shard", f"{number}/2")
        assert result.code == 0, result.err
        (part,) = json.loads(result.out)
        assert (part["n"], part["n_run"], part["complete"]) == (3, 6, True)
    assert asked == [0, 2, 4, 1, 3, 5]
    first, second = (next((tmp_path / str(number)).glob("pope-*")) for number in (1, 2))
    refused = uwt_eval("merge", first, "--out", tmp_path / "merged")
    assert refused.code == 2
    assert "3 of 6 samples are in none of these directories: `uwt-eval run" in refused.err
    assert "--shard 2/2` makes them; then merge again" in refused.err
    text = questions.pop()
    other = uwt_eval("merge", first, second, "--out", tmp_path / "other")
    assert other.code == 2, "the data have lost a question"
    questions.append(text)
    for _ in range(2):
        # Where they were merged before, one of the shards lies below the whole run.
        merged = uwt_eval("merge", second, first, "--out", tmp_path / "1", "--json")
        assert merged.code == 0, merged.err
        (record,) = merged.records
        assert {**record, "provenance": {}} == {**whole, "provenance": {}}
    names = ("replies.jsonl", "gallery.html")
    (root,) = (tmp_path / "whole").glob("pope-*")
    assert [(first / name).read_bytes() for name in names] == [
        (root / name).read_bytes() for name in names
    ]
    asked.clear()
    assert uwt_eval(*command, tmp_path / "1").records[0]["metrics"] == whole["metrics"]
    assert not asked, "the run finds all done"
    refused = uwt_eval("merge", root, "--out", tmp_path / "merged")
    assert "is a whole run of pope: there is nothing to merge" in refused.err


class Beside(World):
    """The main one of two processes, of which the other has two questions done."""

    def barrier(self) -> None:
        pass

    def broadcast(self, value: Any) -> Any:
        return value

    def total(self, name: str, done: int) -> int:
        return done + 2


class Shown:
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    @contextmanager
    def bar(self, name: str) -> Iterator[Any]:
        yield lambda *counts: self.told.append(counts)


@pytest.mark.parametrize("breaks", ["", "asking", "scoring"])
def test_progress_and_crashes_of_several_processes(
    breaks: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tasks.vqa import process
    from tasks.vqa.job import Job
    from tasks.vqa.protocol import VqaSettings
    from tasks.vqa.replies import Answered, Journal

    def answer(job: Any, on_progress: Any, meet: Any) -> None:
        Journal(job.own_journal, job.journal).add({"b": Answered(reply="here")})
        on_progress(3, 6)
        if breaks == "asking":
            raise process.Crashed("signal 9")
        meet()
        if breaks == "scoring":
            raise process.Crashed("signal 9")

    monkeypatch.setattr(process.EVALUATOR, "carry_out", answer)
    shown, world = Shown(), Beside(rank=0, size=2)
    job = Job(
        suite="pope",
        settings=VqaSettings.of(POPE.protocol("lmms").settings),
        model="toy",
        model_digest="0",
        plugins=(),
        device="cpu",
        batch_size=1,
        limit=None,
        copies={},
        root=str(tmp_path),
        rank=0,
        size=2,
    )
    assert job.digest == job.model_copy(update={"rank": 1, "size": 1}).digest
    job.journal.parent.mkdir()
    Journal(job.journal.with_name("journal-1.jsonl")).add({"a": Answered(reply="there")})
    if breaks == "asking":
        # The others would wait for the rest of this share.
        with pytest.raises(UserError, match="pope: process 1 of 2: lmms-eval broke down: signal 9"):
            POPE._ask(job, shown, world)
    else:
        crash = POPE._ask(job, shown, world)
        assert crash == ("lmms-eval broke down: signal 9" if breaks else "")
    assert shown.told == [(5, 6)]
    kept = [path.name for path in sorted(job.journal.parent.glob("journal*"))]
    assert kept == (["journal-0.jsonl", "journal-1.jsonl"] if breaks else ["journal.jsonl"])
    job.join_journals()
    assert [Journal(job.journal).get(key) for key in "ab"] == [
        Answered(reply="there"),
        Answered(reply="here"),
    ]
