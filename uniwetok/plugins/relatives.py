"""WeTok and BitDance, the authors' other released models, as the harness sees them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from harness.interfaces import Argument
from harness.interfaces.errors import UserError
from uniwetok.plugins.ar import UniWeTokAR
from uniwetok.plugins.mllm import Side, UniWeTokGen
from uniwetok.plugins.places import InPlace, Placed, Revision, fetch, weights_at
from uniwetok.plugins.tokenizer import DType, UniWeTokPlugin, user_errors

if TYPE_CHECKING:
    from uniwetok.tokenizer.config import Architecture

Place = Annotated[Path, Argument, "A weights file, a folder, or a repository of the hub."]
Precision = Annotated[Literal["float32", "bfloat16", "float16"], "Precision of the networks."]


@dataclass(eq=False)
class _RelativePlugin(UniWeTokPlugin):
    """A convolutional autoencoder from a checkpoint.

    Sides that are no multiple of 16 are padded as WeTok's evaluation does. Where the weights do not
    say it, the groups of the codebook are of 8 bits.
    """

    path: Place
    dtype: Precision = "float32"  # type: ignore[assignment]  # Half precision too.

    _architecture: ClassVar[Architecture] = "wetok"

    @property
    def _title(self) -> str:
        weights = self._weights
        if weights.stem == "WeTok" and weights.is_file():
            # All of WeTok's files have one name, in folders such as GeneralDomain/compratio24.
            return f"{self._name}:{'-'.join(weights.absolute().parts[-3:-1])}"
        return super()._title


class BitDanceTokenizerPlugin(_RelativePlugin):
    """BitDance's binary tokenizers: ae_d16c32, ae_d32c128 and ae_d32c256."""

    _name = "bitdance-tokenizer"


class WeTokPlugin(_RelativePlugin):
    """WeTok's tokenizers, released or trained here."""

    _name = "wetok"


PUBLISHED_GUIDANCE = {
    "bitdance-b": 3.2,
    "bitdance-b-4x": 3.9,
    "bitdance-b-16x": 6.1,
    "bitdance-l": 4.0,
    "bitdance-h": 4.55,
}
"""Of the released models, by their sizes' names; from the README beside their code."""
_TOKENIZER = "ae_d16c32"
"""What all of them were trained on, and lies beside them."""


@dataclass(eq=False)
class BitDancePlugin(Placed, UniWeTokAR):
    """A class-to-image BitDance on BitDance's 16x codes: B, L and H, 1, 4 or 16 tokens a step.

    The tokenizer is the ae_d16c32 beside the weights. Unless given, guidance is the published one
    of the model's size.
    """

    path: Place
    tokenizer: Annotated[
        Path | None, "Weights of the tokenizer; unless given, the ae_d16c32 beside the model's."
    ] = None
    cfg: Annotated[
        float | None,
        Field(ge=0, allow_inf_nan=False),
        "Weight of classifier-free guidance, at its largest; 1 is none. Unless given, the one "
        "published for the model's size.",
    ] = None  # type: ignore[assignment]  # None is the published one.
    file: InPlace = None
    revision: Revision = None

    _name: ClassVar[str] = "bitdance"

    def __post_init__(self) -> None:
        """Leave everything that needs the files for later: they may have to be fetched."""

    @property
    def _scale(self) -> float:
        from uniwetok.ar import PRESETS

        if self.cfg is not None:
            return self.cfg
        for name, scale in PUBLISHED_GUIDANCE.items():
            if not self._config.differences(PRESETS[name]):
                return scale
        raise UserError(
            f"model {self._name!r}: {self._weights} is of none of the released sizes, whose "
            f"guidance is published: say cfg=…"
        )

    @functools.cached_property
    def _tokenizer_files(self) -> Path:
        if self.tokenizer is not None:
            return self.tokenizer
        try:
            if self.path.is_file():
                return weights_at(self.path.parent, _TOKENIZER, None)
            return self._placed(_TOKENIZER)
        except UserError as error:
            raise UserError(f"{error}; give the tokenizer: tokenizer=PATH") from error


SIZES = (
    *((2048, 512), (1920, 512), (1536, 640), (1280, 768), (1152, 896), (1024, 1024)),
    *((896, 1152), (768, 1280), (640, 1536), (512, 1920), (512, 2048)),
    *((1024, 256), (896, 256), (640, 384), (512, 512), (384, 640), (256, 896), (256, 1024)),
)
"""(height, width) that the released text-to-image pipeline draws; BitDance-14B-64x is for the first
eleven, of about 1024x1024 pixels."""
_LARGE = 1024 * 768
"""Below the areas of the larger sizes, above those of the smaller."""
_WHOLE = ("*.json", "*.safetensors", "*.txt", "*.jinja", "*.model")


@dataclass(eq=False)
class BitDanceT2IPlugin(UniWeTokGen):
    """BitDance-14B, text to image on Qwen3: 16 or 64 tokens at a step, as the folder says.

    Guidance is that of the released DPG run; its GenEval run has cfg=13.
    """

    folder: Annotated[Path, Argument, "A released folder, or a repository of the hub with one."]
    dtype: DType = "bfloat16"
    height: Side = 1024
    width: Side = 1024
    revision: Revision = None

    _name = "bitdance-t2i"

    def __post_init__(self) -> None:
        """Look at the size alone: the files may have to be fetched."""
        if (self.height, self.width) not in SIZES:
            known = ", ".join(f"{height}x{width}" for height, width in SIZES)
            raise UserError(
                f"{self._name}: no released model draws {self.height}x{self.width} pixels: {known}"
            )

    @functools.cached_property
    def _files(self) -> Path:
        from uniwetok.mllm import checkpoint

        if self.folder.is_dir():
            if self.revision is not None:
                raise UserError(
                    f"{self._name}: revision={self.revision}, but {self.folder} is on disk"
                )
            folder = self.folder
        else:
            folder = fetch(str(self.folder), [*_WHOLE], self.revision)
        with user_errors(self._name):
            config = checkpoint.read_config(folder)
        if config.parallel_tokens == 64 and self.height * self.width < _LARGE:
            raise UserError(
                f"{self._name}: {self.folder} draws 64 tokens at a step, which is released for "
                f"about 1024x1024 pixels alone, not {self.height}x{self.width}"
            )
        return folder

    @property
    def _model(self) -> str:
        return self.folder.resolve().name

    @property
    def _origin(self) -> dict[str, str]:
        if self.folder.is_dir():
            return {}
        return {"repository": str(self.folder), "commit": self._files.name}
