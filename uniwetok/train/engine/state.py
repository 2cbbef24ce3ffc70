"""Full states of networks and optimisers, however they are wrapped or sharded."""

from __future__ import annotations

from collections.abc import Iterable
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

from uniwetok.train import TrainingError

_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)
_RESTORE = StateDictOptions(full_state_dict=True)


def shard(network: nn.Module, blocks: Iterable[nn.Module], accelerator: Accelerator) -> None:
    """Shard weights, gradients and optimiser state over all processes.

    Args:
        network: all of it is sharded.
        blocks: parts of it that are gathered one at a time.
        accelerator: of the run.

    Raises:
        TrainingError: there is a single process.
    """
    if accelerator.num_processes == 1:
        raise TrainingError("shard=true needs several processes: start with torchrun, or drop it")
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)


def full(tensor: Tensor) -> Tensor:
    """Gather a tensor that may be sharded; every process must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def copy_into(target: Tensor, value: Tensor) -> None:
    """Fill a tensor that may be sharded with the whole value."""
    if isinstance(target, DTensor):
        value = distribute_tensor(value.to(target.device), target.device_mesh, target.placements)
    with torch.no_grad():
        target.copy_(value)


def network_state(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Give weights, buffers and optimiser state by name, on the CPU of the main process.

    Every process must call this.
    """
    return {
        "network": get_model_state_dict(network, options=_FULL),
        "optimizer": get_optimizer_state_dict(network, optimizer, options=_FULL),
    }


def restore_network(
    network: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Bring back what ``network_state`` gave; every process must call this with all of it."""
    set_model_state_dict(network, state["network"], options=_RESTORE)
    set_optimizer_state_dict(network, optimizer, cast("Any", state["optimizer"]), options=_RESTORE)
