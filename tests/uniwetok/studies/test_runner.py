"""Processes that train arms, as the process that started them is killed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time

import psutil

PARENT = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace
import torch
from uniwetok.studies.runner import _start_process

if __name__ == "__main__":
    crops = SimpleNamespace(pixels=torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    pool = ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_process,
        initargs=(crops, torch.zeros(1, 4), None),
    )
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 120).result()
"""


def test_a_worker_ends_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 30
    with contextlib.suppress(psutil.NoSuchProcess):
        while worker.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.1)
