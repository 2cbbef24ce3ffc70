"""Put trained nano models into the package: `python -m benchmarks.nano.ship KIND RUN/model`."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.nano.classes import read_table
from uniwetok.ar import BitDance
from uniwetok.ar.checkpoint import NAMES_FILE, TOKENIZER_FILE
from uniwetok.nano import AR_WEIGHTS, WEIGHTS
from uniwetok.tensors import CheckpointError
from uniwetok.tokenizer import UniWeTok
from uniwetok.tokenizer.model import encoder_digest

if TYPE_CHECKING:
    from torch import nn

LARGEST = 16_000_000
"""Bytes of the tokenizer that may ship."""
LARGEST_AR = 8_000_000
"""Bytes of the class-to-image model that may ship."""


def ship(model: Path, folder: Path) -> int:
    """Write a tokenizer's weights, rounded to float16, and its sizes; return the weights' bytes.

    Raises:
        CheckpointError: the model cannot be read.
        ValueError: it is too large to ship.
    """
    tokenizer = UniWeTok.from_pretrained(model).half()
    size = _checked_bytes(tokenizer, model, LARGEST)
    tokenizer.save_pretrained(folder)
    return size


def ship_ar(model: Path, folder: Path) -> int:
    """Write a class-to-image model's weights likewise, and the names of its classes.

    Raises:
        CheckpointError: the model cannot be read.
        ValueError: it is too large to ship, was trained on another tokenizer than the one that
            ships, or on other classes than those of `benchmarks.nano.classes`.
    """
    network, names = BitDance.from_checkpoint(model).half(), list(read_table())
    size = _checked_bytes(network, model, LARGEST_AR)
    note = model / TOKENIZER_FILE
    trained_on = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    if trained_on.get("encoder_sha256") != encoder_digest(UniWeTok.from_pretrained(WEIGHTS)):
        raise ValueError(f"{model}: was not trained on the codes of the tokenizer in {WEIGHTS}")
    if network.config.classes != len(names):
        raise ValueError(f"{model}: has {network.config.classes} classes, not {len(names)}")
    network.save_pretrained(folder)
    shutil.copyfile(note, folder / TOKENIZER_FILE)
    (folder / NAMES_FILE).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return size


def _checked_bytes(network: nn.Module, model: Path, most: int) -> int:
    size: int = sum(weight.nbytes for weight in network.state_dict().values())
    if size > most:
        raise ValueError(
            f"{model}: {size / 1e6:.1f} MB in float16, at most {most / 1e6:.1f} may ship"
        )
    return size


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Put a trained nano model into the package.")
    parser.add_argument("kind", choices=("tokenizer", "ar"), help="as `uwt-eval train` has it")
    parser.add_argument("model", type=Path, help="RUN/model of `uwt-eval train`")
    arguments = parser.parse_args()
    write, folder = {"tokenizer": (ship, WEIGHTS), "ar": (ship_ar, AR_WEIGHTS)}[arguments.kind]
    try:
        size = write(arguments.model, folder)
    except (CheckpointError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")
    print(f"{folder}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
