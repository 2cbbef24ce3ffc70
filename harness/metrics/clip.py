"""OpenAI's CLIP as metrics use it: loaded by open_clip, fed as each published metric feeds it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.data import assets
from harness.metrics.extractors import FeatureExtractor, require_sets

if TYPE_CHECKING:
    import torch

    from harness.metrics.networks import FeatureNetwork

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def load_clip(path: str | os.PathLike[str], device: str) -> Any:
    """A published CLIP in float32, with `encode_image`, `encode_text` and its `visual` tower.

    Args:
        path: OpenAI's file, or a state dict of the same names.
        device: Where it runs.

    Raises:
        ValueError: It is no such file.
    """
    import open_clip

    try:
        return open_clip.load_openai_model(str(path), precision="fp32", device=device).eval()
    except (KeyError, RuntimeError, AttributeError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is none of OpenAI's CLIP files; fetch it again") from error


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """CLIP's input, float32 (B, 3, S, S), of 8-bit pixels of its size."""
    import torch

    mean, std = (torch.tensor(e, device=pixels.device).view(1, 3, 1, 1) for e in (_MEAN, _STD))
    return (pixels.float() / 255 - mean) / std


class ClipFeatures(FeatureExtractor):
    """Embeddings of CLIP ViT-L/14 at 336 pixels as CMMD takes them, of length 1, 768 columns.

    The central square is resized by Pillow's bicubic kernel to 8-bit pixels.
    """

    concurrent = True
    beside_model = True
    output = "clip_336"

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        require_sets(settings)
        self._path = assets.needed("clip-l14-336")
        super().__init__(settings, device)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Digest of the weights."""
        return {"version": 1, "weights": assets.find("clip-l14-336").sha256}

    def build(self) -> FeatureNetwork:
        """Load the image tower."""
        from torch import nn
        from torch.nn import functional

        from harness.metrics.networks import ModuleNetwork
        from harness.metrics.resize import pil_bytes

        tower = load_clip(self._path, self.device).visual

        class Embedding(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.tower = tower

            def forward(self, pixels: torch.Tensor) -> torch.Tensor:
                return functional.normalize(self.tower(pixels), dim=-1)

        def prepare(images: torch.Tensor) -> torch.Tensor:
            return normalised(pil_bytes(images, tower.image_size[0], crop=True))

        return ModuleNetwork(Embedding(), prepare, self.output, self.device)
