"""Our way through lmms-eval beside its own loop, both with a model that says 'yes' at once.

Processor time of one suite on one thread: questions of POPE's form about JPEG files of 640x480.
Needs lmms-eval: `pip install "uwt-eval[vqa]"`, then `python -m benchmarks vqa`.
"""

from __future__ import annotations

import io
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

QUESTIONS = 600
REPEATS = 5
SIZE = (480, 640, 3)


def main() -> None:
    """Print seconds of processor time, and their ratio."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy = write_copy(folder / "copy")
        theirs, ours, pictures = _measure(folder, copy)
    print(f"{QUESTIONS} questions, median of {REPEATS}, seconds of processor time")
    print(f"| lmms-eval's own loop | {theirs:.2f} |")
    print(f"| ours, with journal and rows | {ours:.2f} | {ours / theirs - 1:+.0%} |")
    print(f"| pictures of the page, once a suite | {pictures:.2f} |")


ASKED = "Is there a thing numbered {}?"


def picture_of(number: int) -> np.ndarray:
    """The picture of a question, uint8 (H, W, 3)."""
    smooth = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    return np.roll(np.asarray(Image.fromarray(smooth).resize(SIZE[1::-1])), number, axis=1)


def write_copy(folder: Path, count: int = QUESTIONS) -> Path:
    """Write so many questions of POPE's form, as the copy that users may have."""
    from datasets import Dataset, DatasetDict, Features, Image as Pictures, Value

    rows = []
    for number in range(count):
        buffer = io.BytesIO()
        Image.fromarray(picture_of(number)).save(buffer, "JPEG", quality=90)
        rows.append(
            {
                "image": {"bytes": buffer.getvalue(), "path": None},
                "question": ASKED.format(number),
                "question_id": str(number),
                "answer": "yes" if number % 2 else "no",
                "category": "random",
            }
        )
    texts = {name: Value("string") for name in ("question", "question_id", "answer", "category")}
    dataset = Dataset.from_list(rows, features=Features({"image": Pictures(), **texts}))
    DatasetDict({"test": dataset}).save_to_disk(str(folder))
    return folder


def _measure(folder: Path, copy: Path) -> tuple[float, float, float]:
    import tasks.vqa.evaluation as evaluation

    kept = evaluation.keep_pictures
    spent: list[float] = []
    evaluation.keep_pictures = lambda *given: spent.append(_seconds(lambda: kept(*given)))
    theirs, ours = [], []
    for run in range(REPEATS + 1):
        theirs.append(_seconds(lambda: _own_loop(copy)))
        root = folder / str(run)
        ours.append(_seconds(lambda root=root: _our_way(copy, root)))
    without = [total - part for total, part in zip(ours, spent, strict=True)]
    return median(theirs[1:]), median(without[1:]), median(spent[1:])


def _seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _own_loop(copy: Path) -> None:
    import lmms_eval
    from lmms_eval.api.model import lmms
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    class Yes(lmms):  # type: ignore[misc]
        is_simple = True

        def generate_until(self, requests: list[Any]) -> list[str]:
            for request in requests:
                _, _, to_visual, place, task, split = request.args
                for picture in to_visual(self.task_dict[task][split][place]):
                    np.asarray(picture)
            return ["yes"] * len(requests)

        def loglikelihood(self, requests: list[Any]) -> Any:
            raise NotImplementedError

        def generate_until_multi_round(self, requests: list[Any]) -> Any:
            raise NotImplementedError

    stock = Path(lmms_eval.__file__).parent / "tasks" / "pope"
    local = {"dataset_path": str(copy), "dataset_name": None}
    simple_evaluate(
        model=Yes(),
        tasks=[{"task": "pope", **local, "dataset_kwargs": {"load_from_disk": True}}],
        task_manager=TaskManager("WARNING", include_path=str(stock), include_defaults=False),
        device="cpu",
        log_samples=True,
        process_docs_parallel=1,
        bootstrap_iters=0,
        cli_args=types.SimpleNamespace(output_path=str(copy.parent), process_with_media=False),
    )


def _our_way(copy: Path, root: Path) -> None:
    from harness.interfaces.registry import MODELS
    from harness.interfaces.types import ModelCard
    from tasks.vqa.evaluation import evaluate
    from tasks.vqa.job import Job
    from tasks.vqa.local_data import find_copy
    from tasks.vqa.protocol import VqaSettings
    from tasks.vqa.task import POPE

    class Yes:
        card = ModelCard(name="yes")

        def load(self, device: str) -> None:
            pass

        def reply(
            self, questions: list[Any], *, max_new_tokens: int, stop: tuple[str, ...] = ()
        ) -> list[str]:
            del max_new_tokens, stop
            return ["yes"] * len(questions)

    MODELS.register("yes")(Yes)
    job = Job(
        suite="pope",
        settings=VqaSettings.of(POPE.protocol("lmms").settings),
        model="yes",
        model_digest=Yes.card.digest,
        plugins=(),
        device="cpu",
        batch_size=1,
        limit=None,
        copies={"pope": find_copy(copy, ("pope",), "", "test")},
        root=str(root),
    )
    job.journal.parent.mkdir(parents=True)
    evaluate(job, lambda *_, **__: None)
