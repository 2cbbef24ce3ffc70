"""States of networks and optimisers, however they are wrapped or sharded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils.checkpoint import checkpoint

from uniwetok.tensors import shapes
from uniwetok.train import TrainingError

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
"""Everything, on the CPU of the main process; the others get nothing."""
OWN = StateDictOptions(cpu_offload=True)
"""What each process holds, on its CPU."""
IN_PLACE = StateDictOptions()
"""What each process holds, itself: filling it changes the run."""


def shard(network: nn.Module, blocks: Iterable[nn.Module], accelerator: Accelerator) -> None:
    """Shard weights, gradients and optimiser state over all processes.

    Args:
        network: all of it is sharded, and moved to the run's device part by part.
        blocks: parts of it that are gathered one at a time.
        accelerator: of the run.

    Raises:
        TrainingError: there is a single process, or torch shards on GPUs alone.
    """
    if accelerator.num_processes == 1:
        raise TrainingError(
            "shard=true needs several processes: start with torchrun, or --set shard=false"
        )
    if accelerator.device.type == "cpu" and not hasattr(torch.cpu.Stream, "record_event"):
        raise TrainingError(
            f"shard=true: torch {torch.__version__} shards on GPUs alone; --set shard=false, or a "
            f"later torch"
        )
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)


def run_again(blocks: Iterable[nn.Module]) -> None:
    """Let blocks keep only their inputs, and run each again for its gradients, to the same bits."""
    for block in blocks:
        # Inside of what shards it, so that weights are gathered once for both.
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def full(tensor: Tensor) -> Tensor:
    """Gather a tensor that may be sharded; every process must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def copy_into(target: Tensor, value: Tensor) -> None:
    """Fill a tensor that may be sharded with the value, whole or in the same shards."""
    if isinstance(target, DTensor) and not isinstance(value, DTensor):
        value = distribute_tensor(value.to(target.device), target.device_mesh, target.placements)
    with torch.no_grad():
        target.copy_(value)


def network_state(
    network: nn.Module, optimizer: torch.optim.Optimizer, options: StateDictOptions
) -> dict[str, Any]:
    """Give weights, buffers and optimiser state by name; every process must call this."""
    return {
        "network": get_model_state_dict(network, options=options),
        "optimizer": get_optimizer_state_dict(network, optimizer, options=options),
    }


def restore_network(
    network: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Bring back a `network_state`, whole or in this run's shards; every process must call this.

    Raises:
        ValueError: it is of another network.
    """
    _check_fits(network, state["network"])
    in_shards = any(isinstance(value, DTensor) for value in state["network"].values())
    options = StateDictOptions(full_state_dict=not in_shards)
    set_model_state_dict(network, state["network"], options=options)
    set_optimizer_state_dict(network, optimizer, cast("Any", state["optimizer"]), options=options)


def _check_fits(network: nn.Module, held: Mapping[str, Tensor]) -> None:
    weights = cast("dict[str, Tensor]", get_model_state_dict(network, options=IN_PLACE))
    own, other = shapes(weights), shapes(held)
    names = sorted(own.keys() | other.keys())
    differ = [name for name in names if own.get(name) != other.get(name)]
    if differ:
        raise ValueError(f"{len(differ)} of {len(names)} weights differ, the first is {differ[0]}")
