"""Run the benchmarks that are named, or all; options after a name go to that benchmark.

`train-step` runs only when it is named: it needs checkouts of the released code.
"""

from __future__ import annotations

import itertools
import sys
from importlib import import_module

from harness.registry import did_you_mean

BENCHMARKS = ("startup", "overhead", "metrics", "losses")
BY_REQUEST = ("train-step",)


def main() -> None:
    """Run each benchmark's `main`, which prints its table."""
    arguments = sys.argv[1:]
    named = list(itertools.takewhile(lambda argument: not argument.startswith("-"), arguments))
    options = arguments[len(named) :]
    names = named or BENCHMARKS
    if options and named not in (["metrics"], ["train-step"]):
        sys.exit(f"{options[0]} is an option of `metrics` or `train-step`; name one of them alone")
    known = (*BENCHMARKS, *BY_REQUEST)
    for name in names:
        if name not in known:
            sys.exit(f"unknown benchmark {name!r}: {did_you_mean(name, known)}")
        import_module(f"benchmarks.{name.replace('-', '_')}").main(*options)


main()
