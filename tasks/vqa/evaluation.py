"""One suite through lmms-eval's own evaluator, in the process that may import it."""

from __future__ import annotations

import functools
import json
import types
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from lmms_eval.api.instance import Instance
from lmms_eval.evaluator import simple_evaluate
from lmms_eval.tasks import TaskManager
from lmms_eval.utils import load_yaml_config

from harness.data.store import Store
from harness.engine.models import ModelChoice
from harness.interfaces import MultimodalLM
from harness.interfaces.errors import UserError, counted
from harness.interfaces.registry import load_plugin
from harness.interfaces.types import Status
from tasks.shared.networks import LazyModel
from tasks.vqa.answers import Row, write_rows
from tasks.vqa.arranging import arranged, no_data, overrides
from tasks.vqa.asking import Answering, Asked, Asker, share
from tasks.vqa.drawing import Draughtsman, drawn_in, placed
from tasks.vqa.figures import figures_of, figures_of_groups, logged_of, storable
from tasks.vqa.job import Job
from tasks.vqa.lmms_files import catalogue
from tasks.vqa.lmms_model import HarnessModel
from tasks.vqa.page import keep_pictures
from tasks.vqa.protocol import first_cause, import_failure
from tasks.vqa.replies import Answered, Journal, hand_over, handed_over
from tasks.vqa.suites import sample_score, suite_named


class _ShareDone(Exception):
    """This process, or shard, has answered its questions; those of all are scored elsewhere."""


def evaluate(job: Job, tell: Callable[..., None], meet: Callable[[], None]) -> None:
    """Ask, score and write the rows; of several processes the main one scores, of a shard none.

    Args:
        job: What is to be done.
        tell: Is sent 'progress'.
        meet: Returns once every process has answered its share.

    Raises:
        UserError: The model, the data or a package that lmms-eval needs cannot be used.
    """
    suite, seeds = suite_named(job.suite), job.settings.seeds
    model = _RecordedModel(job, _Answers(job) if job.answered else _asker(job), tell, meet)
    files = [catalogue().members(name)[0] for name in job.tasks]
    given = types.SimpleNamespace(
        output_path=str(job.facts.parent),
        # Scorers may look at the pictures, and these are opened late.
        process_with_media=bool(suite.tasks),
    )
    try:
        configs = {file.name: load_yaml_config(str(file.path), mode="full") for file in files}
    except Exception as error:
        reason = import_failure(error) or f"lmms-eval's code of it is broken: {first_cause(error)}"
        raise UserError(f"{suite.name}: {reason}") from error
    try:
        changed = {
            file.name: {"task": file.name, **overrides(job, suite, file, configs[file.name])}
            for file in files
        }
        results = simple_evaluate(
            model=model,
            tasks=arranged(suite.title, changed) if suite.tasks else list(changed.values()),
            task_manager=TaskManager(
                "WARNING",
                include_path=sorted({str(file.path.parent) for file in files}),
                include_defaults=False,
            ),
            batch_size=job.batch_size,
            device=job.device,
            limit=job.limit,
            log_samples=True,
            process_docs_parallel=1,
            bootstrap_iters=0,
            random_seed=seeds.random,
            numpy_random_seed=seeds.numpy,
            torch_random_seed=seeds.torch,
            fewshot_random_seed=seeds.fewshot,
            cli_args=given,
        )
    except _ShareDone:
        return
    except UserError:
        raise
    except Exception as error:
        if model.asked:
            raise
        # A package that is too new fails here too, and must not pass for bad data.
        broken = import_failure(error)
        message = f"{suite.name}: {broken}" if broken else no_data(job, suite, error)
        raise UserError(message) from error
    rows = model.rows(results["samples"])
    keep_pictures(job.folder, suite, rows, model.pictures)
    write_rows(job.result, rows)
    if suite.tasks:
        found = figures_of(files, configs, rows, results["results"], job.seed)
        own = catalogue().own_figures(suite.title)
        found |= figures_of_groups(own, results["results"], len(rows))
        Store(job.figures.parent).write_json(job.figures.name, found)
    kept = {key: results[key] for key in ("results", "configs", "versions") if key in results}
    text = json.dumps(kept, indent=2, default=str)
    Store(job.facts.parent).write_text(job.facts.name, text)


def _asker(job: Job) -> Asker:
    """Asks this process's share of the shard's share."""
    model: Any = _model(job.model, job.device, job.plugins)
    if job.draws:
        model = Draughtsman(model, job.folder, job.seed)
    return Asker(
        model,
        batch_size=job.batch_size,
        reply_limit=job.settings.reply_limit,
        journal=Journal(job.own_journal, job.journal, model.keeps if job.draws else _always),
        rank=job.shard + job.shards * job.rank,
        size=job.shards * job.size,
    )


def _always(_: Answered) -> bool:
    return True


