"""Measuring a recipe's networks without their weights or a GPU.

They are built and run on tensors that have shapes but no data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F  # noqa: N812
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from uniwetok.train import TrainingError
from uniwetok.train.data.schedule import Schedule
from uniwetok.train.engine.settings import RunSettings
from uniwetok.train.engine.state import run_again

_AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What one run's networks are and cost; by example, an image or a row of packed samples."""

    parameters: dict[str, int]
    """Parameters by network, the frozen ones too."""
    held: dict[str, int]
    """Float32 weights by optimiser; ``shard`` spreads those of the first, the others are whole."""
    trained: dict[str, int]
    """Those of them that are trained."""
    averaged: int
    """Parameters that a moving average is kept of, where one is kept; all of the first."""
    frozen_bytes: int = 0
    """Bytes of the networks that are not trained."""
    gathered: int = 0
    """Parameters that are gathered at a time where the first is sharded, see `count_gathered`."""
    tokens: int
    """Tokens of an example."""
    flops: dict[str, int]
    """Floating-point operations of one step, by network and pass; a multiply-add counts as two."""
    resized: tuple[str, ...] = ()
    """Those of ``flops`` of networks that see an image of any size at one of their own."""
    activations: dict[str, int]
    """Bytes kept on a GPU from the forward to the backward pass."""
    copy_bytes: int = 0
    """Kept of the weights there, however many examples: their copies in half precision."""
    packed: bool = False
    """Whether examples are rows of packed samples, which are passed one by one."""
    assumed: str = ""
    """What the figures stand on beside the settings."""
    mixture: tuple[str, ...] = ()
    """Sources of the data and their weights."""
    schedule: Callable[[int, int], Schedule] | None = None
    """What of a batch each of so many processes takes in a step; None where all take the same."""


def without_data() -> FakeTensorMode:
    """Tensors that have shapes but no data, on a GPU as well, of which there need be none.

    Raises:
        TrainingError: there is none, and this torch asks its driver all the same.
    """
    # A `TorchVersion`, which compares by its numbers.
    asks_the_driver = torch.version.cuda is not None and torch.__version__ < "2.10"
    if asks_the_driver and not torch.cuda.is_available():
        raise TrainingError(
            f"torch {torch.__version__} measures a GPU's memory only where there is one: "
            "plan there, or with torch 2.10 or later"
        )
    return FakeTensorMode(allow_non_fake_inputs=True)


def count(*modules: nn.Module) -> int:
    """Count parameters."""
    return sum(weight.numel() for module in modules for weight in module.parameters())


def count_gathered(network: nn.Module, units: Sequence[nn.Module]) -> int:
    """Count parameters of a sharded network that a process holds at its fullest.

    Those that belong to none of the units, which FSDP gathers for a whole pass, and the largest
    unit.
    """
    return count(network) - count(*units) + max(map(count, units), default=0)


def count_flops(run: Callable[[], object]) -> int:
    """Count the products of a pass on tensors without data; with its addition one is two.

    Attention counts as its two plain products, Q K^T and P V. Which fused kernel torch would take
    depends on the processor, and torch's counter knows only some of them: it would leave
    attention out on one machine and not on another.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    flops: int = counter.get_total_flops()
    return flops


def step_flops(loss: Callable[[], Tensor]) -> tuple[int, int]:
    """Count the forward and the backward pass of a loss."""
    losses: list[Tensor] = []
    forward = count_flops(lambda: losses.append(loss()))
    return forward, count_flops(lambda: torch.autograd.backward(losses.pop()))


@dataclass(frozen=True, kw_only=True)
class Pass:
    """A forward pass that is measured."""

    modules: Sequence[nn.Module]
    """Whose weights are not counted; on the fake device "cuda"."""
    blocks: Sequence[nn.Module]
    """Parts that may be run again for their gradients."""
    run: Callable[[], object]


def image_activations(
    config: RunSettings, make: Callable[[int], Pass]
) -> tuple[dict[str, int], int]:
    """Count what one image leaves for the backward pass on a GPU, from passes of one and of two.

    Args:
        config: the run, its precision decided.
        make: gives a pass of so many images through networks of its own.

    Returns:
        Bytes of an image by what they are, and those of the weights' copies in half precision.
    """
    whole, block = [], []
    for images in (1, 2):
        made = make(images)
        if config.gradient_checkpointing:
            block.append(kept_bytes(made.modules, config.precision, made.run, made.blocks))
            run_again(made.blocks)
        whole.append(kept_bytes(made.modules, config.precision, made.run))
    one, two = whole
    copies = max(2 * one - two, 0)
    if not block:
        return {"activations": two - one}, copies
    return {
        "inputs of blocks, other activations": two - one,
        "largest block, run again": block[1] - block[0],
    }, copies


def kept_bytes(
    modules: Sequence[nn.Module],
    precision: str,
    run: Callable[[], object],
    within: Sequence[nn.Module] = (),
) -> int:
    """Count what a forward pass leaves for its backward pass on a GPU, weights aside.

    Args:
        modules: whose weights are not counted; on the fake device "cuda".
        precision: of the pass, decided.
        run: makes the pass.
        within: counts what one of these parts leaves, the most of them; all of the pass where ().
    """
    own = {
        tensor.untyped_storage()._cdata
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    }
    # Keeping the storages, not their addresses alone, stops addresses from being used again.
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    def size(first: int) -> int:
        storages = list(kept.items())[first:]
        return sum(storage.nbytes() for address, storage in storages if address not in own)

    begins, sizes = [0], []
    hooks = [
        handle
        for block in within
        for handle in (
            block.register_forward_pre_hook(lambda *_: begins.append(len(kept))),
            block.register_forward_hook(lambda *_: sizes.append(size(begins[-1]))),
        )
    ]
    with (
        _FusedAttention(),
        _autocast(_AUTOCAST[precision]),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        run()
    for hook in hooks:
        hook.remove()
    return max(sizes) if within else size(0)


@contextmanager
def _autocast(dtype: torch.dtype | None) -> Iterator[None]:
    """CUDA's autocast, which `torch.autocast` refuses on a machine without a GPU."""
    if dtype is None:
        yield
        return
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", dtype)
    try:
        yield
    finally:
        torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])


class _FusedAttention(TorchFunctionMode):
    """Attention as GPUs run it: of the square of the length nothing is kept.

    Without a GPU, torch falls back to the plain products and keeps their scores.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        named = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
        inputs = [named[name] for name in ("query", "key", "value")]
        if torch.is_autocast_enabled("cuda"):
            inputs = [tensor.to(torch.get_autocast_dtype("cuda")) for tensor in inputs]
        return _Attend.apply(*inputs)


class _Attend(torch.autograd.Function):
    """What flash attention keeps: its inputs, its output and a logarithm for each query."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        normalisers = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, output, normalisers)
        return output

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise NotImplementedError("only the forward pass is measured")
