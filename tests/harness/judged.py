"""A task of drawn colours that a judge names: texts, failures of its own, files at the end."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from harness.engine.progress import Progress
from harness.interfaces import (
    Code,
    Extractor,
    Model,
    ObservedRows,
    OnProgress,
    Picture,
    Processes,
    RunRequest,
    offers,
)
from harness.interfaces.errors import SampleFailure, UserError
from harness.interfaces.types import ModelCard, Protocol, Sample, Status, TaskSpec, digest_of
from harness.metrics.scores import SampleMean

COLOURS = ("red", "green", "blue", "white", "black")
SIDE = 8

SPEC = TaskSpec(
    name="colours",
    version=1,
    title="Drawing colours",
    kind="colours",
    interface=("TextToImage", "ImageFiles"),
    dataset="five colours",
    layout="none, the task makes its own",
    metrics=("right",),
    protocols=("plain",),
)


def samples_of(names: Sequence[str]) -> list[Sample]:
    return [Sample(id=name, index=i, sha256=digest_of(name)) for i, name in enumerate(names)]


@dataclass
class Judge:
    """Says which colour it sees; refuses to say of some."""

    refuses: set[str] = field(default_factory=set)
    asked: int = 0
    identity: Mapping[str, Any] = field(default_factory=lambda: {"version": 1})

    def observe(self, pairs: Sequence[tuple[str, Tensor]]) -> dict[str, np.ndarray]:
        self.asked += len(pairs)
        words = [self._word(image) for _, image in pairs]
        names = [name for name, _ in pairs]
        refused = [name in self.refuses for name in names]
        return {
            "right": np.array([w == n for w, n in zip(words, names, strict=True)], float),
            "words": np.array([f"I see {word}" for word in words], object),
            "status": np.array(["judge_error" if r else "ok" for r in refused], object),
            "error": np.array(["refused\nat length" if r else "" for r in refused], object),
        }

    @staticmethod
    def _word(image: Tensor) -> str:
        levels = (image.mean((1, 2)) > 0).tolist()
        known = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
        return known.get(tuple(int(level) for level in levels), "black")


class Painter:
    """Draws the colours that it knows; a missing one is no error of the model's."""

    card = ModelCard(name="painter")

    def __init__(self, missing: set[str]) -> None:
        self._missing = missing

    def load(self, device: str) -> None:
        pass

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Code]:
        for prompt in prompts:
            if prompt in self._missing:
                raise SampleFailure(Status.MISSING, f"no paint of {prompt}")
        return [Code(prompt.encode(), SIDE, SIDE) for prompt in prompts]

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        known = {"red": (1, -1, -1), "green": (-1, 1, -1), "blue": (-1, -1, 1), "white": (1, 1, 1)}
        levels = [known.get(code.payload.decode(), (-1, -1, -1)) for code in codes]
        return torch.tensor(levels).float()[:, :, None, None].expand(-1, -1, SIDE, SIDE)


class Colours:
    """The task, its data and its observations from elsewhere."""

    spec = SPEC
    label = "colours"
    notice = "a toy"

    def protocol(self, name: str) -> Protocol:
        return Protocol(name=name, title="By name", settings={"match": "exact"})

    def open(self, data: str | None, protocol: Protocol) -> Colours:
        return self

    def samples(self, limit: int | None, on_progress: OnProgress | None = None) -> list[Sample]:
        return samples_of(COLOURS[:limit])

    def load(self, sample: Sample) -> str:
        return sample.id

    def batch_key(self, item: str) -> Hashable:
        return "all"

    def generate(self, model: Any, inputs: Sequence[str], seeds: Sequence[int]) -> list[Code]:
        if offers(model, "ImageFiles"):
            return model.read([f"{name}/0.png" for name in inputs])  # type: ignore[no-any-return]
        return model.generate(inputs, seeds)  # type: ignore[no-any-return]

    def render(self, model: Any, codes: Sequence[Code], seeds: Sequence[int]) -> list[Tensor]:
        return list(model.decode(codes, seeds))

    def observe(
        self, extractors: Mapping[str, Extractor], inputs: Sequence[str], rendered: Sequence[Tensor]
    ) -> dict[str, Any]:
        pairs = list(zip(inputs, rendered, strict=True))
        return {name: extractor.observe(pairs) for name, extractor in extractors.items()}

    def picture(self, rendered: Tensor) -> np.ndarray:
        levels = ((rendered + 1) * 127.5).round().byte().permute(1, 2, 0)
        return np.ascontiguousarray(levels.numpy())

    def illustrate(self, pictures: Sequence[Picture], target: Path) -> None:
        target.write_bytes(pictures[0].path.read_bytes())

    def picture_path(self, sample: Sample) -> str:
        return f"{sample.id}/0.png"

    def conclude(self, root: Path, rows: pd.DataFrame) -> None:
        lines = [f"{row.id}: {row.status}: {row.words}" for row in rows.itertuples()]
        (root / "words.txt").write_text("\n".join(lines), "utf-8")

    def read_observations(
        self, path: Path, protocol: Protocol, questions: Path | None
    ) -> ObservedRows:
        rows = []
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number}: not JSON ({error.msg})") from error
        words = [row.get("word") for row in rows]
        return ObservedRows(
            samples=samples_of([row["name"] for row in rows]),
            statuses=[Status.PARSE_ERROR if word is None else Status.OK for word in words],
            errors=["no word" if word is None else "" for word in words],
            columns={
                "judge": {
                    "right": np.array([row["name"] == row.get("word") for row in rows], float),
                    "words": np.array([str(word) for word in words], object),
                }
            },
            identities={"judge": {"file": path.name}},
            label="words from elsewhere",
            notice="judged elsewhere",
            replies=[str(word).encode() for word in words],
        )


class PerformedColours:
    """The same task, done by a program of its own."""

    spec = SPEC.model_copy(update={"name": "performed-colours"})

    def __init__(self, performed: list[str]) -> None:
        self._performed = performed

    def protocol(self, name: str) -> Protocol:
        return Colours().protocol(name)

    def perform(
        self,
        request: RunRequest,
        protocol: Protocol,
        model: Model,
        device: str,
        root: Path,
        progress: Progress,
        world: Processes,
    ) -> ObservedRows:
        self._performed.append(device)
        names = COLOURS[: request.limit]
        return ObservedRows(
            samples=samples_of(names),
            statuses=[Status.OK] * len(names),
            errors=[""] * len(names),
            columns={"judge": {"right": np.ones(len(names))}},
            identities={"judge": {"version": 2}},
            label="performed",
        )

    def kept(self, root: Path) -> int:
        return 0

    def merge(
        self,
        samples: Sequence[Sample],
        replies: Sequence[bytes],
        shards: Sequence[Path],
        root: Path,
        data: str | None,
        progress: Progress,
    ) -> ObservedRows:
        raise NotImplementedError


RIGHT = SampleMean("right", "judge", higher_is_better=True)
