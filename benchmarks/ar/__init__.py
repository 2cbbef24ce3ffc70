"""The class-to-image model beside the released one, in one run: sampling and training steps.

The peer is `imagenet_gen` of a checkout of shallowdream204/BitDance, at the same sizes and with the
same weights. Also how much memory sampling takes, and what a sample owes to its batch.
"""

from __future__ import annotations

from benchmarks.ar.options import parse
from benchmarks.process import run_in_one_thread


def main(*options: str) -> None:
    """Print the tables.

    Raises:
        SystemExit: an option is missing or impossible.
    """
    parse(options)
    run_in_one_thread("benchmarks.ar", options)
