"""What the loop asks of a recipe: its settings, its batches and its trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from accelerate import Accelerator

    from uniwetok.train.engine.config import OptimizerConfig, Precision


class RunConfig(Protocol):
    """Settings that every recipe has; a dataclass, see `uniwetok.train.engine.config`."""

    @property
    def optimizer(self) -> OptimizerConfig:
        """Learning rate and its schedule."""
        ...

    @property
    def batch_size(self) -> int:
        """Of one step over all processes."""
        ...

    @property
    def steps(self) -> int:
        """Of the whole run."""
        ...

    @property
    def accumulation(self) -> int:
        """Passes whose gradients make one step."""
        ...

    @property
    def precision(self) -> Precision:
        """Of the forward and backward passes."""
        ...

    @property
    def ema_decay(self) -> float:
        """Share of the average that a step keeps."""
        ...

    @property
    def seed(self) -> int:
        """Of everything random."""
        ...

    @property
    def log_every(self) -> int:
        """Steps between lines of the log."""
        ...

    @property
    def checkpoint_every(self) -> int:
        """Steps between checkpoints."""
        ...

    @property
    def grid_every(self) -> int:
        """Steps between pictures; 0 makes none."""
        ...

    @property
    def validate_every(self) -> int:
        """Steps between validations; 0 makes none."""
        ...


class Examples(Protocol):
    """One step's batch of one process."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    @property
    def unreadable(self) -> int:
        """Images that could not be read and whose places others took."""
        ...


B = TypeVar("B", bound=Examples)
B_in = TypeVar("B_in", bound=Examples, contravariant=True)
B_out = TypeVar("B_out", bound=Examples, covariant=True)


class Stream(Protocol[B_out]):
    """Endless batches of this process, from the step on that it was opened at."""

    def __iter__(self) -> Iterator[B_out]:
        """Yield a step's batch after the other."""
        ...

    def epochs(self, steps: int) -> float:
        """Return how often all processes have seen the data after so many steps."""
        ...


class Trainer(Protocol[B_in]):
    """Networks, optimisers and averages of one run, on one process of many or alone.

    A step depends on the state, the batch and its number alone, so that a resumed run repeats what
    it would have done.
    """

    @property
    def config(self) -> RunConfig:
        """The run."""
        ...

    @property
    def accelerator(self) -> Accelerator:
        """The processes, the device and the precision."""
        ...

    @property
    def checkpoint_bytes(self) -> int:
        """Size of a checkpoint, up to its small parts."""
        ...

    def step(self, batch: B_in, number: int) -> None:
        """Train on a batch; steps are numbered from 0.

        Raises:
            TrainingError: a loss or a gradient is not finite; weights are as before the step.
        """
        ...

    def averages(self) -> dict[str, float]:
        """Give the means of all terms, over the steps since the last call and over processes."""
        ...

    def state(self) -> dict[str, Any]:
        """Give everything a run needs to go on; every process must call this."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Bring back a ``state``; every process must call this."""
        ...

    def export(self, folder: Path) -> object:
        """Write the averaged model; every process must call this, the main one writes."""
        ...


OpenStream = Callable[[int], Stream[B]]
"""Opens this process's batches at a step."""
MakePicture = Callable[[Path], None]
"""Writes a PNG of what the averaged model does; every process calls it, the main one writes."""
