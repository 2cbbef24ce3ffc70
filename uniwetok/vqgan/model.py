"""A tokenizer of VQGAN's family: images to codes of a codebook, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uniwetok.tokenizer.quantizer import check_finite, finite_rows
from uniwetok.vqgan.autoencoder import Decoder, Encoder, Levels
from uniwetok.vqgan.codebooks import Codebook, Scales, Search, Signs
from uniwetok.vqgan.maskgit import MaskGITDecoder, MaskGITEncoder
from uniwetok.weights import LoadReport


@dataclass(frozen=True)
class VQGANConfig:
    """Sizes of a tokenizer of VQGAN's family."""

    encoder: Levels
    decoder: Levels
    size: int
    """Entries of the codebook."""
    channels: int
    """Of an entry."""
    search: Search
    kernel: int = 1
    """Side of the convolutions before and after the codebook; 0 for none."""
    convolutions: int = 0
    """Those that scales share, where the search goes scale by scale."""
    maskgit: bool = False
    """Whether encoder and decoder are MaskGIT's, of images in [0, 1]."""

    @property
    def downsample(self) -> int:
        """Pixels of a side for one of the latents."""
        return int(2 ** (len(self.encoder.widths) - 1))


class VQGAN(nn.Module):
    """Images in [-1, 1] to codes, and back; for inference, without gradients.

    Attributes:
        config: the sizes it was built with.
        report: what was loaded, else None.
    """

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = (MaskGITEncoder if config.maskgit else Encoder)(config.encoder)
        self.decoder = (MaskGITDecoder if config.maskgit else Decoder)(config.decoder)
        self.quantize: Codebook | Signs
        if config.search == "signs":
            self.quantize = Signs(config.channels)
        elif config.search == "scales":
            self.quantize = Scales(config.size, config.channels, config.convolutions)
        else:
            self.quantize = Codebook(config.size, config.channels, config.search)
        self.quant_conv = _mixing(config.encoder.channels, config.channels, config.kernel)
        self.post_quant_conv = _mixing(config.channels, config.decoder.channels, config.kernel)
        self.report: LoadReport | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Floating dtype of the weights, to which images are converted."""
        return self.encoder.conv_in.weight.dtype

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.encoder.conv_in.weight.device

    def grid(self, height: int, width: int) -> tuple[int, ...]:
        """Shape of an image's codes: rows and columns, or all tokens of VAR's scales.

        Raises:
            ValueError: a side is no multiple of ``config.downsample``, or the model has no scales
                for this size.
        """
        factor = self.config.downsample
        if height % factor or width % factor:
            raise ValueError(f"{width}x{height} pixels are no multiples of {factor}: pad the image")
        return self.quantize.grid(height // factor, width // factor)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Encode images (batch, 3, H, W) floating in [-1, 1], sides as ``grid`` takes them.

        Returns:
            Codes int64 in 0 .. size - 1, (batch, *grid(H, W)).

        Raises:
            ValueError: as ``grid``, or an image's latents are not finite.
        """
        self.grid(*images.shape[2:])
        pixels = (images + 1) / 2 if self.config.maskgit else images
        z = self.quant_conv(self.encoder(pixels.to(self.device, self.dtype)))
        check_finite(finite_rows(z), "the encoder")
        return self.quantize.codes(z)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes, as ``encode`` gives them, to images (batch, 3, H, W).

        Images are nominally in [-1, 1], in the dtype of the weights; callers clamp.
        """
        z = self.quantize.latents(codes.to(self.device)).to(self.dtype)
        images: Tensor = self.decoder(self.post_quant_conv(z))
        if self.config.maskgit:
            images = images * 2 - 1
        return images


def _mixing(inputs: int, outputs: int, kernel: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2) if kernel else nn.Identity()
