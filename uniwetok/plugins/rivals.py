"""LlamaGen, RAR, VAR and Open-MAGVIT2: other projects' models of classes, for the harness."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from harness.interfaces.errors import UserError
from uniwetok.plugins.codebook_models import FACTOR, CodebookModel, Positive, Scale

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from uniwetok.rivals.sampling import NextTokens, Sizes
    from uniwetok.tensors import Shapes

TopK = Annotated[int, Field(ge=0), "Draw from so many of the likeliest codes; 0 for all."]
TopP = Annotated[
    float, Field(gt=0, le=1), "Draw from the likeliest codes that make up this probability."
]

Temperature = Annotated[
    float | None, Positive, "Of each token's distribution; unless given, the published one."
]


@dataclass(eq=False)
class LlamaGenPlugin(CodebookModel):
    """A class-to-image LlamaGen, B to 3B, on the codes of vq_ds16_c2i.

    Images of 384 pixels are scaled down to 256, as in the authors' evaluation.
    """

    size: Annotated[
        int | None,
        Field(ge=FACTOR, multiple_of=FACTOR),
        "Side of the images that it was trained on, in pixels; unless given, 256, 384 or 512 as "
        "the file's name ends.",
    ] = None
    resize: Annotated[
        int, Field(ge=FACTOR), "Side to which larger images are scaled, in pixels, bicubic."
    ] = 256
    temperature: Annotated[float, Positive, "Of each token's distribution."] = 1.0
    top_k: TopK = 0
    top_p: TopP = 1.0

    _name: ClassVar[str] = "llamagen"
    _released = ("FoundationVision/LlamaGen", "vq_ds16_c2i.pt")
    _options = ("cfg", "temperature", "top_k", "top_p")

    def _sizes_of(self, found: Shapes) -> Sizes:
        from uniwetok.rivals.llamagen import LlamaGenConfig

        named = re.search(r"_(256|384|512)$", self._weights.stem)
        if self.size is None and named is None:
            raise UserError(
                f"model {self._name!r}: neither the weights nor the name of {self._weights} say "
                f"the side of its images: say size=384 or size=256"
            )
        side = self.size or int(named[1] if named else 0)
        return LlamaGenConfig.of(found, self._weights, side // FACTOR)

    @property
    def _side(self) -> int:
        return min(self._drawn, self.resize)


@dataclass(eq=False)
class RARPlugin(CodebookModel):
    """RAR-B, L, XL or XXL, on the codes of MaskGIT's VQGAN.

    Guidance grows over the tokens, 1 + (cfg - 1) (1 - cos(pi x^power)) / 2 at the share x.
    """

    power: Annotated[
        float | None,
        Field(ge=0, allow_inf_nan=False),
        "How late guidance grows; 0 is constant. Unless given, the published one.",
    ] = None
    temperature: Temperature = None

    _name: ClassVar[str] = "rar"
    _released = ("fun-research/TiTok", "maskgit-vqgan-imagenet-f16-256.bin")
    _options = ("cfg", "power", "temperature")

    def _sizes_of(self, found: Shapes) -> Sizes:
        from uniwetok.rivals.rar import RARConfig

        return RARConfig.of(found, self._weights)


@dataclass(eq=False)
class VARPlugin(CodebookModel):
    """VAR-d16 to d30, which draws maps of 1 to 16 tokens a side, on the codes of its VQVAE.

    Guidance grows over the maps, from 1 to 1 + cfg.
    """

    cfg: Annotated[
        float | None,
        Field(ge=0, allow_inf_nan=False),
        "Guidance of the last map, as 1 + cfg; 0 is none. Unless given, the published one.",
    ] = None
    top_k: TopK = 900
    top_p: TopP = 0.96

    _name: ClassVar[str] = "var"
    _released = ("FoundationVision/var", "vae_ch160v4096z32.pth")
    _options = ("cfg", "top_k", "top_p")

    def _sizes_of(self, found: Shapes) -> Sizes:
        from uniwetok.rivals.var import VARConfig

        return VARConfig.of(found, self._weights)

    def _drawing(self, network: Any) -> NextTokens:
        from uniwetok.rivals.var import Pyramid
        from uniwetok.vqgan.codebooks import Scales

        quantize = self._decoder.quantize
        if not isinstance(quantize, Scales):
            raise UserError(
                f"{self._name}: the tokenizer {self._tokenizer_file} has no maps: give VAR's own"
            )
        return Pyramid(network, quantize)


@dataclass(eq=False)
class OpenMAGVIT2Plugin(CodebookModel):
    """Open-MAGVIT2-B, L or XL, which draws 6 bits of a code of its tokenizer, then the other 12.

    `cfg` and `temperature` are of the first bits, `cfg_post` and `temperature_post` of the others.
    """

    cfg_post: Scale = None
    temperature: Temperature = None
    temperature_post: Temperature = None

    _name: ClassVar[str] = "open-magvit2"
    _released = ("TencentARC/Open-MAGVIT2-Tokenizer-256-resolution", "imagenet_256_L.ckpt")
    _options = ("cfg", "cfg_post", "temperature", "temperature_post")

    def _sizes_of(self, found: Shapes) -> Sizes:
        from uniwetok.rivals.open_magvit2 import OpenMAGVIT2Config

        return OpenMAGVIT2Config.of(found, self._weights)

    def _described(self, path: Path) -> tuple[int, int, dict[str, Any]]:
        from uniwetok.tokenizer import checkpoint

        config, _ = checkpoint.describe(path)
        return int(2**config.latent_channels), config.downsample, config.to_dict()

    def _decoder_of(self, path: Path) -> Any:
        from uniwetok.tokenizer import UniWeTok

        # Raw weights, as the released configurations of the transformers have.
        return UniWeTok.from_checkpoint(path, ema=False)

    def _codes_of(self, drawn: Tensor) -> Tensor:
        sizes: Any = self._sizes
        codes: Tensor = drawn[:, ::2] + (drawn[:, 1::2] << sizes.bits[0])
        return codes

    def _images_of(self, codes: Tensor) -> Tensor:
        import torch

        side, bits = self._sizes.side, self._sizes.codes.bit_length() - 1
        places = torch.arange(bits).view(-1, 1, 1)
        signs = (codes.view(-1, 1, side, side) >> places & 1) * 2.0 - 1
        images: Tensor = self._decoder.decode(signs.to(self._device))
        return images
