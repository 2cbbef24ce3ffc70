"""How the processes of a run meet and tell each other names and numbers, by torch.distributed."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from harness.interfaces.errors import UserError, first_line

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

LOST = (
    "another process of this run has ended before its time: the log of its machine says why, and "
    "the same command goes on from here, with any number of processes"
)
"""What one of the others says."""
_BARRIER_TIMEOUT = timedelta(days=14)
_LOOK_EVERY = 0.02
"""Seconds between looks at who has come."""


def join(rank: int, size: int, device: str, backend: str = "gloo") -> None:
    """Start the process group.

    An evaluation's is gloo's on GPUs too: processes tell each other names and numbers, never
    tensors, and gloo says at once where one on another machine has gone.

    Raises:
        UserError: The environment does not say where to meet, or another process has gone.
    """
    import torch
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore

    if device.startswith("cuda"):
        torch.cuda.set_device(torch.device(device))
    with _together():
        shared = _meeting_place(size)
        store = PrefixStore(met_in(shared, rank, size), shared)
        # Of NCCL torch's own timeout is the only sign that a process has gone.
        timeout = _BARRIER_TIMEOUT if backend == "gloo" else None
        distributed.init_process_group(
            backend, store=store, rank=rank, world_size=size, timeout=timeout
        )


def _meeting_place(size: int) -> Store:
    """The store that the environment names, as torchrun sets it."""
    from torch.distributed.rendezvous import rendezvous

    try:
        shared: Store = next(rendezvous("env://", timeout=_BARRIER_TIMEOUT))[0]
    except ValueError as error:
        reason = first_line(error).rpartition("rendezvous: ")[2]
        raise UserError(
            f"WORLD_SIZE={size}: {reason}; start the processes with torchrun, or unset WORLD_SIZE"
        ) from error
    return shared


def barrier() -> None:
    """Wait for every process; raise `UserError` where one has gone."""
    from torch import distributed

    with _together():
        distributed.barrier()


def broadcast(value: Any) -> Any:
    """The main process's value in all of them; raises as `barrier`."""
    from torch import distributed

    holder = [value]
    with _together():
        distributed.broadcast_object_list(holder, src=0)
    return holder[0]


def total(name: str, done: int, rank: int, size: int) -> int:
    """Tell how much is done here; in the main process, how much all have told so far."""
    store = _store()
    store.set(f"done/{name}/{rank}", str(done))
    if rank > 0:
        return done
    return sum(int(store.add(f"done/{name}/{other}", 0)) for other in range(size))


def speaks_first(otherwise: bool) -> bool:
    """Whether this process is the first that asks; `otherwise` where nobody can be asked."""
    try:
        return int(_store().add("said", 1)) == 1
    except (RuntimeError, ValueError):  # It is gone with a process, or was never there.
        return otherwise


def leave() -> None:
    """End the process group, if one was started."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def met_in(store: Store, rank: int, size: int) -> str:
    """A name that the processes that are here now agree on, and none that were here before know.

    torchrun's store outlives the processes that it starts again: under the names that torch itself
    would use there are addresses of the dead, which are waited for in vain. Everyone else tells the
    main process a word that was never used, and waits for the answer to it.
    """
    word = uuid.uuid4().hex
    if rank > 0:
        store.set(f"met/{rank}", word)
        name: str = store.get(f"met/{word}").decode()
        store.add(f"met/{name}", 1)
        return name
    answered: set[str] = set()
    while store.add(f"met/{word}", 0) < size - 1:
        there = [f"met/{other}" for other in range(1, size) if store.check([f"met/{other}"])]
        # A word may be from before: its place is looked at until all have their answer.
        for heard in {store.get(place).decode() for place in there} - answered:
            store.set(f"met/{heard}", word)
            answered.add(heard)
        time.sleep(_LOOK_EVERY)
    return word


def _store() -> Any:
    """What the processes of the group all reach; torchrun's own, which outlives any of them."""
    from torch.distributed import distributed_c10d

    return distributed_c10d._get_default_store()


@contextmanager
def _together() -> Iterator[None]:
    """Say in one line that another process has gone; torchrun of its machine ends those beside."""
    try:
        yield
    except RuntimeError as error:
        raise UserError(f"{LOST} ({first_line(error)})") from error
