"""Several processes of one run: what they tell each other, and what is said where one is lost."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from torch.distributed import TCPStore

from harness.engine.processes import LOST
from harness.engine.world import World, environment_alone
from harness.interfaces.errors import UserError
from tests.conftest import REPOSITORY

PROCESS = """
from harness.engine.world import World
from harness.interfaces.errors import UserError

world = World.from_environment()
world.join("cpu")
print(world.broadcast(False if world.is_main else None))
world.total("pope", 3 + world.rank)
world.barrier()
print(world.total("pope", 5 + world.rank), world.total("mme", 1))
world.barrier()
print("speaks", world.speaks(), world.speaks())
world.barrier()
if not world.is_main:
    import os
    os._exit(9)
try:
    world.barrier()
except UserError as error:
    print(error)
"""


def test_what_processes_tell_each_other() -> None:
    # The store is served from here, as torchrun's agent does: no port is free first and then gone.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    place["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    processes = [
        subprocess.Popen(
            [sys.executable, "-u", "-c", PROCESS],
            env={**os.environ, **place, "RANK": str(rank)},
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(2)
    ]
    main, other = (process.communicate(timeout=300)[0].splitlines() for process in processes)
    assert [process.returncode for process in processes] == [0, 9]
    assert main[0] == other[0] == "False"
    # The main process sees what all have told, and what of the other is there so far.
    assert main[1] in {"9 1", "9 2", "11 1", "11 2"}
    assert other[1] == "6 1"
    words = sorted(main[2].split()[1:] + other[2].split()[1:])
    assert words == ["False", "False", "False", "True"], "one says why all end, and once"
    assert main[3].startswith(LOST)


def test_a_single_process_speaks_for_itself() -> None:
    assert World().speaks()
    assert World().total("pope", 7) == 7


@pytest.mark.parametrize(("keep", "threads"), [(True, "1"), (False, None)])
def test_a_process_of_our_own_takes_no_part(
    keep: bool, threads: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    given |= {"MASTER_ADDR": "x", "TORCHELASTIC_RUN_ID": "y", "ACCELERATE_USE_CPU": "true"}
    for name, value in {**given, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "3"}.items():
        monkeypatch.setenv(name, value)
    found = environment_alone(keep_threads=keep)
    assert not given.keys() & found.keys()
    assert found.get("OMP_NUM_THREADS") == threads
    assert found["CUDA_VISIBLE_DEVICES"] == "3"


def test_a_choice_of_threads_of_the_users_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert environment_alone(keep_threads=False)["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("text", ["abc", "2,2", "1.5"])
def test_a_number_of_threads_that_is_none_is_said(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    with pytest.raises(UserError, match=f"OMP_NUM_THREADS='{text}' is not a whole number"):
        World.from_environment()
    for good in ("", " ", " 4"):
        monkeypatch.setenv("OMP_NUM_THREADS", good)
        assert World.from_environment().size == 1


def test_processes_that_are_not_told_where_to_meet_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name, value in (("RANK", "0"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "x")):
        with pytest.raises(UserError, match=r"^WORLD_SIZE=2: .*; start the processes with torch"):
            World.from_environment().join("cpu")
        monkeypatch.setenv(name, value)
