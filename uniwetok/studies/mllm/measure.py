"""Whether held-out questions are answered, captions drawn and pictures edited as asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import Tensor

from uniwetok.mllm import Assistant
from uniwetok.mllm.chat import Sampling
from uniwetok.mllm.drawing import Drawing
from uniwetok.randomness import generator, stream, stream_seed
from uniwetok.studies.mllm.records import RECOLOUR, REMOVE, other_colour
from uniwetok.studies.mllm.settings import MiniMLLMSettings
from uniwetok.studies.mllm.shapes import COLOURS, SHAPES, SIDE, EasyVqa, Question, Shape
from uniwetok.tokenizer import UniWeTok
from uniwetok.train.data.augment import to_model_range
from uniwetok.train.engine.logs import to_pixels

T = TypeVar("T")

EMPTY = "nothing"
"""Label of a picture without a shape."""
CAPTIONS = tuple(f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES)
_BATCH = 64
_Z = 1.96
_STEPS = 25
_DRAW_GUIDANCE = 3.0
_EDIT_GUIDANCE = 2.0
_ANSWER_TOKENS = 8


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of independent trials that came out right."""

    task: str
    name: str
    right: int
    trials: int
    chance: float
    """Share that is right without looking; see ``against``."""
    against: str
    """What ``chance`` is of."""
    lead: tuple[float, float] | None = None
    """Interval at 95 % of the share less ``chance``, where this was measured on the same trials."""

    @classmethod
    def of(
        cls, task: str, name: str, found: Iterable[str], wanted: Iterable[str], **more: Any
    ) -> Share:
        """Count the answers that are as wanted; the other fields are given as they are."""
        right = [a == b for a, b in zip(found, wanted, strict=True)]
        return cls(task=task, name=name, right=sum(right), trials=len(right), **more)

    @property
    def value(self) -> float:
        """The share, 0..1."""
        return self.right / self.trials

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval at 95 %."""
        found = binomtest(self.right, self.trials).proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)

    @property
    def above(self) -> bool:
        """Whether the whole interval lies above chance."""
        return self.interval[0] > self.chance if self.lead is None else self.lead[0] > 0


class Neighbours:
    """Names a picture by the nearest one, pixel by pixel, among held-out ones.

    These are real pictures, and as many of their backgrounds, as the image tokenizer shows them:
    what is named has passed through its decoder too, which softens edges.

    Attributes:
        shapes: the held-out pictures.
        rebuilt: as the tokenizer shows them, uint8 (SIDE, SIDE, 3) each.
    """

    def __init__(self, shapes: Sequence[Shape], tokenizer: UniWeTok) -> None:
        self.shapes = list(shapes)
        self.rebuilt = _rebuilt(tokenizer, [shape.pixels for shape in shapes])
        empty = _rebuilt(tokenizer, [shape.removed() for shape in shapes])
        self._known = _flat([*self.rebuilt, *empty])
        self._labels = [shape.caption for shape in shapes] + [EMPTY] * len(empty)

    def name(self, pictures: Sequence[NDArray[np.uint8]], *, own: bool = False) -> list[str]:
        """Name pictures; with ``own`` the i-th held-out one does not count for picture i."""
        distances = torch.cdist(_flat(pictures), self._known)
        if own:
            rows = torch.arange(len(pictures))
            distances[rows, rows] = torch.inf
        return [self._labels[place] for place in distances.argmin(1).tolist()]


def _flat(pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).float().flatten(1)


def _rebuilt(tokenizer: UniWeTok, pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Encode and decode pictures, each with noise of its own."""
    noise = stream(0, "neighbours")
    rebuilt: list[NDArray[np.uint8]] = []
    for batch in _batches(pictures):
        images = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)
        shown = to_pixels(tokenizer.reconstruct(to_model_range(images), generator=noise))
        rebuilt += list(shown.permute(0, 2, 3, 1).numpy())
    return rebuilt


def answers(
    assistant: Assistant, data: EasyVqa, settings: MiniMLLMSettings, seed: int
) -> list[Share]:
    """Ask one held-out question a picture, with the picture and without it."""
    rng = generator(seed, "questions")
    asked: dict[int, list[Question]] = {}
    for question in data.questions:
        if question.picture in data.pictures:
            asked.setdefault(question.picture, []).append(question)
    chosen = [_one_of(questions, rng) for _, questions in sorted(asked.items())]
    chosen = chosen[: settings.questions]
    seeing = _replies(assistant, data, chosen, seen=True)
    blind = _replies(assistant, data, chosen, seen=False)
    shares = []
    for group in ("colour", "shape", "yes/no", "all"):
        rows = [i for i, q in enumerate(chosen) if group in ("all", q.group)]
        if not rows:
            continue
        with_, without = (
            np.array([replies[row] == chosen[row].answer for row in rows], float)
            for replies in (seeing, blind)
        )
        shares.append(
            Share(
                task="answers",
                name=group,
                right=int(with_.sum()),
                trials=len(rows),
                chance=float(without.mean()),
                against="the same model without the picture",
                lead=_lead(with_ - without),
            )
        )
    return shares


