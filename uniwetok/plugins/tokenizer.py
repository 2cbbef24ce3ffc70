"""What UniWeTok offers to the harness; the only file here that knows it."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.digests import DigestCache
from harness.interfaces import Code
from harness.interfaces.errors import UserError
from harness.interfaces.types import Codebook, ModelCard, digest_of
from uniwetok.nano import WEIGHTS

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from uniwetok.losses.distillation import PrePostDistillation
    from uniwetok.losses.heads import HeadsCard
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

    Where the distillation's heads lie beside the weights, it embeds images too.

    Args:
        argument: A Lightning checkpoint, a .safetensors file, or a folder with one.
        dtype: Precision of the network: 'float32' or 'bfloat16'.
        ema: 'true' takes averaged weights where a checkpoint has them, 'false' the raw ones.
    """

    _name = "uniwetok"

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
        files += self._head_files
        config = network.config
        return ModelCard(
            name=self._name,
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
        return f"{self._title}{query}"

    @property
    def _title(self) -> str:
        path = Path(self._path)
        # Training writes every run's weights into a folder of this name.
        name = path.resolve().parent.name if path.name == "model" else path.stem
        return f"{self._name}:{name}"

    @property
    def _folder(self) -> Path:
        path = Path(self._path)
        return path if path.is_dir() else path.parent

    @property
    def _head_files(self) -> list[Path]:
        from uniwetok.losses.heads import CARD_FILE, WEIGHTS_FILE

        files = [self._folder / name for name in (WEIGHTS_FILE, CARD_FILE)]
        return files if all(path.is_file() for path in files) else []

    @functools.cached_property
    def _heads(self) -> tuple[PrePostDistillation, HeadsCard]:
        from uniwetok.losses.heads import load_heads
        from uniwetok.tokenizer import CheckpointError

        try:
            heads, card = load_heads(self._folder)
        except CheckpointError as error:
            raise UserError(f"model 'uniwetok': {error}") from error
        if card.channels != (channels := self._network.config.latent_channels):
            raise UserError(
                f"model 'uniwetok': the heads in {self._folder} take tokens of {card.channels} "
                f"bits, the tokenizer's have {channels}: fetch both again from one place"
            )
        return heads, card

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
        if self._head_files:
            self._heads[0].to(device)

    def encode(self, images: Tensor) -> list[Code]:
        """Encode float32 images (B, 3, H, W) in [-1, 1]: 16 bytes for each 32x32 pixels."""
        return self._tokenizer.encode(images)

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode codes of one size; the decoder's noise comes from the seeds."""
        return self._tokenizer.decode(codes, seeds)

    @property
    def embedding_space(self) -> str:
        """Name of the teacher, and of its weights where it has several; `UserError` without one."""
        card = self._heads[1]
        return card.teacher if card.tag is None else f"{card.teacher}/{card.tag}"

    def embeddings(self, images: Tensor) -> dict[str, np.ndarray]:
        """Embed float32 images (B, 3, H, W) in [-1, 1] by every head that was trained."""
        import torch

        from uniwetok.tokenizer.quantizer import quantize

        network, heads = self._network, self._heads[0]
        latents = network.latents(images.to(network.device, network.dtype)).float()
        sides = {"pre": (heads.pre, latents), "post": (heads.post, quantize(latents))}
        with torch.no_grad():
            return {
                name: head(tokens).cpu().numpy()
                for name, (head, tokens) in sides.items()
                if head is not None
            }


class NanoPlugin(UniWeTokPlugin):
    """The small tokenizer that ships with this package: `uniwetok-nano[?dtype=bfloat16]`.

    Args:
        dtype: Precision of the network: 'float32' or 'bfloat16'.
    """

    _name = "uniwetok-nano"

    def __init__(self, dtype: str = "float32") -> None:
        super().__init__(str(WEIGHTS), dtype)

    @property
    def _title(self) -> str:
        return self._name


def number(model: str, option: str, text: str) -> float:
    """Read an option as a finite number of at least 0; raise `UserError` for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"{model}: {option}={text} must be a number of at least 0")
    return value


def whole(model: str, option: str, text: str) -> int:
    """Read an option as a whole number of at least 1; raise `UserError` for anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"{model}: {option}={text} must be a whole number of at least 1")
    return int(text)
