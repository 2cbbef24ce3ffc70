"""Objects and their masks by a Mask2Former of transformers, processed as mmdet 2.x does.

What transformers offers itself (`post_process_instance_segmentation`) makes masks of 384x384 pixels
before it enlarges them and leaves out scores below 0.5: boxes and counts come out otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.interfaces.errors import Unavailable, UserError
from harness.interfaces.extras import lacking
from harness.interfaces.observing import Once
from tasks.geneval.prompts import OBJECTS
from tasks.geneval.settings import TransformersDetector
from tasks.shared.networks import building, locate, pinned

if TYPE_CHECKING:
    from torch import Tensor

LONG_SIDE, SHORT_SIDE = 1333, 800
"""The largest picture that the network gets, in pixels."""
_MULTIPLE = 32
_MEAN = (123.675, 116.28, 103.53)
_DEVIATION = (58.395, 57.12, 57.375)
_MOST = 100
"""Pairs of query and class that are looked at in one picture."""
_FILES = ("config.json", "model.safetensors")
_PHOTOS = {"astronaut": "person", "chelsea": "cat", "coffee": "cup"}
"""scikit-image's photos for the self-check, and what everybody sees in them."""
_SEEN = 0.5


@dataclass(frozen=True, slots=True)
class Found:
    """One object of a picture, its mask with it."""

    name: str
    box: tuple[float, float, float, float]
    score: float
    mask: np.ndarray
    """bool (H, W)."""


def scaled_size(height: int, width: int) -> tuple[int, int]:
    """Height and width that fit 1333x800 either way round, proportions kept."""
    scale = min(LONG_SIDE / max(height, width), SHORT_SIDE / min(height, width))
    return int(height * scale + 0.5), int(width * scale + 0.5)


def prepare(image: np.ndarray) -> tuple[Tensor, tuple[int, int]]:
    """A picture as the network takes it: float32 (1, 3, H, W), and the size without padding.

    Resized bilinearly without smoothing and rounded to 8 bits, as OpenCV does, then normalised,
    then padded with zeros at the right and below to a multiple of 32.
    """
    import torch
    from torch.nn import functional

    height, width = scaled_size(*image.shape[:2])
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    resized = functional.interpolate(pixels, (height, width), mode="bilinear").round()
    mean, deviation = (torch.tensor(each).view(1, 3, 1, 1) for each in (_MEAN, _DEVIATION))
    padding = (0, -width % _MULTIPLE, 0, -height % _MULTIPLE)
    return functional.pad((resized - mean) / deviation, padding), (height, width)


def instances(
    class_logits: Tensor,
    mask_logits: Tensor,
    padded: tuple[int, int],
    inside: tuple[int, int],
    original: tuple[int, int],
    least: float = 0.0,
) -> list[Found]:
    """Objects from a network's output on one picture.

    A score is the class's probability times the mean probability of the mask's pixels; the mask is
    where its logit, enlarged bilinearly to the input and then to the picture, is positive.

    Args:
        class_logits: (queries, 81), the last class is 'nothing'.
        mask_logits: (queries, h, w).
        padded: Height and width of the network's input.
        inside: The part of it that is not padding.
        original: Height and width of the picture.
        least: Objects that score no higher are left out.

    Returns:
        at most 100 objects in no particular order; an empty mask has the box 0, 0, 0, 0.
    """
    from torch.nn import functional

    scores = class_logits.float().softmax(-1)[:, :-1].flatten()
    best, places = scores.topk(min(_MOST, len(scores)), sorted=False)
    # A mask's factor is at most 1: what fails by its class alone needs no mask.
    kept = best > least
    best, places = best[kept], places[kept]
    found: list[Found] = []
    masks: dict[int, tuple[np.ndarray, float]] = {}
    for score, place in zip(best.tolist(), places.tolist(), strict=True):
        query, label = divmod(place, class_logits.shape[1] - 1)
        if query not in masks:
            logits = mask_logits[query][None, None].float()
            logits = functional.interpolate(logits, padded, mode="bilinear")
            logits = logits[:, :, : inside[0], : inside[1]]
            logits = functional.interpolate(logits, original, mode="bilinear")[0, 0]
            mask = logits > 0
            share = (logits.sigmoid() * mask).sum() / (mask.sum() + 1e-6)
            masks[query] = mask.cpu().numpy(), float(share)
        mask_pixels, quality = masks[query]
        if score * quality > least:
            found.append(Found(OBJECTS[label], _box(mask_pixels), score * quality, mask_pixels))
    return found


def _box(mask: np.ndarray) -> tuple[float, float, float, float]:
    """The smallest box around a mask; its right and lower edges lie one beyond the last pixel."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(columns):
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


class Mask2Former:
    """The detector.

    Args:
        settings: Which network.
        device: Where it runs.

    Raises:
        Unavailable: The weights or transformers are missing, or the weights are not the protocol's.
    """

    def __init__(self, settings: TransformersDetector, device: str) -> None:
        if text := lacking("transformers"):
            raise Unavailable(f"the detector {text}")
        self._settings = settings
        self._device = device
        self._folder = locate(settings.network, "detector.network", _FILES)
        self.weights_sha256 = pinned(self._folder / _FILES[1], settings.weights)
        self._network = Once(self._build)

    def __call__(self, image: np.ndarray, least: float) -> list[Found]:
        """Objects in an uint8 RGB picture (H, W, 3) that score above `least`."""
        return self._detect(self._network(), image, least)

    def _detect(self, network: Any, image: np.ndarray, least: float) -> list[Found]:
        import torch

        pixels, inside = prepare(image)
        with torch.inference_mode():
            output = network(pixel_values=pixels.to(self._device))
            return instances(
                output.class_queries_logits[0],
                output.masks_queries_logits[0],
                (pixels.shape[2], pixels.shape[3]),
                inside,
                (image.shape[0], image.shape[1]),
                least,
            )

    def _build(self) -> Any:
        from transformers import Mask2FormerForUniversalSegmentation
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        with building(f"the detector cannot be built from {self._folder}"):
            network: Any = Mask2FormerForUniversalSegmentation.from_pretrained(self._folder)
        if network.config.num_labels != len(OBJECTS):
            raise UserError(
                f"the detector in {self._folder} knows {network.config.num_labels} classes; "
                f"GenEval needs COCO's {len(OBJECTS)} things"
            )
        network = network.to(self._device).eval()
        if self._settings.self_check:
            missed = self_check(lambda image: self._detect(network, image, _SEEN))
            if missed:
                raise UserError(
                    f"the detector in {self._folder} finds {' and '.join(missed)}: its weights or "
                    "this build of transformers are broken, and every score would be too low"
                )
        return network


def self_check(detect: Any) -> list[str]:
    """What a detector misses in three well-known photos; empty if nothing.

    Args:
        detect: Takes an uint8 RGB picture, gives the objects that it is sure of.
    """
    from skimage import data

    missed = []
    for photo, name in _PHOTOS.items():
        found: Sequence[Found] = detect(np.ascontiguousarray(getattr(data, photo)()[..., :3]))
        if name not in {each.name for each in found}:
            missed.append(f"no {name} in the photo {photo!r}")
    return missed
