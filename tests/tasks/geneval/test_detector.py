"""The detector: sizes, post-processing against a plain version, weights, and the self-check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.interfaces.errors import Unavailable, UserError
from tasks.geneval.detector import (
    Found,
    Mask2Former,
    instances,
    prepare,
    scaled_size,
    self_check,
)
from tasks.geneval.prompts import OBJECTS
from tasks.geneval.settings import TransformersDetector
from tests.tasks.geneval.conftest import tiny_detector


def settings(network: object, **more: object) -> TransformersDetector:
    values = {"source": "transformers", "weights": "", "self_check": False, **more}
    return TransformersDetector.model_validate({**values, "network": str(network)})


@pytest.mark.parametrize(
    ("size", "scaled"),
    [((1024, 1024), (800, 800)), ((512, 512), (800, 800)), ((480, 640), (800, 1067)),
     ((300, 1000), (400, 1333)), ((1000, 300), (1333, 400))],
)  # fmt: skip
def test_scaled_size(size: tuple[int, int], scaled: tuple[int, int]) -> None:
    assert scaled_size(*size) == scaled


def test_input_is_normalised_and_padded() -> None:
    image = np.full((30, 40, 3), (124, 116, 104), np.uint8)
    pixels, inside = prepare(image)
    assert inside == (800, 1067)
    assert pixels.shape == (1, 3, 800, 1088)
    assert pixels[..., 1067:].eq(0).all()
    expected = torch.tensor([(124 - 123.675) / 58.395, (116 - 116.28) / 57.12, 0.47 / 57.375])
    assert torch.allclose(pixels[0, :, 5, 5], expected, atol=1e-4)


def plain(
    logits: torch.Tensor, masks: torch.Tensor, size: tuple[int, int]
) -> list[tuple[str, float, list[float]]]:
    """mmdet's steps one after the other, for an input without padding of the picture's size."""
    masks = functional.interpolate(masks[None], size=size, mode="bilinear")[0]
    masks = functional.interpolate(masks[None], size=size, mode="bilinear")[0]
    scores, places = logits.softmax(-1)[:, :-1].flatten().topk(100)
    found = []
    for score, place in zip(scores, places, strict=True):
        mask = masks[place // 80]
        inside = mask > 0
        quality = (mask.sigmoid() * inside).sum() / (inside.sum() + 1e-6)
        rows, columns = torch.where(inside)
        box = [0.0] * 4
        if len(rows):
            edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            box = [float(edge) for edge in edges]
        found.append((OBJECTS[int(place % 80)], float(score * quality), box))
    return sorted(found, key=lambda each: each[1])


def test_instances_agree_with_the_plain_steps() -> None:
    torch.manual_seed(3)
    logits, masks = torch.randn(12, 81), 3 * torch.randn(12, 16, 16) - 2
    masks[4] = -1.0
    found = instances(logits, masks, (64, 64), (64, 64), (64, 64))
    expected = plain(logits, masks, (64, 64))
    kept = [each for each in expected if each[1] > 0]
    found = sorted(found, key=lambda each: each.score)
    assert len(kept) < 100, "the empty mask's objects score 0"
    assert [each.name for each in found] == [name for name, _, _ in kept]
    assert [each.score for each in found] == pytest.approx([score for _, score, _ in kept])
    assert [list(each.box) for each in found] == [box for _, _, box in kept]
    few = instances(logits, masks, (64, 64), (64, 64), (64, 64), least=0.02)
    assert sorted(each.score for each in few) == [e.score for e in found if e.score > 0.02]


def test_padding_is_cut_off_and_boxes_are_in_the_pictures_pixels() -> None:
    logits = torch.full((1, 81), -20.0)
    logits[0, 15] = 20.0
    masks = torch.full((1, 8, 8), -9.0)
    masks[0, 0:4, 2:8] = 9.0  # Of 64 input columns the last 32 are padding.
    objects = instances(logits, masks, (64, 64), (64, 32), (128, 64))
    found = max(objects, key=lambda each: each.score)
    assert found.name == "cat"
    x0, y0, x1, y1 = found.box
    assert (y0, x1) == (0, 64), "the mask reaches the picture's edge and no further"
    assert abs(x0 - 32) <= 4
    assert abs(y1 - 64) <= 4
    assert found.mask.shape == (128, 64)
    assert 0.95 < found.mask.sum() / ((x1 - x0) * (y1 - y0)) <= 1, "corners are rounded"


def test_network_runs_through_transformers(detector_folder: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    detector = Mask2Former(settings(detector_folder), "cpu")
    found = detector(image, 0.0)
    pixels, inside = prepare(image)
    with torch.inference_mode():
        output = tiny_detector()(pixel_values=pixels)
        expected = instances(
            output.class_queries_logits[0],
            output.masks_queries_logits[0],
            (pixels.shape[2], pixels.shape[3]),
            inside,
            (40, 60),
        )
    assert [each.name for each in found] == [each.name for each in expected]
    assert [each.score for each in found] == pytest.approx([e.score for e in expected], rel=1e-4)
    assert {each.mask.shape for each in found} == {(40, 60)}


def test_missing_or_wrong_weights(detector_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="run `hf download facebook/nothing "):
        Mask2Former(settings("facebook/nothing"), "cpu")
    with pytest.raises(Unavailable, match="not the file that the protocol pins"):
        Mask2Former(settings(detector_folder, weights="ab" * 32), "cpu")
    with pytest.raises(UserError, match="has no config"):
        Mask2Former(settings(tmp_path), "cpu")
    with pytest.raises(UserError, match="neither a folder nor a name"):
        Mask2Former(settings("a/b/c"), "cpu")
    (tmp_path / "config.json").write_bytes((detector_folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be built from"):
        Mask2Former(settings(tmp_path), "cpu")(np.zeros((9, 9, 3), np.uint8), 0.0)


def test_self_check_names_what_is_missed(detector_folder: Path) -> None:
    seen = {(512, 512): "person", (300, 451): "cat", (400, 600): "cup"}

    def sees(image: np.ndarray) -> list[Found]:
        name = seen[image.shape[:2]]
        return [Found(name, (0, 0, 1, 1), 0.9, np.ones((1, 1), bool))]

    assert self_check(sees) == []
    seen[300, 451] = "dog"
    assert self_check(sees) == ["no cat in the photo 'chelsea'"]
    detector = Mask2Former(settings(detector_folder, self_check=True), "cpu")
    with pytest.raises(UserError, match="no person in the photo 'astronaut'"):
        detector(np.zeros((9, 9, 3), np.uint8), 0.0)
