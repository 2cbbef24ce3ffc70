"""What benchmarks of text-to-image models share: prompts that are drawn several times each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from harness.data.images import decoded, to_uint8
from harness.interfaces import Code, Columns, Extractor, ImageFiles, OnProgress, Picture, offers
from harness.interfaces.errors import SampleFailure, UserError
from harness.interfaces.types import Sample, Status, digest_of
from tasks.gallery import Shot, Verdict, card_of, write_gallery
from tasks.shared.pictures import labelled_grid

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Drawing(Generic[T]):
    """One picture that is asked for."""

    name: str
    """The prompt's id in the benchmark."""
    prompt: str
    number: int
    """Which of its prompt's pictures, from 0."""
    about: T
    """The prompt's entry in the benchmark."""


@dataclass(frozen=True, slots=True)
class DrawnImages(Generic[T]):
    """Pictures and what was asked for."""

    images: Sequence[np.ndarray]
    """uint8 RGB (H, W, 3) each, of any sizes."""
    drawings: Sequence[Drawing[T]]


@dataclass(frozen=True, slots=True)
class Prompt(Generic[T]):
    """A prompt as a benchmark numbers or names it."""

    id: str
    text: str
    about: T
    digest: str
    """SHA-256 of everything that is known of the prompt."""


class PictureData:
    """Stages of tasks whose outputs are pictures of any sizes."""

    concurrent = True

    def layout(self) -> list[str]:
        """Where pictures that were made elsewhere may lie, the first one's usual place first."""
        raise NotImplementedError

    def refuse_other_layout(self, images: ImageFiles) -> None:
        """Raise `UserError` where not one image lies in the benchmark's layout."""
        places, there = self.layout(), images.names()
        if set(places).isdisjoint(there):
            raise UserError(
                f"--images: none of {len(there)} images, the first of them {there[0]!r}, lies in "
                f"the benchmark's layout, whose first picture is {places[0]!r}: give a folder in "
                f"that layout, for images of an .npz file have no names"
            )

    def batch_key(self, item: Any) -> Hashable:
        """Any inputs may share a batch."""
        del item
        return "all"

    def render(self, model: Any, codes: Sequence[Code], seeds: Sequence[int]) -> list[np.ndarray]:
        """Decode to uint8 (H, W, 3), rounded to the nearest level; images of one size at a time."""
        sizes: dict[tuple[int, int], list[int]] = defaultdict(list)
        for place, code in enumerate(codes):
            sizes[code.height, code.width].append(place)
        images: dict[int, np.ndarray] = {}
        for places in sizes.values():
            drawn = model.decode([codes[i] for i in places], [seeds[i] for i in places])
            images |= zip(places, to_uint8(decoded(drawn)), strict=True)
        return [images[place] for place in range(len(codes))]

    def picture(self, rendered: np.ndarray) -> np.ndarray:
        """The picture itself."""
        return rendered


