"""One suite through lmms-eval's own evaluator, in the process that may import it."""

from __future__ import annotations

import functools
import json
import os
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lmms_eval
from lmms_eval.api.instance import Instance
from lmms_eval.evaluator import simple_evaluate
from lmms_eval.tasks import TaskManager

from harness.data.store import Store
from harness.data.tables import arrow_cache
from harness.engine.models import ModelChoice
from harness.interfaces import MultimodalLM
from harness.interfaces.errors import UserError
from harness.interfaces.registry import load_plugin
from harness.interfaces.types import Status
from tasks.shared.networks import LazyModel
from tasks.vqa.answers import Row, write_rows
from tasks.vqa.asking import Answering, Asked, Asker, share
from tasks.vqa.job import Job
from tasks.vqa.lmms_model import HarnessModel
from tasks.vqa.page import keep_pictures
from tasks.vqa.pictures import PendingPicture, PicturesById, pending
from tasks.vqa.protocol import first_cause, import_failure
from tasks.vqa.replies import Answered, Journal, hand_over, handed_over
from tasks.vqa.suites import SUITES, Suite, sample_score

if TYPE_CHECKING:
    from datasets import Dataset

GQA_IMAGES = "testdev_balanced_images"
"""The hub's subset with GQA's pictures, which lie apart from its questions."""


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
    suite, name, seeds = SUITES[job.suite], job.settings.lmms_task, job.settings.seeds
    model = _RecordedModel(job, _Answers(job) if job.answered else _asker(job), tell, meet)
    stock = _task_file(name)
    manager = TaskManager("WARNING", include_path=str(stock.parent), include_defaults=False)
    config = _overrides(job, suite, stock)
    try:
        results = simple_evaluate(
            model=model,
            tasks=[{"task": name, **config}],
            task_manager=manager,
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
            cli_args=types.SimpleNamespace(
                output_path=str(job.facts.parent), process_with_media=False
            ),
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
        message = f"{suite.name}: {broken}" if broken else _no_data(job, suite, error)
        raise UserError(message) from error
    samples = sorted(results["samples"][name], key=itemgetter("doc_id"))
    rows = [model.row(sample["doc_id"], sample) for sample in samples]
    keep_pictures(job.folder, suite, rows, model.pictures)
    write_rows(job.result, rows)
    kept = {key: results[key] for key in ("results", "configs", "versions") if key in results}
    text = json.dumps(kept, indent=2, default=str)
    Store(job.facts.parent).write_text(job.facts.name, text)


def _asker(job: Job) -> Asker:
    """Asks this process's share of the shard's share."""
    return Asker(
        _model(job.model, job.device, job.plugins),
        batch_size=job.batch_size,
        reply_limit=job.settings.reply_limit,
        journal=Journal(job.own_journal, job.journal),
        rank=job.shard + job.shards * job.rank,
        size=job.shards * job.size,
    )


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
                f"{self.job.suite}: the data have {len(questions)} questions, and the shards "
                f"{len(answers)}: give --data those that were asked"
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
        self._job = job
        self._tell = tell
        self._meet = meet
        self._suite = SUITES[job.suite]
        self.asked: dict[int, Instance] = {}
        self._documents: dict[int, dict[str, Any]] = {}

    def generate_until(self, requests: list[Instance]) -> list[str]:
        self.asked = {request.args[3]: request for request in requests}
        if self._job.rank == 0:
            write_rows(self._job.asked, [self.row(place, {}) for place in self.asked])
        job = self._job
        total = len(share(len(requests), job.batch_size, job.shard, job.shards))
        self._tell("progress", done=0, total=total)
        self.on_done = lambda done: self._tell("progress", done=done, total=total)
        return super().generate_until(requests)

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

    def row(self, place: int, logged: Mapping[str, Any]) -> Row:
        """A question with its reply, or as missing while it has none."""
        answered = self.answered.get(place)
        known: dict[str, Any] = {"status": Status.MISSING, "error": "lmms-eval stopped before"}
        if answered is not None:
            known = dict(vars(answered))
        if logged and answered is not None and answered.status is Status.OK:
            known["lmms_score"] = (
                _mmmu_score(logged) if "mmmu_acc" in logged else sample_score(self._suite, logged)
            )
        if place not in self._documents:
            self._documents[place] = {
                name: value
                for name, value in self._stored(place).items()
                if name not in self._suite.images and not isinstance(value, PendingPicture)
            }
        return Row(
            id=f"{place:06d}",
            question=self.asked[place].args[0],
            document=self._documents[place],
            **known,
        )

    def pictures(self, place: int) -> Sequence[Any]:
        """The pictures of a question, as RGB."""
        visuals = self.asked[place].args[2](self._stored(place)) or []
        return [picture.convert("RGB") for picture in visuals]

    def _stored(self, place: int) -> dict[str, Any]:
        *_, task, split = self.asked[place].args
        row: dict[str, Any] = self.task_dict[task][split][place]
        return row


@functools.lru_cache(maxsize=1)
def _model(model: str, device: str, plugins: tuple[str, ...]) -> LazyModel:
    """The model of this process, loaded once for all suites."""
    for path in plugins:
        load_plugin(Path(path))
    choice = ModelChoice.parse(model)
    plugin = cast(MultimodalLM, choice.build())
    return LazyModel(plugin, device, choice.card(plugin))


def _task_file(name: str) -> Path:
    folder = Path(lmms_eval.__file__).parent / "tasks"
    found = sorted(folder.glob(f"*/{name}.yaml"))
    if not found:
        raise UserError(f"lmms-eval has no task {name!r}: the protocol is for another version")
    return found[0]


def _overrides(job: Job, suite: Suite, stock: Path) -> dict[str, Any]:
    """What differs from the task file: where the data are, and that pictures open late."""
    from huggingface_hub import get_token
    from lmms_eval.utils import load_yaml_config

    config = load_yaml_config(str(stock), mode="full")
    copy = job.data
    changes: dict[str, Any] = {}
    if copy is not None:
        changes = copy.overrides(config["test_split"])
        # lmms-eval makes the folder at home otherwise, whether it needs it or not.
        os.environ["LMMS_EVAL_DATASETS_CACHE"] = arrow_cache(map(Path, copy.files))
    elif get_token() is None:
        # The task files ask for a login that public data sets do not need.
        kwargs = dict(config.get("dataset_kwargs") or {})
        kwargs.pop("token", None)
        changes = {"dataset_kwargs": kwargs}
    by_id = (lambda: PicturesById(_gqa_images(job))) if suite.name == "gqa" else None
    prepare = pending(suite.images, copy.root if copy else "", by_id)

    def checked(dataset: Dataset) -> Dataset:
        _check_columns(job, suite, dataset.column_names)
        return prepare(dataset)

    return {**changes, "process_docs": checked}


def _check_columns(job: Job, suite: Suite, there: Sequence[str]) -> None:
    """Refuse data without what is read: a task file would say no more than KeyError."""
    absent = suite.absent(there)
    if job.settings.lmms_task == "vqav2_val" and "answers" not in there:
        absent.append("answers")  # Those of the test split are not public.
    if absent:
        copy = job.data
        where = suite.hub if copy is None else ", ".join(copy.files[:1]) or copy.path
        raise UserError(
            f"{suite.name}: {where} has no column {absent[0]!r}, which {suite.title}'s questions "
            f"have: give --data a copy of {suite.data.replace(':', ', subset ')}"
        )


def _gqa_images(job: Job) -> Any:
    from datasets import disable_progress_bars, load_dataset

    if job.data is None:
        return load_dataset(SUITES["gqa"].hub, GQA_IMAGES, split="testdev")
    if not job.data.images:
        raise UserError(
            "gqa: the questions have no column 'image', and no parquet files of "
            f"{GQA_IMAGES} lie beside them"
        )
    disable_progress_bars()
    files = {"testdev": list(job.data.images)}
    cache = arrow_cache(map(Path, job.data.images))
    return load_dataset("parquet", data_files=files, split="testdev", cache_dir=cache)


def _mmmu_score(logged: Mapping[str, Any]) -> float:
    from lmms_eval.tasks.mmmu.utils import evaluate_mmmu

    return float(evaluate_mmmu([logged["mmmu_acc"]])[1]["acc"])


def _no_data(job: Job, suite: Suite, error: Exception) -> str:
    """Why lmms-eval has no questions, and what to do."""
    why = first_cause(error)
    if job.data is not None:
        return f"{suite.name}: the local copy cannot be used as lmms-eval's data: {why}"
    local = "give --data a local copy (see docs/vqa.md)"
    hub = suite.hub
    offline = any(os.environ.get(name) == "1" for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"))
    if offline:
        return (
            f"{suite.name}: {hub} is not in the Hugging Face cache and this run is offline: {local}"
        )
    if any(word in why for word in ("Gated", "401", "403", "token", "authenticated")):
        return (
            f"{suite.name}: {hub} needs a login or consent to its terms: open "
            f"https://huggingface.co/datasets/{hub}, then `hf auth login`, or {local} ({why})"
        )
    return f"{suite.name}: {hub} cannot be read: {why}; check the network, or {local}"