def _lead(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Give the normal interval at 95 % of the mean of paired differences."""
    half = _Z * differences.std(ddof=1) / len(differences) ** 0.5 if len(differences) > 1 else 2.0
    return float(differences.mean() - half), float(differences.mean() + half)


def _one_of(questions: Sequence[Question], rng: np.random.Generator) -> Question:
    """Draw a question: half of the time one about colour or shape, where there is one."""
    telling = [question for question in questions if question.group != "yes/no"]
    others = [question for question in questions if question.group == "yes/no"]
    pool = telling if telling and (not others or rng.random() < 0.5) else others
    return pool[rng.integers(len(pool))]


def _replies(
    assistant: Assistant, data: EasyVqa, questions: Sequence[Question], *, seen: bool
) -> list[str]:
    said: list[str] = []
    for batch in _batches(questions):
        turns = [
            [assistant.question(q.text, [data.pictures[q.picture].pixels] if seen else [])]
            for q in batch
        ]
        sampling = Sampling(max_new_tokens=_ANSWER_TOKENS)
        said += [reply.text.strip() for reply in assistant.chat(turns, sampling=sampling)]
    return said


def drawings(
    assistant: Assistant, neighbours: Neighbours, settings: MiniMLLMSettings, seed: int
) -> tuple[list[Share], list[NDArray[np.uint8]]]:
    """Draw every caption equally often; return shares and one picture a caption."""
    prompts = [caption for caption in CAPTIONS for _ in range(settings.drawings)]
    seeds = [stream_seed(seed, "drawing", number) for number in range(len(prompts))]
    pictures: list[NDArray[np.uint8]] = []
    for batch in _batches(range(len(prompts))):
        pictures += assistant.generate(
            [prompts[row] for row in batch],
            [seeds[row] for row in batch],
            Drawing(height=SIDE, width=SIDE, cfg=_DRAW_GUIDANCE, steps=_STEPS),
        )
    names = neighbours.name(pictures)
    parts = ((0, "caption", CAPTIONS), (1, "colour", COLOURS), (2, "shape", SHAPES))
    shares = [
        Share.of(
            "drawings",
            part,
            (_part(name, at) for name in names),
            (_part(prompt, at) for prompt in prompts),
            chance=1 / len(classes),
            against="a picture that knows nothing of its caption",
        )
        for at, part, classes in parts
    ]
    return shares, pictures[:: settings.drawings]


def _part(name: str, at: int) -> str:
    """Give the whole of a caption, or its colour, or its shape."""
    return name.split()[at] if at and name != EMPTY else name


def edits(
    assistant: Assistant,
    data: EasyVqa,
    neighbours: Neighbours,
    settings: MiniMLLMSettings,
    seed: int,
) -> tuple[list[Share], list[tuple[NDArray[np.uint8], str, NDArray[np.uint8]]]]:
    """Recolour held-out pictures, and remove their shapes; return shares and some pictures."""
    rng = generator(seed, "edits")
    numbers = sorted(data.pictures)
    chosen = [data.pictures[numbers[row]] for row in rng.permutation(len(numbers))]
    chosen = chosen[: settings.edits]
    shares, shown = [], []
    for task in ("recolour", "remove"):
        colours = [other_colour(shape, rng) for shape in chosen]
        if task == "recolour":
            instructions = [RECOLOUR.format(colour=colour) for colour in colours]
            wanted = [f"a {c} {s.shape}" for c, s in zip(colours, chosen, strict=True)]
        else:
            instructions = [REMOVE.format(shape=shape.shape) for shape in chosen]
            wanted = [EMPTY] * len(chosen)
        pictures: list[NDArray[np.uint8]] = []
        for batch in _batches(range(len(chosen))):
            pictures += assistant.edit(
                [instructions[row] for row in batch],
                [[chosen[row].pixels] for row in batch],
                [stream_seed(seed, task, row) for row in batch],
                Drawing(cfg=_EDIT_GUIDANCE, steps=_STEPS),
            )
        shares.append(
            Share.of(
                "edits",
                task,
                neighbours.name(pictures),
                wanted,
                chance=1 / (len(CAPTIONS) + 1),
                against="one of the 24 captions or nothing, drawn blindly",
            )
        )
        sources = [shape.pixels for shape in chosen]
        shown += list(zip(sources, instructions, pictures, strict=True))[:8]
    return shares, shown


def ceiling(neighbours: Neighbours) -> Share:
    """Name held-out pictures as the tokenizer shows them: as well as drawings could be named."""
    names = neighbours.name(neighbours.rebuilt, own=True)
    wanted = [shape.caption for shape in neighbours.shapes]
    return Share.of(
        "real pictures",
        "caption",
        names,
        wanted,
        chance=1 / len(CAPTIONS),
        against="a picture that knows nothing of its caption",
    )


def _batches(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))
