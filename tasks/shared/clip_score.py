"""CLIPScore (Hessel et al. 2021) of pictures and the prompts that they were drawn of.

Two figures go by its name. The paper's is 2.5 max(cos, 0) of a prompt behind a prefix; torchmetrics
and papers on text-to-image models print 100 times the cosine of the prompt alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data import assets
from harness.interfaces import Columns, Label
from harness.interfaces.errors import Unavailable
from harness.interfaces.observing import Once
from harness.metrics.extractors import shared_network
from harness.metrics.settings import ClipScore
from tasks.shared.prompt_scores import PromptMean, Samples

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from tasks.shared.text_to_image import DrawnImages

_DEFAULT = ClipScore(model="ViT-B-32", prefix="A photo depicts ")
_ASSETS = {"ViT-B-32": "clip-b32", "ViT-L-14": "clip-l14"}
_WEIGHT = 2.5


class ClipScores:
    """Compares every picture with its prompt.

    Args:
        settings: The protocol's settings.
        device: Where CLIP runs.

    Raises:
        Unavailable: The protocol draws no prompts, or weights are missing.
    """

    concurrent = True
    beside_model = True

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        if "images_per_prompt" not in settings:
            raise Unavailable("the protocol draws no prompts", kind="not applicable")
        given = settings.get("clip_score")
        self._chosen = ClipScore(**given) if given else _DEFAULT
        self._asset = _ASSETS[self._chosen.model]
        path = assets.needed(self._asset)
        self._network = shared_network(
            ["clip-score", self.identity, device], lambda: Once(lambda: _Clip(path, device))
        )

    @property
    def identity(self) -> Mapping[str, Any]:
        """Digest of the weights, and the prefix, which a protocol may leave open."""
        weights = assets.find(self._asset).sha256
        return {"version": 1, "weights": weights, "prefix": self._chosen.prefix}

    def observe(self, drawn: DrawnImages[Any]) -> Columns:
        """Columns `clip_score`, at least 0, `clip_cosine`, times 100, and whether a prompt is cut.

        All float64 (B,).
        """
        network = self._network()
        images = network.images(drawn.images)
        prompts = [drawing.prompt for drawing in drawn.drawings]
        plain, prefixed = (
            np.einsum("ij,ij->i", images, network.texts([prefix + each for each in prompts]))
            for prefix in ("", self._chosen.prefix)
        )
        return {
            "clip_score": _WEIGHT * np.maximum(prefixed, 0),
            "clip_cosine": 100 * plain,
            "clip_cut": np.array([network.is_cut(each) for each in prompts], np.float64),
        }


class _Clip:
    """Embeddings of length 1, float64 (B, d); texts are cut after 77 tokens."""

    def __init__(self, path: Path, device: str) -> None:
        import open_clip

        from harness.metrics.clip import load_clip

        self._network = load_clip(path, device)
        self._tokens = open_clip.get_tokenizer("ViT-B-32")  # One vocabulary for all of OpenAI's.
        self._side = self._network.visual.image_size[0]
        self._device = device

    def images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Of uint8 pictures (H, W, 3) of any sizes, as CLIP's own transform prepares them."""
        import torch
        from PIL import Image
        from torchvision.transforms import InterpolationMode, functional

        from harness.metrics.clip import normalised

        pixels = []
        for image in images:
            picture = Image.fromarray(image)
            picture = functional.resize(picture, self._side, InterpolationMode.BICUBIC)
            cropped = functional.center_crop(picture, [self._side, self._side])
            pixels.append(functional.pil_to_tensor(cropped))
        return self._embedded(self._network.encode_image, normalised(torch.stack(pixels)))

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Of texts, each different one embedded once."""
        different = list(dict.fromkeys(texts))
        rows = self._embedded(self._network.encode_text, self._tokens(different))
        return rows[[different.index(text) for text in texts]]

    def is_cut(self, text: str) -> bool:
        """Whether a text does not fit between the two tokens that mark its ends."""
        return bool(len(self._tokens.encode(text)) > self._tokens.context_length - 2)

    def _embedded(self, tower: Any, inputs: torch.Tensor) -> np.ndarray:
        import torch

        from harness.data.images import to_device, to_host
        from harness.metrics.networks import at_a_time, exact_float32

        with exact_float32(self._device):
            pieces = torch.split(to_device(inputs, self._device), at_a_time(self._device))
            rows = to_host(torch.cat([tower(piece) for piece in pieces])).astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        normed: np.ndarray = rows / lengths
        return normed


class _ClipMean(PromptMean):
    """Mean over pictures that says of how many CLIP has not read the whole prompt."""

    def note(self, samples: Samples) -> str:
        """How many prompts are longer than CLIP reads."""
        cut = int(np.nansum(samples["clip_cut"]))
        return f"CLIP reads 77 tokens: {cut} of {len(samples['id'])} prompts are cut" if cut else ""


_OF_PROMPTS = "Hessel et al. 2021: 2.5 max(cos, 0) of picture and prompt, the mean over pictures."
_COSINE = "What many papers call CLIP score: the cosine of picture and prompt, times 100."
CLIP_SCORE = _ClipMean("clip_score", "clip_score", label=Label("CLIPScore", about=_OF_PROMPTS))
CLIP_COSINE = _ClipMean(
    "clip_cosine", "clip_score", label=Label("CLIP cos × 100", 2, about=_COSINE)
)
