"""The authors' other released tokenizers as the harness sees them: WeTok's and BitDance's."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from harness.interfaces import Argument
from harness.interfaces.errors import UserError
from uniwetok.plugins.tokenizer import Averaged, UniWeTokPlugin, title, user_errors

if TYPE_CHECKING:
    from uniwetok.tokenizer.config import Architecture

Place = Annotated[Path, Argument, "A weights file, a folder, or a repository of the hub."]
InPlace = Annotated[
    str | None,
    "Which file of the folder or repository, where it holds several; .safetensors may be left out.",
]
Revision = Annotated[str | None, "Branch, tag or commit of the repository."]
Precision = Annotated[Literal["float32", "bfloat16", "float16"], "Precision of the networks."]

_SUFFIXES = ("", ".safetensors", ".pt", ".ckpt")


def weights_at(place: Path, file: str | None, revision: str | None) -> Path:
    """Find weights on disk, or in a repository of the hub: no other file of it is fetched.

    Raises:
        CheckpointError: the repository or the file cannot be had, or it must be named.
    """
    from uniwetok.hub import snapshot
    from uniwetok.weights import CheckpointError

    if place.is_file():
        return place
    folder = place
    if not folder.is_dir():
        if file is None:
            raise CheckpointError(
                f"{place}: no such file or folder; of a repository of the hub, say which file: "
                f"{place}?file=NAME"
            )
        config = f"{Path(file).with_suffix('')}_config.json"
        folder = snapshot(str(place), [*(file + suffix for suffix in _SUFFIXES), config], revision)
    if file is None:
        return folder
    for suffix in _SUFFIXES:
        if (folder / f"{file}{suffix}").is_file():
            return folder / f"{file}{suffix}"
    raise CheckpointError(f"{place}: holds no {file}, {file}.safetensors, {file}.pt or {file}.ckpt")


@dataclass(eq=False)
class _RelativePlugin(UniWeTokPlugin):
    """A convolutional autoencoder from a checkpoint.

    Sides that are no multiple of 16 are padded as WeTok's evaluation does. Where the weights do not
    say it, the groups of the codebook are of 8 bits.
    """

    path: Place
    dtype: Precision = "float32"  # type: ignore[assignment]  # Half precision too.
    ema: Averaged = True
    file: InPlace = None
    revision: Revision = None

    _architecture: ClassVar[Architecture] = "wetok"

    @functools.cached_property
    def _weights(self) -> Path:
        if self.revision is not None and self.path.exists():
            raise UserError(
                f"model {self._name!r}: revision={self.revision}, but {self.path} is on disk"
            )
        with user_errors(f"model {self._name!r}"):
            return weights_at(self.path, self.file, self.revision)

    @property
    def _origin(self) -> dict[str, str]:
        if self.path.exists():
            return {}
        # The hub's cache keeps each commit in a folder of its name.
        depth = 0 if self.file is None else len(Path(self.file).parts) - 1
        return {"repository": str(self.path), "commit": self._weights.parents[depth].name}

    @property
    def _title(self) -> str:
        weights = self._weights
        if weights.stem == "WeTok":
            # All of WeTok's files have one name, in folders such as GeneralDomain/compratio24.
            return f"{self._name}:{'-'.join(weights.absolute().parts[-3:-1])}"
        return title(self._name, weights)


class BitDanceTokenizerPlugin(_RelativePlugin):
    """BitDance's binary tokenizers: ae_d16c32, ae_d32c128 and ae_d32c256."""

    _name = "bitdance-tokenizer"


class WeTokPlugin(_RelativePlugin):
    """WeTok's tokenizers, released or trained here."""

    _name = "wetok"
