"""Put a trained nano tokenizer into the package: `python -m uniwetok.nano.ship RUN/model`."""

from __future__ import annotations

import argparse
from pathlib import Path

from uniwetok.tokenizer import CheckpointError, UniWeTok

LARGEST = 12_000_000
"""Bytes that may ship."""


def ship(model: Path, folder: Path) -> int:
    """Write a model's weights, rounded to float16, and its sizes; return the bytes of the weights.

    Raises:
        CheckpointError: the model cannot be read.
        ValueError: it is too large to ship.
    """
    tokenizer = UniWeTok.from_pretrained(model).half()
    size: int = sum(weight.nbytes for weight in tokenizer.state_dict().values())
    if size > LARGEST:
        raise ValueError(
            f"{model}: {size / 1e6:.1f} MB in float16, at most {LARGEST / 1e6:.1f} may ship"
        )
    tokenizer.save_pretrained(folder)
    return size


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="RUN/model of `uwt-eval train tokenizer`")
    folder = Path(__file__).parent / "weights"
    try:
        size = ship(parser.parse_args().model, folder)
    except (CheckpointError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")
    print(f"{folder}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
