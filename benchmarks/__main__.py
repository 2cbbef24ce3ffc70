"""Run the benchmarks that are named, or all; options after a name go to that benchmark."""

from __future__ import annotations

import itertools
import sys
from importlib import import_module

from harness.registry import did_you_mean

BENCHMARKS = ("startup", "overhead", "metrics")


def main() -> None:
    """Run each benchmark's `main`, which prints its table."""
    arguments = sys.argv[1:]
    named = list(itertools.takewhile(lambda argument: not argument.startswith("-"), arguments))
    options = arguments[len(named) :]
    names = named or BENCHMARKS
    if options and named != ["metrics"]:
        sys.exit(f"{options[0]} is an option of `metrics` alone; name no other benchmark")
    for name in names:
        if name not in BENCHMARKS:
            sys.exit(f"unknown benchmark {name!r}: {did_you_mean(name, BENCHMARKS)}")
        import_module(f"benchmarks.{name}").main(*options)


main()
