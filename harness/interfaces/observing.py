"""Extractors and metrics as structural types, and what passes between them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

from harness.interfaces.registry import others_code

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

    from harness.interfaces.types import Codebook, MetricValue

T = TypeVar("T")


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
"""Named observations of B samples: shape (B,) for a number or a text a sample, (B, d) for features.

Texts are `str` in an object array. Two names are reserved: 'status' and 'error', texts both, say
which of the samples could not be observed, and why; their other cells are ignored."""


class Extractor(Protocol):
    """Turns outputs into observations: pixel measures, features, detections.

    It is called by one thread at a time, unless it has `concurrent = True`. One that computes on
    the processor although there is a GPU, or elsewhere, says so as a model does: `works_on`. One
    whose networks compute in `exact_float32` alone may have `beside_model = True`: on a GPU they do
    while the model computes, on a stream of their own.
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


@runtime_checkable
class Preflighted(Protocol):
    """An extractor that depends on something elsewhere, as on an endpoint."""

    def preflight(self) -> None:
        """Raise `UserError` where it could not observe; called before a model works for it."""
        ...


class ExtractorFactory(Protocol):
    """Makes an extractor for a protocol on a device."""

    def __call__(self, settings: Mapping[str, Any], device: str) -> Extractor:
        """Raise `harness.interfaces.errors.Unavailable` where weights or a package are missing."""
        ...


class ReferenceSet(Protocol):
    """Features of the set that a generated set is compared with."""

    def distribution(self, output: str) -> Any:
        """One side of a Fréchet distance; raise `Unavailable` where the reference has none."""
        ...

    def rows(self, output: str) -> np.ndarray:
        """The images' features, float32 (n, d); raise `Unavailable` where there are none."""
        ...

    def write(self, path: Path) -> None:
        """Write everything into one file, beside a run."""
        ...


@dataclass(frozen=True)
class Observations:
    """Everything `score` may look at; rows are the samples without failure, in task order."""

    samples: pd.DataFrame
    """One row a sample: id, bits, height, width and every number and text observed."""
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
    extrapolate: bool = False
    """Whether Fréchet distances are to note their limit at infinitely many samples (FID∞)."""
    reference: ReferenceSet | None = None
    """The set that a generated set is compared with; None where outputs have originals."""
    notice: str = ""
    """What the user is told of the data."""
    made_elsewhere: bool = False
    """Whether the payloads are names of images made elsewhere, whose codes are not known."""


@dataclass(frozen=True, slots=True)
class Label:
    """How a metric is headed and printed."""

    title: str
    digits: int = 3
    percent: bool = False
    optional: bool = False
    """Shown in a run's table only where a model has a value and there is room."""
    about: str = ""
    """One line on what the metric is; its class's docstring stands in where this is empty."""

    def text(self, value: float) -> str:
        """A value without its interval."""
        return f"{100 * value:.{self.digits}f}%" if self.percent else f"{value:.{self.digits}f}"


class Metric(Protocol):
    """A pure function of observations: no model, no device, no randomness but the run's seed."""

    higher_is_better: bool | None
    needs: tuple[str, ...]
    """Names of the extractors whose columns it reads."""

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """Compute the value with its interval; raise `Unavailable` where it does not apply."""
        ...


@runtime_checkable
class Labelled(Protocol):
    """A metric that says how to print it; any other goes by its name, with three digits."""

    label: Label


