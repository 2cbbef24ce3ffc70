"""Run the benchmarks that are named, or all; options after a name go to that benchmark.

`train-data`, `resume`, `train-step`, `ar`, `vqa`, `precision`, `set-scores` and `gpu` run only when
they are named: the first two take a minute or two, the next two checkouts of the released code,
then lmms-eval, then two minutes and memory, and the last a CUDA device.
"""

from __future__ import annotations

import itertools
import sys
from importlib import import_module

from harness.interfaces.errors import did_you_mean

BENCHMARKS = (
    "startup",
    "journey",
    "overhead",
    "pipeline",
    "codecs",
    "listing",
    "metrics",
    "losses",
    "reports",
    "leaderboard",
    "scoring",
    "mllm",
)
BY_REQUEST = ("train-data", "resume", "train-step", "ar", "vqa", "precision", "set-scores", "gpu")
WITH_OPTIONS = ("metrics", "train-step", "ar")


def main() -> None:
    """Run each benchmark's `main`, which prints its table."""
    arguments = sys.argv[1:]
    named = list(itertools.takewhile(lambda argument: not argument.startswith("-"), arguments))
    options = arguments[len(named) :]
    names = named or BENCHMARKS
    if options and not (len(named) == 1 and named[0] in WITH_OPTIONS):
        sys.exit(f"{options[0]} is an option of one of {', '.join(WITH_OPTIONS)}; name that alone")
    known = (*BENCHMARKS, *BY_REQUEST)
    for name in names:
        if name not in known:
            sys.exit(f"unknown benchmark {name!r}: {did_you_mean(name, known)}")
        import_module(f"benchmarks.{name.replace('-', '_')}").main(*options)


main()