@dataclass(frozen=True)
class _Answers:
    """What shards were answered, in place of asking."""

    job: Job

    def ask(
        self, questions: Sequence[Asked], on_done: Callable[[int], None]
    ) -> dict[int, Answered]:
        """Every question's reply; raise `UserError` where they are of other questions."""
        answers = handed_over(self.job.answers(0))
        if len(answers) != len(questions):
            raise UserError(
                f"{self.job.suite}: the data have {counted(len(questions), 'question')}, and the "
                f"shards {len(answers):,}: give --data those that were asked"
            )
        on_done(len(answers))
        return answers


class _RecordedModel(HarnessModel):
    """Remembers what was asked, with the data set's rows, before anything can go wrong."""

    def __init__(
        self,
        job: Job,
        asker: Answering,
        tell: Callable[..., None],
        meet: Callable[[], None],
    ) -> None:
        super().__init__(asker=asker, max_new_tokens=job.settings.max_new_tokens)
        self.draws = job.draws
        self._job = job
        self._tell = tell
        self._meet = meet
        self._suite = suite_named(job.suite)
        self.asked: list[Instance] = []
        """One a question: the repeats of a task would be given the same reply."""
        self._documents: dict[int, dict[str, Any]] = {}

    def generate_until(self, requests: list[Instance]) -> list[str]:
        asked = {_question(request): request for request in requests}
        self.asked = list(asked.values())
        if self._job.rank == 0:
            write_rows(self._job.asked, [self.row(place, []) for place in range(len(asked))])
        job = self._job
        total = len(share(len(asked), job.batch_size, job.shard, job.shards))
        self._tell("progress", done=0, total=total)
        self.on_done = lambda done: self._tell("progress", done=done, total=total)
        given = super().generate_until(self.asked)
        if job.draws:
            given = [placed(reply, job.folder) for reply in given]
        replies = dict(zip(asked, given, strict=True))
        return [replies[_question(request)] for request in requests]

    def _answers(self, questions: Sequence[Asked]) -> Sequence[Answered]:
        job, answers = self._job, self._asker.ask(questions, self.on_done)
        if job.rank:
            hand_over(job.answers(job.rank), answers)
        self._meet()
        if job.rank:
            raise _ShareDone
        for rank in range(1, job.size):
            answers |= handed_over(job.answers(rank))
            job.answers(rank).unlink()
        if job.size > 1 and isinstance(self._asker, Asker):
            self._asker.refuse_failing(answers)
        if job.shards > 1:
            hand_over(job.answers(0), answers)
            raise _ShareDone
        return [answers[place] for place in range(len(questions))]

    def rows(self, samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Row]:
        """All questions with what lmms-eval logged of them, by task; once for every filter."""
        logged: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
        for task, entries in samples.items():
            for entry in entries:
                logged[task, entry["doc_id"]].append(entry)
        return [
            self.row(place, logged[_question(request)]) for place, request in enumerate(self.asked)
        ]

    def row(self, place: int, logged: Sequence[Mapping[str, Any]]) -> Row:
        """A question with its reply, or as missing while it has none."""
        known: dict[str, Any] = {"status": Status.MISSING, "error": "lmms-eval stopped before"}
        if self.answered:
            known = dict(vars(self.answered[place]))
        task = self.asked[place].args[4]
        if self._suite.tasks:
            (file,) = (each for each in self._suite.tasks if each.name == task)
            known |= logged_of(file, logged)
            if self.draws:
                known["taken"] = ""  # The reply again.
        elif logged and known["status"] is Status.OK:
            known["lmms_score"] = (
                _mmmu_score(logged[0])
                if "mmmu_acc" in logged[0]
                else sample_score(self._suite, logged[0])
            )
        if place not in self._documents:
            self._documents[place] = {
                name: value
                for name, value in self._stored(place).items()
                if name not in self._suite.images and storable(value)
            }
        text = self.asked[place].args[0]
        return Row(
            id=f"{place:06d}",
            question=text if isinstance(text, str) else json.dumps(text, default=str),
            document=self._documents[place],
            **known,
        )

    def pictures(self, place: int) -> Sequence[Any]:
        """The pictures of a question, as RGB."""
        shown = self.asked[place].args[2]
        visuals = list((shown(self._stored(place)) if shown else None) or ())
        if self.draws:
            visuals += drawn_in(self.answered[place].reply, self._job.folder)
        return [picture.convert("RGB") for picture in visuals]

    def _stored(self, place: int) -> dict[str, Any]:
        *_, number, task, split = self.asked[place].args
        row: dict[str, Any] = self.task_dict[task][split][number]
        return row


def _question(request: Instance) -> tuple[str, int]:
    """Task and place in its data."""
    return request.args[4], request.args[3]


@functools.lru_cache(maxsize=1)
def _model(model: str, device: str, plugins: tuple[str, ...]) -> LazyModel:
    """The model of this process, loaded once for all suites."""
    for path in plugins:
        load_plugin(Path(path))
    choice = ModelChoice.parse(model)
    plugin = cast(MultimodalLM, choice.build())
    return LazyModel(plugin, device, choice.card(plugin))


def _mmmu_score(logged: Mapping[str, Any]) -> float:
    from lmms_eval.tasks.mmmu.utils import evaluate_mmmu

    return float(evaluate_mmmu([logged["mmmu_acc"]])[1]["acc"])
