"""What UniWeTok offers to the harness; the only file here that knows it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.digests import DigestCache
from harness.errors import UserError
from harness.interfaces import Code
from harness.types import Codebook, ModelCard, digest_of

if TYPE_CHECKING:
    from torch import Tensor

    from uniwetok.tokenizer import UniWeTok

DTYPES = ("float32", "bfloat16")


class TokenizerPlugin:
    """A network that is at hand, as the harness's `VisualTokenizer` sees it.

    Args:
        network: In evaluation mode, on its device, in the precision it is to work in.
    """

    def __init__(self, network: UniWeTok) -> None:
        self._network = network

    def encode(self, images: Tensor) -> list[Code]:
        """Encode float32 images (B, 3, H, W) in [-1, 1]."""
        network = self._network
        codes = network.encode(images.to(network.device, network.dtype))
        height, width = images.shape[2:]
        return [Code(payload, height, width) for payload in network.pack(codes)]

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode codes of one size to float32; one noise stream a seed."""
        import torch

        network = self._network
        height, width = codes[0].height, codes[0].width
        step = network.config.downsample
        grid = (-(-height // step), -(-width // step))
        signs = network.unpack([code.payload for code in codes], grid)
        noise = [torch.Generator().manual_seed(seed) for seed in seeds]
        return network.decode(signs, generator=noise, size=(height, width)).float()


class UniWeTokPlugin:
    """The UniWeTok tokenizer from a checkpoint: `uniwetok:PATH[?dtype=bfloat16][&ema=false]`.

    Args:
        argument: A Lightning checkpoint, a .safetensors file, or a folder with one.
        dtype: Precision of the network: 'float32' or 'bfloat16'.
        ema: 'true' takes averaged weights where a checkpoint has them, 'false' the raw ones.
    """

    def __init__(
        self, argument: str | None = None, dtype: str = "float32", ema: str = "true"
    ) -> None:
        if argument is None:
            raise UserError(
                "model 'uniwetok' needs a checkpoint: --model uniwetok:PATH "
                "(a Lightning .ckpt, a .safetensors file or a folder)"
            )
        if dtype not in DTYPES:
            raise UserError(f"uniwetok: dtype={dtype} is not one of {', '.join(DTYPES)}")
        if ema not in {"true", "false"}:
            raise UserError(f"uniwetok: ema={ema} is neither true nor false")
        self._path = argument
        self._dtype = dtype
        self._ema = ema == "true"

    @functools.cached_property
    def card(self) -> ModelCard:
        """Identity from the files' bytes and the sizes they were read with."""
        from uniwetok.tokenizer import checkpoint

        network = self._network
        cache = DigestCache()
        files = [path for path in checkpoint.locate(self._path) if path is not None]
        config = network.config
        return ModelCard(
            name="uniwetok",
            label=self._label,
            config={**config.to_dict(), "dtype": self._dtype, "ema": self._ema},
            weights_sha256=digest_of([cache.of_file(path) for path in files]),
            parameters=sum(tensor.numel() for tensor in network.parameters()),
            codebook=Codebook(groups=config.groups, bits_per_group=config.bits_per_group),
        )

    @property
    def _label(self) -> str:
        options = [f"dtype={self._dtype}"] if self._dtype != DTYPES[0] else []
        options += [] if self._ema else ["ema=false"]
        query = "?" + "&".join(options) if options else ""
        return f"uniwetok:{Path(self._path).stem}{query}"

    @functools.cached_property
    def _network(self) -> UniWeTok:
        from uniwetok.tokenizer import CheckpointError, UniWeTok

        try:
            return UniWeTok.from_checkpoint(self._path, ema=self._ema)
        except CheckpointError as error:
            raise UserError(f"model 'uniwetok': {error}") from error

    def load(self, device: str) -> None:
        """Build the network and move it to the device."""
        import torch

        network = self._network.eval().to(device, getattr(torch, self._dtype))
        self._tokenizer = TokenizerPlugin(network)

    def encode(self, images: Tensor) -> list[Code]:
        """Encode float32 images (B, 3, H, W) in [-1, 1]: 16 bytes for each 32x32 pixels."""
        return self._tokenizer.encode(images)

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode codes of one size; the decoder's noise comes from the seeds."""
        return self._tokenizer.decode(codes, seeds)
