"""A suite as a task that lmms-eval carries out: asked, resumed, shared out, merged, shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.engine.plan import best_batch
from harness.engine.protocols import FiledTask
from harness.interfaces import ObservedRows
from harness.interfaces.errors import UserError, warn
from harness.interfaces.types import Protocol, Sample, Status, TaskSpec
from tasks import PROTOCOLS
from tasks.vqa.protocol import check_installed, installed_version, same_series
from tasks.vqa.suites import Suite

if TYPE_CHECKING:
    import pandas as pd

    from harness.interfaces import Model, Processes, Progress, RunRequest
    from tasks.vqa.answers import Row
    from tasks.vqa.job import Job
    from tasks.vqa.local_data import LocalCopy

_GPU_BATCH = 8
"""Questions of a batch where the user says nothing."""


class LmmsTask(FiledTask):
    """A suite that lmms-eval asks and scores.

    Args:
        suite: What it asks.
        spec: Its description.
    """

    def __init__(self, suite: Suite, spec: TaskSpec) -> None:
        self._suite = suite
        super().__init__(spec, PROTOCOLS)

    def protocol(self, name: str) -> Protocol:
        """A named protocol or a protocol file, checked, for the lmms-eval that is installed.

        The digest holds the version that is installed where it is of the protocol's series.
        """
        protocol = super().protocol(name)
        settings = self.settings(protocol)
        found = installed_version()
        if found and found != settings.lmms_eval and same_series(found, settings.lmms_eval):
            protocol = protocol.model_copy(
                update={"settings": {**protocol.settings, "lmms_eval": found}}
            )
        return protocol

    def perform(
        self,
        request: RunRequest,
        protocol: Protocol,
        model: Model,
        device: str,
        root: Path,
        progress: Progress,
        world: Processes,
    ) -> ObservedRows | None:
        """Ask and score through lmms-eval; replies that are there already are not asked for again.

        Where lmms-eval or the model breaks down, all questions without a score have failed. Of
        several processes each answers a share of the questions; the main one scores them. Of a
        shard nothing is scored.

        Raises:
            UserError: lmms-eval, the model or the data cannot be used, or it broke down while
                several processes, or a shard, were asking.
        """
        from tasks.vqa.answers import read_rows

        job = self._job(request, self.settings(protocol), model, device, root, world)
        if world.is_main and not job.finished:
            if job.is_of_others:
                warn(f"{root}: its result had other data or settings, and is replaced")
            job.start_anew(share=not request.fresh)
            job.join_journals()
        crash = ""
        finished = world.broadcast(job.finished if world.is_main else None)
        if job.shards > 1 or not finished:
            crash = self._ask(job, progress, world)
        if not world.is_main:
            return None
        if job.shards > 1:
            return self._share(job)
        rows = job.lost(crash) if crash else read_rows(job.result)
        return self._observed(job, rows, crash)

    def kept(self, root: Path) -> int:
        """Replies in the journals of the processes that asked."""
        from tasks.vqa.job import JOURNAL

        total = 0
        for path in (root / JOURNAL).parent.glob("journal*.jsonl"):
            with path.open("rb") as lines:
                total += sum(1 for _ in lines)
        return total

    def merge(
        self,
        samples: Sequence[Sample],
        replies: Sequence[bytes],
        shards: Sequence[Path],
        root: Path,
        data: str | None,
        progress: Progress,
    ) -> ObservedRows:
        """Score the replies of all shards through lmms-eval, as those of one run."""
        from harness.engine.world import World
        from tasks.vqa.answers import read_rows, unopened
        from tasks.vqa.job import Job
        from tasks.vqa.replies import Answered, hand_over

        asked = Job.of(shards[0])
        if data is None and asked.place is not None and not Path(asked.place).exists():
            raise UserError(f"{asked.place} is not here: give --data the questions of this run")
        check_installed(asked.settings.lmms_eval)
        found = (
            {} if data is None else {"copies": self._copies(data, asked.settings), "place": data}
        )
        alone = {"root": str(root.absolute()), "device": "cpu", "rank": 0, "size": 1, "shard": 0}
        job = asked.model_copy(update={**alone, **found, "shards": 1, "answered": True})
        job.of_shards(shards)
        hand_over(
            job.answers(0),
            {place: Answered.of(json.loads(reply)) for place, reply in enumerate(replies)},
        )
        if crash := self._ask(job, progress, World()):
            raise UserError(f"{self.spec.name}: {crash}")
        job.answers(0).unlink()
        rows = read_rows(job.result)
        if unopened(rows) != list(samples):
            job.start_anew(share=False)
            raise UserError(
                f"{self.spec.name}: the data here are not those that the shards were asked: give "
                "--data those"
            )
        return self._observed(job, rows)

    def _share(self, job: Job) -> ObservedRows:
        """What the shard has, of all questions."""
        from tasks.vqa.answers import read_rows, unopened
        from tasks.vqa.asking import together
        from tasks.vqa.replies import Answered, handed_over

        job.keep()
        rows, answers = read_rows(job.asked), handed_over(job.answers(0))
        job.answers(0).unlink()
        none = Answered(status=Status.MISSING)
        got = [answers.get(place, none) for place in range(len(rows))]
        return ObservedRows(
            samples=unopened(rows),
            statuses=[each.status for each in got],
            errors=[each.error for each in got],
            columns={},
            identities={},
            label=job.label,
            replies=[json.dumps(vars(each)).encode() for each in got],
            together=together(len(rows), job.batch_size),
        )

    def _observed(self, job: Job, rows: Sequence[Row], crash: str = "") -> ObservedRows:
        from tasks.vqa.answers import observed

        identity = {"lmms_eval": job.settings.lmms_eval, "scores": "lmms-eval"}
        notices = []  # A crash is every question's error.
        if not crash and job.limit and job.limit * len(job.tasks) == len(rows):
            each = " of each task" if len(job.tasks) > 1 else ""
            limited = f"questions{each} only, as lmms-eval's --limit takes them"
            notices = [f"{self.spec.name}: the first {job.limit} {limited}"]
        notices += dict.fromkeys(copy.note for copy in job.copies.values() if copy.note)
        figures = {} if crash or not job.figures.is_file() else json.loads(job.figures.read_bytes())
        return observed(self._suite, rows, job.label, identity, notices, figures)

    def conclude(self, root: Path, rows: pd.DataFrame) -> None:
        """Write the page of replies."""
        from tasks.vqa.page import write_page

        write_page(root, self._suite, rows)

    def _ask(self, job: Job, progress: Progress, world: Processes) -> str:
        """Ask this process's share, and score in the main one; why that broke down, if it did."""
        from tasks.vqa.process import EVALUATOR, Crashed

        answered = False

        def meet() -> None:
            nonlocal answered
            world.barrier()
            answered = True

        with progress.bar(self.spec.name) as on_progress:

            def advance(done: int, total: int) -> None:
                # The folder's name is the same on machines that reach it by another path.
                on_progress(world.total(job.folder.name, done), total)

            try:
                EVALUATOR.carry_out(job, advance, meet)
            except Crashed as error:
                crash = f"lmms-eval broke down: {error}"
                if job.shards > 1 or (job.size > 1 and not answered):
                    # The others would wait for this share.
                    where = f"process {job.rank + 1} of {job.size}"
                    raise UserError(f"{self.spec.name}: {where}: {crash}") from error
                return crash
        if world.is_main:
            job.join_journals()
            if job.shards == 1:
                job.finish()
        return ""

    def _job(
        self,
        request: RunRequest,
        settings: Any,
        model: Model,
        device: str,
        root: Path,
        world: Processes,
    ) -> Job:
        from harness.engine.models import ModelChoice
        from harness.interfaces.registry import loaded_plugins
        from tasks.vqa.job import Job

        check_installed(settings.lmms_eval)
        self._check_needs()
        limit = request.limit
        if limit is not None and self._suite.name == "mme":
            limit = max(2, limit - limit % 2)
        return Job(
            suite=self._suite.name,
            settings=settings,
            model=request.model,
            model_digest=ModelChoice.parse(request.model).card(model).digest,
            plugins=tuple(str(path.absolute()) for path in loaded_plugins()),
            device=device,
            batch_size=request.batch_size
            if isinstance(request.batch_size, int)
            else best_batch(model, device, _GPU_BATCH),
            limit=limit,
            copies={} if request.data is None else self._copies(request.data, settings),
            place=request.data,
            seed=request.seed,
            draws="MultimodalLM" not in self.spec.interfaces,
            root=str(root.absolute()),
            rank=world.rank,
            size=world.size,
            shard=world.shard,
            shards=world.shards,
        )

    def _check_needs(self) -> None:
        """Refuse to begin without what the scorers import and whom they ask."""
        tasks, name = self._suite.tasks, self.spec.name
        if packages := sorted({package for task in tasks for package in task.packages}):
            raise UserError(
                f"{name}: lmms-eval's code imports {', '.join(packages)}, not installed here: pip "
                f"install {' '.join(packages)}"
            )
        if keys := next((task.missing_keys for task in tasks if task.missing_keys), None):
            raise UserError(
                f"{name}: its scorer asks a judge's endpoint: set {' or '.join(keys)} to its key, "
                "or to any text where none is wanted"
            )

    def _copies(self, place: str, settings: Any) -> dict[str, LocalCopy]:
        """The local copies that `--data` means, by lmms-eval's task."""
        from tasks.vqa.local_data import find_copy

        del settings
        found = {}
        for task in self._suite.tasks:
            hub, _, subset = task.dataset.partition(":")
            names = (task.name, hub.rpartition("/")[2])
            found[task.name] = find_copy(Path(place).absolute(), names, subset, task.split)
        return found
