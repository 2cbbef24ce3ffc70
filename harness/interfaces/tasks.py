"""Tasks as structural types: samples, stages and files of a benchmark, and what a run is asked."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from harness.interfaces.models import Code, ImageFiles
from harness.interfaces.observing import Columns, Extractor, ReferenceSet

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from harness.interfaces.elsewhere import ObservedRows, Processes
    from harness.interfaces.models import Model
    from harness.interfaces.types import (
        ModelCard,
        Protocol as EvalProtocol,
        Sample,
        TaskSpec,
    )


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """One model on one task, as asked for on the command line."""

    task: str
    model: str
    protocol: str | None = None
    model_precision: str | None = None
    """What the model computes in, where it is not what the protocol says."""
    data: str | None = None
    limit: int | None = None
    metrics: tuple[str, ...] | None = None
    seed: int = 0
    device: str = "auto"
    batch_size: int | Literal["auto"] | None = None
    """Samples a forward pass on a GPU; 'auto' finds how many fit, from the model's best on."""
    max_failures: int = 0
    small_sets: bool = False
    fresh: bool = False
    """Whether everything is computed again, whatever is stored."""
    out: Path = Path("runs")


OnProgress = Callable[[int, int], None]
"""Called with (done, total)."""


class Progress(Protocol):
    """Shows how far work has come, where somebody is looking."""

    def listing(self) -> AbstractContextManager[OnProgress]:
        """Progress of reading the data for its digests."""
        ...

    def bar(self, name: str) -> AbstractContextManager[OnProgress]:
        """Progress of one piece of work, told as (done, total)."""
        ...


@dataclass(frozen=True, slots=True)
class Picture:
    """One output kept for people."""

    sample: Sample
    path: Path
    """PNG of the rendered output."""
    values: Mapping[str, float]
    """The sample's scalar observations."""


class Task(Protocol):
    """A benchmark: which samples, what the model does with them, what is observed."""

    spec: TaskSpec

    def protocol(self, name: str) -> EvalProtocol:
        """The named protocol's settings for this task; raise `UserError` for an unknown name."""
        ...

    def open(self, data: str | None, protocol: EvalProtocol) -> TaskData:
        """Find the task's data at `data`; where None, at its usual place or what ships with it."""
        ...


class TaskData(Protocol):
    """A task bound to its data and protocol; the runner calls it block by block.

    `generate` and `render` get inputs of one batch key and at most `--batch-size` of them;
    `observe` gets all of a block that share a batch key. All are called by one thread at a time,
    unless the object has `concurrent = True`.

    Where all images are squares of one size, `side` tells it in pixels, so that a model that cannot
    do it is refused before it is loaded.
    """

    label: str
    """Name of the data for people, the record's `dataset`."""
    notice: str
    """What a user must know about this data before reading the numbers; may be empty."""

    def samples(self, limit: int | None, on_progress: OnProgress | None = None) -> list[Sample]:
        """All samples in the task's order, or a fixed choice of `limit` of them."""
        ...

    def load(self, sample: Sample) -> Any:
        """Decode one sample's input; raise `DecodeError`."""
        ...

    def batch_key(self, item: Any) -> Hashable:
        """Inputs with equal keys may share a batch: the size of an image, for example."""
        ...

    def generate(self, model: Any, inputs: Sequence[Any], seeds: Sequence[int]) -> list[Code]:
        """What the model makes of the inputs, as it is stored: codes, text, an encoded image."""
        ...

    def render(self, model: Any, codes: Sequence[Code], seeds: Sequence[int]) -> list[Any]:
        """Stored outputs as they are looked at: decoded images, texts."""
        ...

    def observe(
        self, extractors: Mapping[str, Extractor], inputs: Sequence[Any], rendered: Sequence[Any]
    ) -> dict[str, Columns]:
        """Observe rendered outputs beside their inputs: columns by extractor."""
        ...

    def picture(self, rendered: Any) -> np.ndarray | None:
        """A rendered output as uint8 RGB (H, W, 3), or None where it is no picture."""
        ...

    def illustrate(self, pictures: Sequence[Picture], target: Path) -> None:
        """Write the PNG that people look at first; `pictures` holds at least one."""
        ...


