"""Run the rows that are named, or all, in one thread; started by `python -m benchmarks metrics`."""

from __future__ import annotations

import argparse
import os
import sys
import warnings

import numpy as np
import torch

from benchmarks.machine import headline
from benchmarks.metrics.rows import BY_REQUEST, ROWS, measure_rows
from benchmarks.metrics.sizes import FULL, ON_CUDA, Sizes
from benchmarks.metrics.table import memory_table, time_table
from harness.interfaces.errors import did_you_mean

_LEGEND = """
Ratios are medians over rounds of the ratio within a round. Errors are relative Frobenius norms, or
largest absolute differences where marked abs, of the worst output.
"""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks metrics", description=__doc__)
    parser.add_argument("--rows", nargs="+", default=None, metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--rounds", type=int, default=5, help="slow rows take fewer")
    parser.add_argument(
        "--full", action="store_true", help="precision and recall of 10k x 50k: a quarter hour"
    )
    parser.add_argument(
        "--fresh-heap", action="store_true", help="do not make the allocator recycle temporaries"
    )
    arguments = parser.parse_args()
    for name in arguments.rows or ():
        if name not in ROWS:
            sys.exit(f"unknown row {name!r}: {did_you_mean(name, ROWS)}")
    if arguments.rounds < 1:
        sys.exit(f"{arguments.rounds} rounds; give at least 1")
    return arguments


def _recycle_temporaries() -> None:
    """Bring glibc's allocator to the state that any network leaves it in.

    Until a program has freed a large block, every array above 128 kB is mapped and unmapped anew,
    which multiplies the time of peers that work with whole-image temporaries.
    """
    np.ones(31 << 20, dtype=np.uint8)


def main() -> None:
    """Print the tables."""
    arguments = _arguments()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="torchvision|torch_fidelity|torchmetrics|lpips")
    if not arguments.fresh_heap:
        _recycle_temporaries()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = FULL if arguments.full else Sizes() if device == "cpu" else ON_CUDA
    names = arguments.rows or [name for name in ROWS if name not in BY_REQUEST]
    times, memories = measure_rows(names, sizes, device, arguments.rounds)

    clock = "CPU time, 1 thread" if device == "cpu" else "wall time, synchronised"
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    heap = "fresh heap" if arguments.fresh_heap else "recycled heap"
    print(f"metrics beside their peers: {headline()}; {clock}, {heap}, load {load}\n")
    if times:
        print(time_table(times))
        print(_LEGEND)
    if memories:
        print(memory_table(memories))


main()