@runtime_checkable
class SampleMetric(Metric, Protocol):
    """A metric that is a weighted mean over samples, so that two runs are compared in pairs.

    One that is the mean of a column of its own name needs none of this.
    """

    def of_samples(
        self, samples: Mapping[str, np.ndarray], settings: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values and weights, float64 (n,) each; a value is NaN where a sample does not count.

        `samples` holds the observed numbers and texts (n,) by column, and `id`; a column that was
        not observed raises `KeyError`. `settings` are the protocol's, as in `score`.
        """
        ...


@runtime_checkable
class ClusteredMetric(SampleMetric, Protocol):
    """One whose samples are not independent, as the pictures of one prompt are not."""

    def clusters_of(self, samples: Mapping[str, np.ndarray]) -> np.ndarray:
        """The cluster of each sample, str (n,): those of one cluster are resampled together."""
        ...


def concurrent(plugin: object) -> bool:
    """Whether several threads may call a plug-in at a time: it says so by `concurrent = True`."""
    return bool(getattr(plugin, "concurrent", False))


def usable_cores() -> int:
    """How many cores this process may use, at least one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


Turn = AbstractContextManager[Any]
"""What is held while a plug-in is called."""


def turn_of(*plugins: object) -> Turn:
    """What to hold while plug-ins are called, so that they are by one thread at a time.

    Nothing where all of them are concurrent.
    """
    return nullcontext() if all(map(concurrent, plugins)) else threading.RLock()


def on_device(plugin: object) -> bool:
    """Whether a plug-in computes on the run's device; `works_on` 'cpu' or 'elsewhere' says no."""
    return getattr(plugin, "works_on", "device") == "device"


ARITHMETIC = threading.RLock()
"""Held while work is queued on a GPU whose arithmetic is not strict float32, or has to be.

Switches such as TF32 hold for all threads of a process. Taken last, after any turn."""


class Turns:
    """Whose turn it is: several lanes call plug-ins, of which most can take one call at a time.

    A GPU is held by one lane at a time, for switches of its arithmetic, such as TF32, hold for all
    threads. Networks that guard theirs, `beside_model`, have a turn of their own, and compute while
    the model does. Meanwhile the other lanes read, prepare, measure on the processor and write: the
    device never waits for them. Where memory ends, the model's turn is taken first, then the
    networks', and one works alone.

    Args:
        device: Where the networks of this run are.
    """

    def __init__(self, device: str) -> None:
        self._device = None if device == "cpu" else threading.RLock()
        self._model = threading.RLock()
        self._extractors = threading.RLock()
        # Torch has one stream on an Apple GPU, for one thread at a time.
        self.networks = self._device if device in {"cpu", "mps"} else threading.RLock()
        """The turn of networks beside the model; none where there is no GPU."""

    def of_model(self, model: object) -> Turn:
        """What a lane holds while it calls the model."""
        return self._of((model,), self._model)

    def of(self, *extractors: object) -> Turn:
        """What a lane holds while it calls extractors, or a network that they share."""
        return self._of(extractors, self._extractors)

    def taking(self, extractor: Extractor) -> Extractor:
        """The extractor, which waits for its turn when it observes.

        Those that can take one call at a time wait for each other: they may share a network.
        """
        return _InTurn(extractor, self.of(extractor), self._device)

    def _of(self, plugins: Sequence[object], alone: Turn) -> Turn:
        if self._device is not None and (there := [each for each in plugins if on_device(each)]):
            beside = all(getattr(each, "beside_model", False) for each in there)
            return self.networks if beside and self.networks is not None else self._device
        return nullcontext() if all(map(concurrent, plugins)) else alone


class _InTurn:
    def __init__(self, extractor: Extractor, turn: Turn, device: Turn | None) -> None:
        self._extractor = extractor
        self._turn = turn
        self._device = device

    @property
    def identity(self) -> Mapping[str, Any]:
        return self._extractor.identity

    def observe(self, pairs: Any) -> Columns:
        try:
            with self._turn, others_code():
                return self._extractor.observe(pairs)
        except Exception as error:
            if self._device is None or not out_of_memory(error):
                raise
        # Out of the handler, for what was raised holds on to the tensors of its frames.
        with self._device, self._turn, others_code():
            release_graphs()
            return self._extractor.observe(pairs)


def out_of_memory(error: Exception) -> bool:
    """Whether a GPU's memory has ended."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "MPS backend out of memory" in str(error)


def recording() -> Turn:
    """The lock held while a network is recorded, and while a model works on the GPU."""
    from uwt_images.graphs import RECORDING

    return RECORDING


def release_graphs() -> None:
    """Give back the memory that recorded networks keep; by whoever works alone on the GPU."""
    from uwt_images.graphs import release

    release()


def gpu_name(device: str) -> str:
    """What a GPU, 'cuda', 'cuda:1' or 'mps', is called."""
    import torch

    if device == "mps":
        # Torch tells it since 2.9.
        named: Callable[[], str] = getattr(torch.backends.mps, "get_name", lambda: "Apple GPU")
        return named()
    return torch.cuda.get_device_name(torch.device(device))


class Once(Generic[T]):
    """Builds something at its first use, such as a network or a client, once for all lanes."""

    def __init__(self, build: Callable[[], T]) -> None:
        self._build = build
        self._built: T | None = None
        self._lock = threading.Lock()

    def __call__(self) -> T:
        """The one thing built; others wait while it is under way."""
        with self._lock:
            if self._built is None:
                self._built = self._build()
            return self._built
