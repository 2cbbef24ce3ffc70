"""The colour of an object in a picture, told by CLIP as GenEval's authors do."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from harness.data.digests import weights_sha256
from harness.interfaces.observing import Once
from tasks.geneval.prompts import COLOUR_TEMPLATES, COLOURS
from tasks.geneval.settings import ColourModel
from tasks.shared.networks import building, open_clip_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_AROUND = "#999"
"""What a crop shows outside its object."""


def crop_object(
    image: Image.Image, box: Sequence[float], mask: np.ndarray | None = None
) -> Image.Image:
    """The object on grey, cut out by its box.

    Args:
        image: RGB.
        box: x0, y0, x1, y1 in pixels; rounded to whole ones, black outside the picture.
        mask: bool (H, W); the whole picture stays if None.
    """
    if mask is not None:
        grey = Image.new("RGB", image.size, _AROUND)
        image = Image.composite(image, grey, Image.fromarray(mask))
    x0, y0, x1, y1 = (round(float(edge)) for edge in box[:4])
    return image.crop((x0, y0, x1, y1))


class ColourClassifier:
    """Which of ten colours an object has.

    Args:
        model: The open_clip model.
        device: Where it runs.

    Raises:
        Unavailable: Its weights are missing.
    """

    def __init__(self, model: ColourModel, device: str) -> None:
        self._model = model
        self._device = device
        named = Path(model.tag).expanduser()
        self._weights = named if named.is_file() else open_clip_weights(model.teacher, model.tag)
        self.weights_sha256 = weights_sha256(self._weights)
        self._network = Once(self._build)
        self._texts: dict[str, Tensor] = {}
        self._lock = threading.Lock()

    def __call__(self, crops: Sequence[Image.Image], name: str) -> list[str]:
        """The colour of each crop of an object of class `name`."""
        import torch

        network, transform, _ = self._network()
        pixels = torch.stack([transform(crop) for crop in crops]).to(self._device)
        with torch.inference_mode(), self._autocast():
            features = network.encode_image(pixels, normalize=True)
            scores = features @ self._vectors(name).T
        return [COLOURS[place] for place in scores.argmax(dim=1).tolist()]

    def _vectors(self, name: str) -> Tensor:
        """A vector a colour (10, width), for objects of one class."""
        import torch

        with self._lock:
            if name not in self._texts:
                network, _, tokenizer = self._network()
                rows = []
                for colour in COLOURS:
                    texts = [each.format(colour=colour, name=name) for each in COLOUR_TEMPLATES]
                    tokens = tokenizer(texts).to(self._device)
                    mean = network.encode_text(tokens, normalize=True).mean(dim=0)
                    rows.append(mean / mean.norm())
                self._texts[name] = torch.stack(rows)
            return self._texts[name]

    def _autocast(self) -> Any:
        import torch

        on = self._model.precision == "amp" and self._device.startswith("cuda")
        return torch.autocast("cuda", enabled=on)

    def _build(self) -> tuple[Any, Any, Any]:
        import open_clip

        name = self._model.teacher
        with building(f"the colour model {name} cannot be built from {self._weights}"):
            network, _, transform = open_clip.create_model_and_transforms(
                name, pretrained=str(self._weights), device=self._device
            )
        return network.eval(), transform, open_clip.get_tokenizer(name)
