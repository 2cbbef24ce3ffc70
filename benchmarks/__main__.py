"""Run the benchmarks that are named, or all."""

from __future__ import annotations

import sys
from importlib import import_module

from harness.registry import did_you_mean

BENCHMARKS = ("startup", "overhead")


def main() -> None:
    """Run each benchmark's `main`, which prints its table."""
    names = sys.argv[1:] or BENCHMARKS
    for name in names:
        if name not in BENCHMARKS:
            sys.exit(f"unknown benchmark {name!r}: {did_you_mean(name, BENCHMARKS)}")
        import_module(f"benchmarks.{name}").main()


main()
