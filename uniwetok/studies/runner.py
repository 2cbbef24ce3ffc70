"""Every arm with every seed, in processes, each finished one kept in a file."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uniwetok.files import write_json
from uniwetok.losses.config import MissingWeights
from uniwetok.losses.teachers import EfficientNetLiteTeacher
from uniwetok.randomness import stream
from uniwetok.studies.measure import Side, measure
from uniwetok.studies.photos import Crops
from uniwetok.studies.settings import Arm, MiniSettings
from uniwetok.train import TrainingError
from uniwetok.train.data.augment import to_model_range
from uniwetok.train.data.reading import OnBlock
from uniwetok.train.data.stream import Batch
from uniwetok.train.engine.overrides import to_dict
from uniwetok.train.tokenizer.trainer import TokenizerTrainer

_TEACHER_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Job:
    """One arm with one seed."""

    arm: Arm
    seed: int
    settings: MiniSettings

    def identity(self, crops: str) -> dict[str, Any]:
        """Return everything that decides the result; ``crops`` is their digest."""
        return {
            "arm": self.arm.name,
            "seed": self.seed,
            "settings": asdict(self.settings),
            "training": to_dict(self.arm.config(self.settings, self.seed)),
            "crops": crops,
        }


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a job gave."""

    arm: str
    seed: int
    metrics: dict[str, float]
    """Values by the names of `METRICS`."""
    cpu_seconds: float
    """CPU time of the job's process, over all its threads."""
    wall_seconds: float


class StoredTeacher:
    """Looks up the embedding of each image by the image's content.

    The teacher is by far the dearest part of a step: it sees each crop once, for all arms.
    """

    def __init__(self, images: Tensor, embeddings: Tensor) -> None:
        """Take what the teacher said.

        Args:
            images: (count, 3, H, W), exactly as they will be asked for.
            embeddings: (count, width) float32 of Euclidean length 1.
        """
        self.width = embeddings.shape[1]
        self._embeddings = embeddings
        self._rows = {_key(image): row for row, image in enumerate(images)}

    def embed(self, images: Tensor) -> Tensor:
        """Embed images; see `Teacher.embed`.

        Raises:
            KeyError: an image is none of the stored ones.
        """
        return self._embeddings[torch.tensor([self._rows[_key(image)] for image in images])]


def _key(image: Tensor) -> bytes:
    return image.numpy().tobytes()


def run_job(job: Job, images: Tensor, embeddings: Tensor, crops: Crops) -> Measured:
    """Train one arm and measure it.

    Args:
        job: what to train.
        images: float32 (crops, 3, H, W) in [-1, 1].
        embeddings: float32 (crops, width), the teacher's.
        crops: which photo each image was cut from.

    Raises:
        TrainingError: the training diverged.
    """
    cpu, wall = time.process_time(), time.perf_counter()
    known, kept = crops.split(job.settings.heldout, job.seed)
    train, held = Side(images[known], embeddings[known]), Side(images[kept], embeddings[kept])
    config = job.arm.config(job.settings, job.seed)
    trainer = TokenizerTrainer(
        config, device="cpu", teacher=StoredTeacher(train.images, train.embeddings)
    )
    try:
        for number, rows in enumerate(batches(len(known), config.batch_size, job.seed)):
            if number == config.steps:
                break
            trainer.step(as_batch(train.images[rows]), number)
        trainer.check()
    except TrainingError as error:
        raise TrainingError(f"{job.arm.name}, seed {job.seed}: {error}") from error
    metrics = measure(
        trainer.averaged_tokenizer(),
        trainer.averaged_heads(),
        train,
        held,
        prior_steps=job.settings.prior_steps if job.arm.generates else 0,
        seed=job.seed,
    )
    return Measured(
        arm=job.arm.name,
        seed=job.seed,
        metrics=metrics,
        cpu_seconds=time.process_time() - cpu,
        wall_seconds=time.perf_counter() - wall,
    )


def batches(count: int, size: int, seed: int) -> Iterator[Tensor]:
    """Yield rows of endless epochs, the same for all arms; an epoch's incomplete batch is left out.

    Fewer rows than a batch make one smaller batch.
    """
    draws = stream(seed, "mini batches")
    while True:
        order = torch.randperm(count, generator=draws)
        for start in range(0, max(count - size, 0) + 1, size):
            yield order[start : start + size]