@runtime_checkable
class ComparesFiles(Protocol):
    """A task whose outputs may be images made elsewhere that have no layout of their own."""

    def open_files(self, data: str | None, protocol: EvalProtocol, images: ImageFiles) -> TaskData:
        """As `open`, with these images as outputs; raise `UserError` where they cannot be."""
        ...


@runtime_checkable
class LaidOut(Protocol):
    """Data whose images may be made elsewhere, in a layout of the benchmark's own."""

    def refuse_other_layout(self, images: ImageFiles) -> None:
        """Raise `UserError` where not one of these images lies in that layout."""
        ...


@runtime_checkable
class OfOneModel(Protocol):
    """Data that mean something to the model alone that made them."""

    def refuse_other_model(self, card: ModelCard) -> None:
        """Raise `UserError` where this is another model."""
        ...


@runtime_checkable
class GenerativeTaskData(TaskData, Protocol):
    """A task whose outputs are a set of images, to be compared with a reference set.

    The run keeps all of them, as `picture` gives them, in `samples.npz`.
    """

    reference_digest: str
    """SHA-256 of the reference's content; empty without a reference."""

    def reference(
        self, extractors: Mapping[str, Extractor], device: str, progress: Progress
    ) -> ReferenceSet:
        """What the reference offers to the metrics of these extractors' features."""
        ...


@runtime_checkable
class ClassConditional(Protocol):
    """A generative task's data whose samples are of classes, kept beside the images."""

    def class_of(self, sample: Sample) -> int:
        """The sample's class."""
        ...


@runtime_checkable
class PictureFiles(Protocol):
    """A task's data whose every output is kept as a PNG, in the layout of its benchmark."""

    def picture_path(self, sample: Sample) -> str:
        """The picture's path below `RUN/images/`, with slashes."""
        ...


@runtime_checkable
class Concluding(Protocol):
    """A task, or its data, that has files of its own to write once a result is there."""

    def conclude(self, root: Path, rows: pd.DataFrame) -> None:
        """Write galleries, grids, submissions into the run directory.

        Args:
            root: The run directory.
            rows: The rows of `samples.parquet`: id, status, error, numbers and texts observed.
        """
        ...


class Marked(NamedTuple):
    """What a judge said of something whose truth is known."""

    kind: str
    truth: bool
    probability: float
    """That it is true, in the judge's eyes; NaN where it did not say."""

    @property
    def agrees(self) -> bool:
        """Whether the judge is right."""
        return (self.probability >= 0.5) == self.truth


@runtime_checkable
class MarksJudge(Task, Protocol):
    """A task whose judge can be checked by marks that ship."""

    def marks(self, protocol: EvalProtocol, device: str) -> list[Marked]:
        """Ask the protocol's judge; raise `UserError` or `Unavailable` where it cannot be asked."""
        ...


@runtime_checkable
class Performed(Protocol):
    """A task that another program carries out, sample by sample, with the model given."""

    def perform(
        self,
        request: RunRequest,
        protocol: EvalProtocol,
        model: Model,
        device: str,
        root: Path,
        progress: Progress,
        world: Processes,
    ) -> ObservedRows | None:
        """Do or resume the work in the run directory; raise `UserError` where it cannot.

        Every process calls this, with a device of its own; the main one holds the directory and is
        given the rows of all, the others None. Of a shard they are of all samples too, those of
        other shards `missing`, with nothing observed; `replies` hold what `merge` is given.
        """
        ...

    def kept(self, root: Path) -> int:
        """How many of the model's outputs a run directory holds already, finished or not."""
        ...

    def merge(
        self,
        samples: Sequence[Sample],
        replies: Sequence[bytes],
        shards: Sequence[Path],
        root: Path,
        data: str | None,
        progress: Progress,
    ) -> ObservedRows:
        """Observe what the shards of a run have, all together, without the model.

        Args:
            samples: Of the run, as the shards' rows have them.
            replies: One a sample, as well.
            shards: Their run directories.
            root: The run directory of the whole.
            data: Where the data lie; where they lay for the shard if None.
            progress: Told how far it is.

        Raises:
            UserError: The data, or the program, are not at hand, or not those of the shards.
        """
        ...
