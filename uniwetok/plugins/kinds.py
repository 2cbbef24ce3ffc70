"""Files of tokenizers that another of our plug-ins takes: refused with its name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.interfaces.errors import UserError

if TYPE_CHECKING:
    from uniwetok.tokenizer.config import Architecture

_ARCHITECTURES: dict[Architecture, tuple[str, str]] = {
    "uniwetok": ("a UniWeTok", "uniwetok"),
    "wetok": ("a convolutional autoencoder of WeTok's and BitDance's kind", "wetok"),
}
"""What weights of an architecture are, and which plug-in takes them."""
_VQGAN = ("a tokenizer of VQGAN's family", "vqgan")


@contextlib.contextmanager
def kind_errors(name: str, path: Path) -> Iterator[None]:
    """Turn weights that a plug-in does not take into one line, with the plug-in that does.

    Args:
        name: The plug-in's.
        path: The weights; inside, `CheckpointError` says that they are none of its own.
    """
    from uniwetok.tensors import CheckpointError

    try:
        yield
    except CheckpointError as error:
        what, takes = _kind_of(path) or ("", name)
        if takes == name:
            raise UserError(f"model {name!r}: {error}") from error
        raise UserError(f"model {name!r}: {path} is {what}: --model {takes}:… takes it") from error


def _kind_of(path: Path) -> tuple[str, str] | None:
    """What the names and shapes of weights tell, and which plug-in takes them."""
    from uniwetok import vqgan
    from uniwetok.tensors import CheckpointError
    from uniwetok.tokenizer import checkpoint

    with contextlib.suppress(CheckpointError):
        config, _ = checkpoint.describe(path)
        return _ARCHITECTURES[config.architecture]
    with contextlib.suppress(CheckpointError):
        vqgan.describe(path)
        return _VQGAN
    return None
