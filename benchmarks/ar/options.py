"""What is measured, as given on the command line; imports no torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from uniwetok.ar.config import PRESETS, BitDanceConfig

Row = Literal["sampling", "training", "memory", "batches"]
SIZES = {
    "tiny": BitDanceConfig(
        width=64, layers=2, heads=2, diffusion_width=64, diffusion_blocks=2, class_tokens=8
    ),
    **{name.removeprefix("uniwetok-"): PRESETS[name] for name in ("uniwetok-b", "uniwetok-l")},
}
_BESIDE_PEER = ("sampling", "training")
_MODEL = "imagenet_gen/src/model.py"


@dataclass(frozen=True, kw_only=True)
class Options:
    """One call of the benchmark."""

    bitdance: Path | None
    """Checkout of the released code; needed by rows that compare with it."""
    size: str
    """A key of ``SIZES``."""
    rows: tuple[Row, ...]
    rounds: int
    """Times that each side is timed."""
    images: int
    """Drawn at a time."""
    steps: int
    """Diffusion steps of a token."""
    cfg: float
    """Guidance."""
    batch: int
    """Images of a training step."""
    compiled: bool
    """Run the released code compiled, as it asks for; takes minutes on a CPU."""


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line.

    Raises:
        SystemExit: an option is missing or impossible; the message says how to fix it.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks ar",
        description="The class-to-image model beside the released one.",
    )
    parser.add_argument("--bitdance", type=Path, metavar="DIR", help="of shallowdream204/BitDance")
    parser.add_argument("--size", choices=SIZES, default="b")
    parser.add_argument("--rows", nargs="+", choices=get_args(Row), default=get_args(Row))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=2, metavar="N", help="drawn at a time")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="of diffusion, a token")
    parser.add_argument("--cfg", type=float, default=3.0)
    parser.add_argument("--batch", type=int, default=4, metavar="N", help="of a training step")
    parser.add_argument("--compiled", action="store_true", help="compile the released code")
    given = parser.parse_args(arguments)
    for name in ("rounds", "images", "steps", "batch"):
        if getattr(given, name) < 1:
            sys.exit(f"--{name} {getattr(given, name)}: give at least 1")
    if not given.cfg > 1:
        sys.exit(f"--cfg {given.cfg:g}: give more than 1, which is where the released guidance is")
    rows = tuple(cast("list[Row]", given.rows))
    if given.bitdance is None and any(row in _BESIDE_PEER for row in rows):
        sys.exit(
            "--bitdance is missing: rows sampling and training need a checkout, "
            "git clone https://github.com/shallowdream204/BitDance"
        )
    if given.bitdance is not None and not (given.bitdance / _MODEL).is_file():
        sys.exit(
            f"{given.bitdance} holds no {_MODEL}; give a checkout: "
            f"git clone https://github.com/shallowdream204/BitDance"
        )
    return Options(**{**vars(given), "rows": rows})
