"""What the three recipes' trainers have in common: placing, updating, averaging and saving."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions

from uniwetok.train.data.schedule import Place
from uniwetok.train.engine.machine import decide, here, on_cpu
from uniwetok.train.engine.optimizers import Ema, learning_rate
from uniwetok.train.engine.settings import RunSettings
from uniwetok.train.engine.state import (
    OWN,
    WHOLE,
    copy_into,
    full,
    network_state,
    restore_network,
    shard,
)
from uniwetok.train.engine.tallies import FirstBadStep, RunningMeans

_MIXED_PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
"""A configuration's precision as Accelerate names it."""
_FLOAT = 4


class Examples(Protocol):
    """One step's batch of one process."""

    def __len__(self) -> int:
        """Return the number of images, or of tokens: what ``config.unit`` says."""
        ...

    @property
    def unreadable(self) -> int:
        """Images that could not be read and whose places others took."""
        ...


B = TypeVar("B", bound=Examples)
C = TypeVar("C", bound=RunSettings)


class Trainer(ABC, Generic[C, B]):
    """Networks, optimisers and averages of one run, on one process of many or alone.

    A step depends on the state, the batch and its number alone: what is random is drawn from
    streams that the number addresses, so that a resumed run repeats what it would have done.

    Attributes:
        config: the run.
        accelerator: the processes, the device and the precision.
        ema: moving averages of the weights; None where ``config.ema_decay`` is 0.
    """

    ema: Ema | None = None

    def __init__(self, config: C, accelerator: Accelerator) -> None:
        self.config = config
        self.accelerator = accelerator
        self._trained: dict[str, tuple[nn.Module, Any]] = {}
        self._evaluated: Mapping[str, Tensor] = {}
        self._means = RunningMeans(accelerator)
        self._bad = FirstBadStep(accelerator)

    @abstractmethod
    def step(self, batch: B, number: int) -> None:
        """Train on a batch of this process; steps are numbered from 0.

        A step whose loss or gradient is not finite leaves the weights as they were, and so does
        every later one; `check` says so.
        """

    @abstractmethod
    def export(self, folder: Path) -> object:
        """Write the averaged model as plug-ins load it.

        Every process must call this; the main one writes.
        """

    def wrap(self, network: nn.Module, blocks: Iterable[nn.Module]) -> nn.Module:
        """Spread a network over the processes, in copies or in shards, and autocast its passes.

        Args:
            network: on the device, or where it is sharded on the CPU.
            blocks: parts of it that are gathered one at a time where it is sharded.

        Raises:
            TrainingError: one process alone is to shard.
        """
        if self.config.shard:
            shard(network, blocks, self.accelerator)
        # Accelerate would put DDP around a sharded network: here it is to add autocast alone.
        wrapped: nn.Module = self.accelerator.prepare_model(
            network, evaluation_mode=self.config.shard
        )
        return wrapped

    def compile(self, parts: Iterable[nn.Module], *, dynamic: bool = False) -> None:
        """Compile parts of a network where the run is to; names of weights stay.

        Before `run_again`, inside of which torch compiles nothing, and `wrap`.

        Args:
            parts: each compiled by itself: those that are alike are compiled once.
            dynamic: compile for all sizes of the data at once, not for each by itself: of images
                torch gives up where they are more than eight, and of all at once it fails.
        """
        if self.config.compile:
            for part in parts:
                part.forward = torch.compile(part.forward, dynamic=dynamic)

    def train(self, name: str, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Register what is updated and saved under a name; after `wrap`, which swaps weights."""
        self._trained[name] = (network, self.accelerator.prepare_optimizer(optimizer))

    def evaluate(self, weights: Mapping[str, Tensor]) -> None:
        """Register the weights that are exported: their averages, where averages are kept."""
        self._evaluated = weights
        if self.config.ema_decay:
            self.ema = Ema(weights, self.config.ema_decay)

    def exported(self, prefix: str = "") -> dict[str, Tensor]:
        """Give the averages, or weights, below a prefix whole and on the CPU.

        Every process must call this.
        """
        weights = self._evaluated if self.ema is None else self.ema.averages
        return {
            name.removeprefix(prefix): full(weight.detach()).cpu()
            for name, weight in weights.items()
            if name.startswith(prefix)
        }

    def no_sync(self, network: nn.Module, wanted: bool) -> AbstractContextManager[Any]:
        """Hold back the exchange of gradients among processes until a step's last pass."""
        held: AbstractContextManager[Any]
        held = self.accelerator.no_sync(network) if wanted else nullcontext()
        return held

    def update(self, name: str, number: int, loss: Tensor) -> Tensor:
        """Step the optimiser of one network.

        Args:
            name: as registered.
            number: of the step, which sets the learning rate.
            loss: of the step, (); checked.

        Returns:
            The norm of the gradients before clipping, ().
        """
        network, optimizer = self._trained[name]
        settings, accelerator = self.config.optimizer, self.accelerator
        # The norm is to be that of the true gradients, not of float16's scaled ones.
        accelerator.unscale_gradients(optimizer)
        weights = list(network.parameters())
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        norm = full(torch.nn.utils.get_total_norm(gradients))
        if accelerator.scaler is None:
            optimizer.optimizer.found_inf = self._bad.judge(number, loss + norm)
        else:
            # In float16 the scaler skips steps whose gradients overflow, which is part of how it
            # works, and waits for the device to do so: a bad loss may as well be read at once.
            self._bad.judge(number, loss)
            self.check()
        if settings.max_gradient_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(weights, settings.max_gradient_norm, norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, number, self.config.steps)
        optimizer.step()
        optimizer.zero_grad()
        return norm

    def check(self) -> None:
        """Make sure that all steps were good; every process must call this, which waits for it.

        Raises:
            TrainingError: a loss or a gradient was not finite; weights are as before that step.
        """
        self._bad.check()

    def average(self) -> None:
        """Move the EMA, where one is kept, towards the weights that a step ended with."""
        # After the optimiser, once a step however many passes it took: the decay is one a step, and
        # a step that was refused has moved neither weights nor averages.
        if self.ema is not None:
            self.ema.update()

    def averages(self) -> dict[str, float]:
        """Give the means of all terms, over the steps since the last call and over processes."""
        return self._means.read()

    def place(self, start: int) -> Place:
        """Say which part of the data this process reads, from a step on."""
        return Place(
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            start=start,
            steps=self.config.steps,
        )

    @property
    def checkpoint_bytes(self) -> int:
        """Size of a checkpoint, up to its small parts."""
        networks = [network for network, _ in self._trained.values()]
        weights = sum(weight.numel() for network in networks for weight in network.parameters())
        return checkpoint_bytes(self.config, weights)

    def state(self, options: StateDictOptions | None = None) -> dict[str, Any]:
        """Give everything a run needs to go on; every process must call this.

        Args:
            options: what of the tensors; None for what a checkpoint has of them.
        """
        options = options or (OWN if self.config.shard else WHOLE)
        state: dict[str, Any] = {
            name: network_state(network, optimizer.optimizer, options)
            for name, (network, optimizer) in self._trained.items()
        }
        if self.ema is not None:
            state["ema"] = {
                name: _as_asked(average, options) for name, average in self.ema.averages.items()
            }
        if self.accelerator.scaler is not None:
            state["scaler"] = self.accelerator.scaler.state_dict()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Bring back a ``state``; every process must call this."""
        for name, (network, optimizer) in self._trained.items():
            restore_network(network, optimizer.optimizer, state[name])
        if self.ema is not None:
            for name, average in state["ema"].items():
                copy_into(self.ema.averages[name], average)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])


def _as_asked(tensor: Tensor, options: StateDictOptions) -> Tensor:
    """Give a tensor as `network_state` gives weights, but whole in every process."""
    tensor = full(tensor) if options.full_state_dict else tensor
    return tensor.cpu() if options.cpu_offload else tensor


def make_accelerator(config: RunSettings, device: str, *handlers: Any) -> Accelerator:
    """Join the processes.

    Args:
        config: the run, for its precision.
        device: "cpu", or "auto" for this process's GPU where there is one.
        handlers: Accelerate's further settings.
    """
    decided, _ = decide(config, here(device))
    return Accelerator(
        cpu=on_cpu(device),
        mixed_precision=_MIXED_PRECISION[decided.precision],
        kwargs_handlers=list(handlers),
    )


def checkpoint_bytes(config: RunSettings, weights: int) -> int:
    """Size of a checkpoint: of each weight itself, Adam's two moments and perhaps its average."""
    return _FLOAT * (3 + bool(config.ema_decay)) * weights