class TextToImageData(PictureData, Generic[T]):
    """Prompts of which a model draws several pictures each.

    Args:
        prompts: In the benchmark's order.
        each: Pictures of a prompt; a sample is one of them, called 'PROMPT/0000'.
        label: Name of the data for people.
        notice: What a user must know.
        title: Heading of the gallery.
    """

    def __init__(
        self, prompts: Sequence[Prompt[T]], each: int, label: str, notice: str, title: str
    ) -> None:
        self.label = label
        self.notice = notice
        self.title = title
        self._prompts = {prompt.id: prompt for prompt in prompts}
        self._each = each

    def samples(self, limit: int | None, on_progress: OnProgress | None = None) -> list[Sample]:
        """All pictures, or `limit` of them: all of each of some evenly spaced prompts."""
        del on_progress
        prompts = list(self._prompts.values())
        total = len(prompts) * self._each
        wanted = min(limit or total, total)
        few = -(-wanted // self._each)
        chosen = np.linspace(0, len(prompts) - 1, few).round().astype(int)
        places = [(prompts[int(i)], number) for i in chosen for number in range(self._each)]
        return samples_of(places[:wanted])

    def load(self, sample: Sample) -> Drawing[T]:
        """What is to be drawn."""
        prompt, _, number = sample.id.rpartition("/")
        entry = self._prompts[prompt]
        return Drawing(prompt, entry.text, int(number), entry.about)

    def generate(
        self, model: Any, inputs: Sequence[Drawing[T]], seeds: Sequence[int]
    ) -> list[Code]:
        """Draw a picture of each prompt, or find it where pictures were made elsewhere."""
        if offers(model, "ImageFiles"):
            return [self.find(model, drawing) for drawing in inputs]
        codes: list[Code] = model.generate([drawing.prompt for drawing in inputs], seeds)
        return codes

    def find(self, model: ImageFiles, drawing: Drawing[T]) -> Code:
        """The picture in the benchmark's layout; raise `SampleFailure` where there is none."""
        return model.read(self.file_names(drawing.name, drawing.number))[0]

    def file_names(self, prompt: str, number: int) -> list[str]:
        """Where a picture that was made elsewhere may lie, the usual place first."""
        return [f"{prompt}/{number:04d}.png"]

    def layout(self) -> list[str]:
        """Where pictures that were made elsewhere may lie."""
        return [
            name
            for prompt in self._prompts
            for number in range(self._each)
            for name in self.file_names(prompt, number)
        ]

    def observe(
        self,
        extractors: Mapping[str, Extractor],
        inputs: Sequence[Drawing[T]],
        rendered: Sequence[np.ndarray],
    ) -> dict[str, Columns]:
        """Observe the pictures beside what was asked for."""
        drawn = DrawnImages(rendered, inputs)
        return {name: extractor.observe(drawn) for name, extractor in extractors.items()}

    def picture_path(self, sample: Sample) -> str:
        """`PROMPT/0000.png` below the run's images."""
        return f"{sample.id}.png"

    def illustrate(self, pictures: Sequence[Picture], target: Path) -> None:
        """Write pictures above their prompts."""
        cells = [(picture.path, self.load(picture.sample).prompt) for picture in pictures]
        labelled_grid(cells).save(target)

    def conclude(self, root: Path, rows: pd.DataFrame) -> None:
        """Write a gallery of all pictures with the numbers that were observed of them."""
        write_prompt_gallery(
            root, self.title, rows, self.texts, lambda name: f"{name}.png", figures
        )

    @property
    def texts(self) -> dict[str, str]:
        """The prompts by id."""
        return {name: prompt.text for name, prompt in self._prompts.items()}


def samples_of(places: Iterable[tuple[Prompt[Any], int]]) -> list[Sample]:
    """Pictures as samples: each a prompt, and which of its pictures it is."""
    return [
        Sample(
            id=f"{prompt.id}/{number:04d}", index=index, sha256=digest_of([prompt.digest, number])
        )
        for index, (prompt, number) in enumerate(places)
    ]


def write_prompt_gallery(
    root: Path,
    title: str,
    rows: pd.DataFrame,
    prompts: Mapping[str, str],
    path_of: Callable[[str], str],
    judge: Callable[[Mapping[str, Any]], Verdict | None],
) -> None:
    """Write the gallery of pictures of prompts.

    Args:
        root: The run directory.
        title: Heading of the page.
        rows: Rows of `samples.parquet`.
        prompts: Texts by id.
        path_of: A picture's place below `images` by its sample's id.
        judge: Reads a verdict from a row; None where the picture was not judged.
    """
    records: Any = rows.to_dict("records")
    cards = [
        card_of(
            row,
            prompts[row["id"].rpartition("/")[0]],
            [Shot(root / "images" / path_of(row["id"]))],
            judge,
        )
        for row in records
    ]
    write_gallery(root, title, cards)


def figures(row: Mapping[str, Any]) -> Verdict | None:
    """The numbers that were observed of a picture; they are neither right nor wrong."""
    numbers = {
        name: value
        for name, value in row.items()
        if isinstance(value, float) and value == value and name not in ("height", "width")
    }
    text = "   ".join(f"{name} {value:.4g}" for name, value in numbers.items())
    return Verdict(text, None) if text else None


def read_any(model: ImageFiles, names: Sequence[str]) -> Code:
    """The first of several names that there is; the error is about the first name."""
    missing: SampleFailure | None = None
    for name in names:
        try:
            return model.read([name])[0]
        except SampleFailure as failure:
            if failure.status is not Status.MISSING:
                raise
            missing = missing or failure
    assert missing is not None
    raise missing


def text_column(texts: Sequence[str]) -> np.ndarray:
    """Texts as an observed column, an object array (B,)."""
    column = np.empty(len(texts), object)
    column[:] = texts
    return column
