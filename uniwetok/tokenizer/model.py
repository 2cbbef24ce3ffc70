"""The UniWeTok autoencoder: images to binary codes and back."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from uniwetok.files import write_json
from uniwetok.publishing import Published
from uniwetok.tensors import (
    CONFIG_FILE,
    SHARDS,
    WEIGHTS_FILE,
    CheckpointError,
    shapes,
    write_tensors,
)
from uniwetok.tokenizer import checkpoint, inputs, quantizer
from uniwetok.tokenizer.config import UniWeTokConfig
from uniwetok.tokenizer.decoder import Decoder
from uniwetok.tokenizer.encoder import Encoder
from uniwetok.tokenizer.inputs import Generators
from uniwetok.weights import LoadReport, Weights, listing
from uwt_images.graphs import Graphs
from uwt_images.hub import HubError, snapshot


class UniWeTok(nn.Module, Published):
    """Image tokenizer with a codebook of 2^128, and its generative decoder.

    The methods here are for inference and record no gradients; training calls the differentiable
    ``encoder`` and ``decoder``. Names and shapes of the weights are those of the released code.

    Attributes:
        config: the sizes it was built with.
        encoder: image to latents.
        decoder: codes and noise to image.
        report: what ``from_checkpoint`` or ``from_pretrained`` loaded, else None.
    """

    _graphs: Graphs | None = None

    def __init__(self, config: UniWeTokConfig | None = None) -> None:
        super().__init__()
        self.config = config or UniWeTokConfig()
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)
        self.report: LoadReport | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Floating dtype of the weights, to which inputs are converted."""
        return self.encoder.conv_in.weight.dtype

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.encoder.conv_in.weight.device

    def record(self) -> Self:
        """Start encoder and decoder as one CUDA graph each, where the network is on a GPU.

        Results are the same to the bit. Hooks of their modules are not called then.
        """
        self._graphs = Graphs()
        return self

    def _run(self, name: str, module: nn.Module, *inputs: Tensor | None) -> Tensor:
        if self._graphs is None:
            result: Tensor = module(*inputs)
        else:
            result = self._graphs.run(name, module, *inputs)
        return result

    @torch.no_grad()
    def latents(self, x: Tensor) -> Tensor:
        """Encode images to the encoder's output, before the sign.

        Sides that are not multiples of 32 are padded symmetrically with zeros, mid-grey, as the
        released evaluation at original resolution does to 16, and so does a WeTok here.

        Args:
            x: (batch, 3, H, W) floating in [-1, 1], H and W at least 64.

        Returns:
            (batch, 128, ceil(H / 32), ceil(W / 32)), in (-1, 1) with SigLu.

        Raises:
            TypeError: ``x`` is not a floating tensor.
            ValueError: ``x`` has another shape, or a side below 64.
        """
        inputs.check_images(x, self.config)
        padded = inputs.pad(x.to(self.dtype), self.config.padding)
        return self._run("encoder", self.encoder, padded)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Encode images to binary codes.

        Args:
            x: as for ``latents``.

        Returns:
            (batch, 128, ceil(H / 32), ceil(W / 32)) floating, +1 or -1.

        Raises:
            TypeError: as for ``latents``.
            ValueError: as for ``latents``, or an image's latents are not finite.
        """
        latents = self.latents(x)
        quantizer.check_finite(quantizer.finite_rows(latents), "the encoder")
        return quantizer.quantize(latents)

    @torch.no_grad()
    def embed(self, x: Tensor) -> Tensor:
        """Encode images to their sequence of binary tokens, row-major.

        Args:
            x: as for ``latents``.

        Returns:
            (batch, tokens, 128) floating, +1 or -1.

        Raises:
            TypeError: as for ``latents``.
            ValueError: as for ``latents``.
        """
        return self.encode(x).flatten(2).mT

    @torch.no_grad()
    def decode(
        self,
        codes: Tensor,
        noise: Tensor | None = None,
        generator: Generators | None = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Decode codes to images.

        A generative decoder also takes standard normal noise, shaped as the codes. Unless given,
        the noise is drawn on the CPU one sample after the other, so that it depends on neither
        batch size nor device. A decoder that is not generative draws nothing.

        Args:
            codes: (batch, 128, h, w) floating, +1 or -1, h and w at least 2.
            noise: the noise itself, shaped as ``codes``.
            generator: what draws the noise instead: a CPU generator, or one for each sample. With
                neither, torch's global CPU generator does.
            size: height and width of the image that was encoded, to crop its padding away.

        Returns:
            (batch, 3, 32 h, 32 w), or of ``size``. Nominally in [-1, 1]; callers clamp.

        Raises:
            TypeError: ``codes`` or ``noise`` is not a floating tensor.
            ValueError: a shape, the size, or the generators do not fit the codes, or there is noise
                for a decoder that is not generative.
        """
        inputs.check_codes(codes, self.config)
        inputs.check_grid((codes.shape[2], codes.shape[3]), size, self.config)
        if noise is not None:
            if generator is not None:
                raise ValueError("give noise or a generator, not both")
            if not self.config.generative:
                raise ValueError("this decoder is not generative and takes no noise")
        elif self.config.generative:
            noise = inputs.draw_noise(codes, generator)
        if noise is not None:
            inputs.check_noise(noise, codes)
            noise = noise.to(self.device, self.dtype)
        images = self._run("decoder", self.decoder, codes.to(self.dtype), noise)
        return images if size is None else inputs.crop(images, size, self.config.padding)

    @torch.no_grad()
    def reconstruct(
        self, x: Tensor, noise: Tensor | None = None, generator: Generators | None = None
    ) -> Tensor:
        """Encode and decode images.

        Args:
            x: as for ``latents``.
            noise: as for ``decode``.
            generator: as for ``decode``.

        Returns:
            Tensor of the size of ``x``, nominally in [-1, 1]; callers clamp.

        Raises:
            TypeError: as for ``latents`` and ``decode``.
            ValueError: as for ``latents`` and ``decode``.
        """
        codes = self.encode(x)
        return self.decode(codes, noise, generator, size=(x.shape[2], x.shape[3]))

    def indices(self, codes: Tensor) -> Tensor:
        """Give the index of every group of every token, least significant bit first.

        Args:
            codes: (batch, 128, h, w) floating, +1 or -1.

        Returns:
            (batch, h, w, 16) int64 in 0 .. 255.

        Raises:
            TypeError: ``codes`` is not a floating tensor.
            ValueError: ``codes`` has another shape, or a value that is neither +1 nor -1.
        """
        inputs.check_codes(codes, self.config)
        return quantizer.codes_to_indices(codes, self.config.groups)

    def pack(self, codes: Tensor) -> list[bytes]:
        """Pack codes into 16 bytes a token, tokens row-major; byte k is the index of group k.

        Args:
            codes: (batch, 128, h, w) floating, +1 or -1.

        Returns:
            One ``bytes`` a sample. Where groups are not of 8 bits, the bits are packed all the
            same, eight channels a byte, and the last byte of a token is padded with zero bits.

        Raises:
            TypeError: ``codes`` is not a floating tensor.
            ValueError: ``codes`` has another shape, or a value that is neither +1 nor -1.
        """
        inputs.check_codes(codes, self.config)
        return quantizer.pack(codes)

    def unpack(self, packed: Sequence[bytes], grid: tuple[int, int]) -> Tensor:
        """Invert ``pack``.

        Args:
            packed: one ``bytes`` a sample.
            grid: rows and columns of tokens.

        Returns:
            (batch, 128, rows, columns) +1 or -1, in the dtype and on the device of the model.

        Raises:
            TypeError: a sample is not bytes.
            ValueError: a sample's length does not fit the grid.
        """
        codes = quantizer.unpack(packed, grid, self.config.latent_channels)
        return codes.to(self.device, self.dtype)

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, config: UniWeTokConfig | None = None, ema: bool = True
    ) -> Self:
        """Load weights from a file or folder, without running any code it may hold.

        Args:
            path: a Lightning or plain torch checkpoint, a ``.safetensors`` file, or a folder with
                ``model.safetensors`` (from ``save_pretrained``) or ``ae.safetensors`` (released).
                The names of the weights tell WeTok's and BitDance's autoencoders from UniWeTok's.
            config: the sizes. If None, they are read from the ``config.json`` or ``ae_config.json``
                beside a ``.safetensors`` file (``NAME_config.json`` beside ``NAME.safetensors``),
                or else inferred from the weights, which assumes heads of 64 channels, groups of 8
                bits and UniWeTok's SigLu.
            ema: prefer the moving averages of a training checkpoint to its raw weights.

        Returns:
            The model on the CPU, in float32 and evaluation mode; see its ``report``.

        Raises:
            CheckpointError: the file is absent, damaged, unsafe, or does not fit.
        """
        weights_path, config_path = checkpoint.locate(path)
        weights = Weights(weights_path)
        inferred = checkpoint.infer_config(weights.shapes)
        read = functools.partial(checkpoint.read_config, inferred=inferred)
        sizes, source = checkpoint.find_config(weights_path, config_path, read, inferred, config)
        with torch.device("meta"):
            model = cls(sizes)
        expected = shapes(model.state_dict())
        if unfit := weights.faults(expected, ema=ema):
            hint = cls._fitting_config(weights, inferred, sizes, ema=ema)
            raise CheckpointError(f"{weights_path}: {listing(unfit)}. {hint}")
        assumed = f"groups={sizes.groups}, siglu={sizes.siglu}"
        if sizes.architecture == "uniwetok":
            assumed = f"heads={sizes.heads}, {assumed}"
        model.report = weights.give(model, source, assumed, ema=ema)
        return model.eval()

    @classmethod
    def _fitting_config(
        cls, weights: Weights, inferred: UniWeTokConfig | None, config: UniWeTokConfig, *, ema: bool
    ) -> str:
        """Say with which configuration, if any, the weights would fit."""
        if inferred is None or inferred.differences(config) == {}:
            return "The file is incomplete, or not a UniWeTok's"
        with torch.device("meta"):
            expected = shapes(cls(inferred).state_dict())
        if weights.faults(expected, ema=ema):
            return "No other configuration fits either: the file is incomplete or not a UniWeTok's"
        changes = ", ".join(f"{k}={v}" for k, v in inferred.differences(config).items())
        return f"It fits a configuration with {changes} (heads, groups and siglu are assumed)"

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, revision: str | None = None) -> Self:
        """Load from a local folder or from a repository of the Hugging Face hub.

        Args:
            name_or_path: a folder as for ``from_checkpoint``, or a repository "owner/name" that
                holds the same files.
            revision: branch, tag or commit of the repository.

        Returns:
            As ``from_checkpoint``.

        Raises:
            CheckpointError: the repository cannot be had, or as for ``from_checkpoint``.
        """
        if Path(name_or_path).exists():
            return cls.from_checkpoint(name_or_path)
        wanted = sorted({name for files in checkpoint.FOLDER_LAYOUTS for name in files} | {SHARDS})
        try:
            folder = snapshot(str(name_or_path), wanted, revision)
        except HubError as error:
            raise CheckpointError(str(error)) from error
        return cls.from_checkpoint(folder)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json``, as ``from_pretrained`` reads them."""
        folder = Path(folder)
        write_tensors(folder / WEIGHTS_FILE, self.state_dict())
        write_json(folder / CONFIG_FILE, self.config.to_dict())


def encoder_digest(tokenizer: UniWeTok) -> str:
    """SHA-256 of what codes depend on: the encoder's weights and the tokenizer's configuration."""
    # Codes do not depend on whether the decoder draws.
    config = tokenizer.config.to_dict()
    config.pop("generative", None)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, weight in sorted(tokenizer.encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().float().cpu().contiguous().numpy().data)
    return digest.hexdigest()
