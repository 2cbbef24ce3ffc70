"""What is measured, as given on the command line; imports no torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from uniwetok.tokenizer.config import UniWeTokConfig

Row = Literal["whole", "without-lpips", "without-adversarial"]
SIZES = {
    "tiny": UniWeTokConfig(
        channels=32, num_res_blocks=1, attention_blocks=2, heads=4, latent_channels=32, groups=4
    ),
    "small": UniWeTokConfig(channels=64, attention_blocks=4, heads=8),
    "paper": UniWeTokConfig(),
}
IMAGES = (64, 128, 256)
_AUTOENCODER = "modeling/vision_encoder/autoencoder_uni.py"
_LOSSES = "src/WeTok/modules/losses/vqperceptual.py"


@dataclass(frozen=True, kw_only=True)
class Options:
    """One call of the benchmark."""

    bitdance: Path
    """Checkout of the released autoencoder."""
    wetok: Path
    """Checkout of the released quantizer and losses."""
    size: str
    """Of the autoencoder: a key of ``SIZES``."""
    batch: int
    """Images of a step."""
    image: int
    """Pixels along a side."""
    rounds: int
    """Steps of each side that are timed."""
    rows: tuple[Row, ...]
    """Runs that are compared: with all losses, or without one of them."""
    one_at_a_time: bool
    """Hold one side in memory at a time."""


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line.

    Raises:
        SystemExit: an option is missing or impossible; the message says how to fix it.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks train-step",
        description="A training step of the tokenizer beside the released modules'.",
    )
    parser.add_argument(
        "--bitdance", type=Path, required=True, metavar="DIR", help="of shallowdream204/BitDance"
    )
    parser.add_argument(
        "--wetok", type=Path, required=True, metavar="DIR", help="of zhuangshaobin/WeTok"
    )
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--batch", type=int, default=2, metavar="N")
    parser.add_argument("--image", type=int, choices=IMAGES, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", nargs="+", choices=get_args(Row), default=get_args(Row))
    parser.add_argument(
        "--one-at-a-time",
        action="store_true",
        help="rebuild a side for its turn: half the memory; of size paper, some 14 GB",
    )
    given = parser.parse_args(arguments)
    for name in ("batch", "rounds"):
        if getattr(given, name) < 1:
            sys.exit(f"--{name} {getattr(given, name)}: give at least 1")
    return Options(
        bitdance=_checkout(given.bitdance, _AUTOENCODER, "shallowdream204/BitDance"),
        wetok=_checkout(given.wetok, _LOSSES, "zhuangshaobin/WeTok"),
        size=given.size,
        batch=given.batch,
        image=given.image,
        rounds=given.rounds,
        rows=tuple(cast("list[Row]", given.rows)),
        one_at_a_time=given.one_at_a_time,
    )


def _checkout(folder: Path, file: str, repository: str) -> Path:
    if not (folder / file).is_file():
        sys.exit(
            f"{folder} holds no {file}; give a checkout: git clone https://github.com/{repository}"
        )
    return folder.resolve()
