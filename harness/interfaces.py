"""What models, tasks, extractors and metrics offer the engine: types by structure, no base class.

Tensors are torch tensors; torch is imported for type checking only.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from rich.console import Console
    from torch import Tensor

    from harness.progress import Progress
    from harness.set_metrics.reference import ReferenceFeatures
    from harness.types import Codebook, MetricValue, ModelCard, ResultRecord, Sample, TaskSpec
    from harness.types import Protocol as EvalProtocol


@dataclass(frozen=True, slots=True)
class Code:
    """One encoded image: what would be stored or sent, and the size it decodes to.

    An output that decodes to no image, as text or an embedding, has height and width 0.
    """

    payload: bytes
    height: int
    width: int

    @property
    def bits(self) -> int:
        """Rate in bits: every byte of the payload counts, headers included."""
        return 8 * len(self.payload)


class Model(Protocol):
    """Any model plug-in. Constructing one is cheap; `load` brings the weights in."""

    @property
    def card(self) -> ModelCard:
        """Identity, known before `load`, so that finished work is found without loading."""
        ...

    def load(self, device: str) -> None:
        """Make the model ready on `device` ('cpu', 'cuda', 'cuda:1' …)."""
        ...


class VisualTokenizer(Model, Protocol):
    """Compresses images to codes and back. Codecs are tokenizers too.

    On a CPU `encode` and `decode` are called from several threads at a time.
    """

    def encode(self, images: Tensor) -> list[Code]:
        """Encode float32 images (B, 3, H, W) in [-1, 1] of one size to B codes."""
        ...

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode codes of one size to float32 images (B, 3, H, W), nominally in [-1, 1].

        `seeds` holds one seed an image: a stochastic decoder draws from it and from nothing else.
        """
        ...


class ClassToImage(Model, Protocol):
    """Draws images of classes, as codes that it decodes.

    On a CPU `sample` and `decode` are called from several threads at a time.
    """

    @property
    def classes(self) -> int:
        """How many there are; they are numbered from 0."""
        ...

    def sample(self, classes: Sequence[int], seeds: Sequence[int]) -> list[Code]:
        """Draw one image of each class, from its own seed and from nothing else."""
        ...

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode as a `VisualTokenizer` does; the seeds are those that the codes were drawn by."""
        ...


class ImageEmbedder(Model, Protocol):
    """Embeds images into the space of another model's embeddings.

    On a CPU `embeddings` is called from several threads at a time.
    """

    @property
    def embedding_space(self) -> str:
        """What the embeddings compare with: a teacher's name, with its weights' after a slash.

        Raise `UserError` where the model cannot embed.
        """
        ...

    def embeddings(self, images: Tensor) -> dict[str, np.ndarray]:
        """Embed float32 images (B, 3, H, W) in [-1, 1]: float32 (B, width) of any length.

        The keys are the model's heads: 'post' of the codes, 'pre' of the latents before them.
        """
        ...


@dataclass(frozen=True, slots=True)
class ImagePairs:
    """Reference images and their reconstructions, as float and as the protocol's uint8."""

    reference: Tensor
    """float32 (B, 3, H, W) in [-1, 1]."""
    reconstruction: Tensor
    """float32 (B, 3, H, W), clamped to [-1, 1]."""
    reference_uint8: np.ndarray
    """uint8 (B, H, W, 3)."""
    reconstruction_uint8: np.ndarray
    """uint8 (B, H, W, 3)."""


@dataclass(frozen=True, slots=True)
class GeneratedImages:
    """Images that have no original, as float and as the protocol's uint8."""

    images: Tensor
    """float32 (B, 3, H, W), clamped to [-1, 1]."""
    images_uint8: np.ndarray
    """uint8 (B, H, W, 3)."""


Columns = Mapping[str, "np.ndarray"]
"""Named observations of B samples: shape (B,) for a number a sample, (B, d) for features."""


class Extractor(Protocol):
    """Turns outputs into observations: pixel measures, features, detections.

    On a CPU `observe` is called from several threads at a time.
    """

    @property
    def identity(self) -> Mapping[str, Any]:
        """What its observations depend on beside the protocol: weights digest, version."""
        ...

    def observe(self, pairs: Any) -> Columns:
        """Observe B outputs beside their inputs, `ImagePairs` for one; a row each in every column.

        What a task hands over is its own affair: an extractor belongs to a family of tasks.
        """
        ...


class ExtractorFactory(Protocol):
    """Makes an extractor for a protocol on a device."""

    def __call__(self, settings: Mapping[str, Any], device: str) -> Extractor:
        """Raise `harness.errors.Unavailable` where weights or a package are missing."""
        ...


@dataclass(frozen=True)
class Observations:
    """Everything `score` may look at; rows are the samples without failure, in task order."""

    samples: pd.DataFrame
    """One row a sample: id, bits, height, width and every scalar column observed."""
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Feature columns (n, d) by name."""
    payloads: Sequence[bytes] = ()
    """The codes, one a sample."""
    codebook: Codebook | None = None
    """Layout of the payloads, where the model has one."""
    seed: int = 0
    """The run's seed; intervals resample with it."""
    small_sets: bool = False
    """Whether the user asked for metrics that need more samples than there are."""
    reference: ReferenceFeatures | None = None
    """The set that a generated set is compared with; None where outputs have originals."""


class Metric(Protocol):
    """A pure function of observations: no model, no device, no randomness but the run's seed."""

    higher_is_better: bool | None
    needs: tuple[str, ...]
    """Names of the extractors whose columns it reads."""

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """Compute the value with its interval; raise `Unavailable` where it does not apply."""
        ...


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
    `observe` gets all of a block that share a batch key.
    """

    label: str
    """Name of the data for people, the record's `dataset`."""
    notice: str
    """What a user must know about this data before reading the numbers; may be empty."""

    def samples(self, limit: int | None, on_progress: OnProgress | None = None) -> list[Sample]:
        """All samples in the task's order, or a fixed choice of `limit` of them."""
        ...

    def load(self, sample: Sample) -> Any:
        """Decode one sample's input; raise `DecodeError`. Called from several threads."""
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
class GenerativeTaskData(TaskData, Protocol):
    """A task whose outputs are a set of images, to be compared with a reference set.

    The run keeps all of them, as `picture` gives them, in `samples.npz`.
    """

    reference_digest: str
    """SHA-256 of the reference's content; empty without a reference."""

    def reference(self, device: str, progress: Progress) -> ReferenceFeatures:
        """The reference's features; raise `Unavailable` where their network's weights miss."""
        ...


class PublishedTable(Protocol):
    """A published table that a folder of checkpoints fills in, offered under `uwt_eval.tables`."""

    def runs(self, checkpoints: Path) -> Sequence[tuple[str, str]]:
        """Task and model, as `--model` takes it, of every run that fills cells."""
        ...

    def missing(self, checkpoints: Path) -> Sequence[Path]:
        """Checkpoints of rows that are not there."""
        ...

    def filled(
        self, checkpoints: Path, results: Mapping[tuple[str, str], ResultRecord]
    ) -> dict[str, Any]:
        """The table as JSON from the records of its runs."""
        ...

    def show(self, console: Console, filled: Mapping[str, Any]) -> None:
        """Print a filled table as it was published."""
        ...


OnProgress = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One output kept for people."""

    sample: Sample
    path: Path
    """PNG of the rendered output."""
    values: Mapping[str, float]
    """The sample's scalar observations."""
