"""Full states of networks and optimisers, however they are wrapped or sharded."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor, distribute_tensor

_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)
_RESTORE = StateDictOptions(full_state_dict=True)


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