def as_batch(images: Tensor) -> Batch:
    """Wrap images, float32 (count, 3, H, W) in [-1, 1], as the trainer takes them."""
    return Batch(images, ids=[], labels=None, unreadable=0)


def embed(images: Tensor, on_progress: OnBlock = lambda *_: None) -> Tensor:
    """Let the small teacher embed images, float32 (count, 3, H, W) in [-1, 1].

    Raises:
        TrainingError: the teacher's package is not installed.
    """
    try:
        teacher = EfficientNetLiteTeacher()
    except MissingWeights as error:
        raise TrainingError(str(error)) from error
    embedded: list[Tensor] = []
    for start in range(0, len(images), _TEACHER_BATCH):
        on_progress(start, len(images))
        embedded.append(teacher.embed(images[start : start + _TEACHER_BATCH]))
    return torch.cat(embedded)


def finished(jobs: Sequence[Job], crops: Crops, out: Path) -> dict[tuple[str, int], Measured]:
    """Read the results that are there, by arm and seed.

    Raises:
        TrainingError: a file is damaged, or holds the result of other settings or photos.
    """
    digest = crops.digest()
    found = {}
    for job in jobs:
        path = result_file(job, out)
        if not path.exists():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            identity, measured = content["identity"], Measured(**content["measured"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{path} is damaged ({error}): delete it, and it is made again"
            ) from error
        if identity != json.loads(json.dumps(job.identity(digest))):
            raise TrainingError(
                f"{path} is the result of other settings or photos: give another --out, or delete "
                f"{out}"
            )
        found[job.arm.name, job.seed] = measured
    return found


def result_file(job: Job, out: Path) -> Path:
    """Where a job's result is kept."""
    return out / f"{job.arm.name}-seed{job.seed}.json"


def run_jobs(
    jobs: Sequence[Job],
    crops: Crops,
    embeddings: Tensor,
    out: Path,
    *,
    workers: int,
    on_done: Callable[[Measured], None] = lambda _: None,
) -> list[Measured]:
    """Run jobs and write each one's file as it ends.

    Args:
        jobs: what to do.
        crops: of all photos.
        embeddings: float32 (crops, width), the teacher's.
        out: folder of the results.
        workers: processes of one thread each; 1 works in this process. Changes no result.
        on_done: called with each result.

    Raises:
        TrainingError: a training diverged, or a process died.
    """
    executor: ProcessPoolExecutor | None = None
    threads = torch.get_num_threads()
    results: list[Measured] = []
    try:
        if workers == 1 or len(jobs) < 2:
            _start(crops, embeddings, out)
            done: Iterator[Measured] = map(_work, jobs)
        else:
            executor = ProcessPoolExecutor(
                workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_process,
                initargs=(crops, embeddings, out),
            )
            submitted = [executor.submit(_work, job) for job in jobs]
            done = (future.result() for future in as_completed(submitted))
        for measured in done:
            results.append(measured)
            on_done(measured)
        return results
    except BrokenProcessPool as error:
        raise TrainingError(
            f"a process died (out of memory?); the same command goes on after the last of "
            f"{len(results)} results, with --workers 1 in less memory"
        ) from error
    finally:
        torch.set_num_threads(threads)
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)


_shared: dict[str, Any] = {}
"""What every job of a process works on: set once, for it is too large to come with each."""


def _start(crops: Crops, embeddings: Tensor, out: Path) -> None:
    torch.set_num_threads(1)  # Sums, and so results, are the same with any number of processes.
    _shared.update(images=to_model_range(crops.pixels), embeddings=embeddings, crops=crops, out=out)


def _start_process(crops: Crops, embeddings: Tensor, out: Path) -> None:
    # Dies at once and silently when the terminal interrupts the whole group.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    _start(crops, embeddings, out)


def _end_with_parent() -> None:
    """End this process once the one that gives it work was killed: it would go on for a minute."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(job: Job) -> Measured:
    crops: Crops = _shared["crops"]
    measured = run_job(job, _shared["images"], _shared["embeddings"], crops)
    content = {"identity": job.identity(crops.digest()), "measured": asdict(measured)}
    write_json(result_file(job, _shared["out"]), content)
    return measured
