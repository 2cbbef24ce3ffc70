"""The proof from its data to its figures; a killed one goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from uniwetok.files import write_json
from uniwetok.mllm import Assistant
from uniwetok.studies.mllm import measure
from uniwetok.studies.mllm.records import write_language_model, write_records
from uniwetok.studies.mllm.report import MiniMLLMResult, write_pictures
from uniwetok.studies.mllm.settings import MiniMLLMSettings
from uniwetok.studies.mllm.shapes import EasyVqa
from uniwetok.train import TrainingError
from uniwetok.train.data.opening import open_images
from uniwetok.train.engine.loop import Hooks
from uniwetok.train.mllm.data.opening import open_records
from uniwetok.train.mllm.run import train_mllm
from uniwetok.train.tokenizer.run import train

OnStep = Callable[[str, int, int], None]
"""Takes what is being done, the steps done and their number."""
_ORIGIN_FILE, _TIMES_FILE, _RESULT_FILE = "proof.json", "times.json", "result.json"


def prove(
    settings: MiniMLLMSettings,
    out: Path,
    *,
    seed: int = 0,
    on_step: OnStep = lambda *_: None,
) -> MiniMLLMResult:
    """Train tokenizer and model on easy-VQA's training pictures, and measure on its test pictures.

    Args:
        settings: how much.
        out: folder of everything: data, models, pictures and ``result.json``.
        seed: of weights, order, drawing and what is asked.
        on_step: called along the way.

    Raises:
        TrainingError: the package easy-vqa is missing, or ``out`` holds another proof.
    """
    _check_same(out, {"settings": asdict(settings), "seed": seed})
    clock = _Clock(out / _TIMES_FILE)
    with clock.measure("data"):
        records = out / "data" / "train.jsonl"
        if not records.is_file():
            write_records(EasyVqa("train"), records.parent, seed)
        language_model = out / "language-model"
        if not (language_model / "config.json").is_file():
            write_language_model(records, language_model, seed)
    tokenizer = out / "tokenizer" / "model"
    with clock.measure("tokenizer"):
        train(
            settings.tokenizer(seed),
            open_images(records.parent / "images"),
            out / "tokenizer",
            device="cpu",
            hooks=_hooks("tokenizer", settings.tokenizer_steps, on_step),
        )
    with clock.measure("model"):
        finished = train_mllm(
            settings.mllm(language_model, seed),
            open_records(records),
            tokenizer,
            out / "codes",
            out / "mllm",
            device="cpu",
            hooks=_hooks("model", settings.steps, on_step),
            on_block=lambda done, count: on_step("codes", done, count),
        )
    with clock.measure("measurement"):
        shares = _measure(Assistant.from_pretrained(finished.model), settings, out, seed, on_step)
    result = MiniMLLMResult(settings, seed, shares, clock.seconds)
    write_json(out / _RESULT_FILE, result.to_dict())
    return result


def _measure(
    assistant: Assistant, settings: MiniMLLMSettings, out: Path, seed: int, on_step: OnStep
) -> tuple[measure.Share, ...]:
    data = EasyVqa("test")
    shapes = [data.pictures[number] for number in sorted(data.pictures)]
    on_step("measurement", 0, 4)
    neighbours = measure.Neighbours(shapes, assistant.images)
    best = measure.ceiling(neighbours)
    on_step("measurement", 1, 4)
    answered = measure.answers(assistant, data, settings, seed)
    on_step("measurement", 2, 4)
    drawn, captions = measure.drawings(assistant, neighbours, settings, seed)
    on_step("measurement", 3, 4)
    edited, edits = measure.edits(assistant, data, neighbours, settings, seed)
    on_step("measurement", 4, 4)
    write_pictures(out / "pictures", captions, edits, neighbours)
    return (*answered, *drawn, *edited, best)


def _hooks(name: str, steps: int, on_step: OnStep) -> Hooks:
    return Hooks(on_step=lambda done, _: on_step(name, done, steps))


def _check_same(out: Path, asked: dict[str, object]) -> None:
    """Refuse to resume what other settings began."""
    path = out / _ORIGIN_FILE
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != asked:
        raise TrainingError(f"{out} holds a proof with other settings; give another --out")
    write_json(path, asked)


class _Clock:
    """CPU time of each stage, over all commands that worked on it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds: dict[str, float] = {}
        if path.is_file():
            self.seconds = json.loads(path.read_text(encoding="utf-8"))

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        before, start = self.seconds.get(stage, 0.0), time.process_time()
        try:
            yield
        finally:
            self.seconds[stage] = before + time.process_time() - start
            write_json(self._path, self.seconds)
