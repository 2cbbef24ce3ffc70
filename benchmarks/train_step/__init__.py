"""A step of the tokenizer's training beside the released modules', in one run.

Of UniWeTok's training nothing is released but the autoencoder; its step is composed of that, from a
checkout of shallowdream204/BitDance, and of quantizer, losses, discriminator and average of
zhuangshaobin/WeTok, in the order of WeTok's training step.
"""

from __future__ import annotations

from benchmarks.process import run_in_one_thread
from benchmarks.train_step.options import parse


def main(*options: str) -> None:
    """Print the table.

    Raises:
        SystemExit: an option is missing or impossible.
    """
    parse(options)
    run_in_one_thread("benchmarks.train_step", options)
