from __future__ import annotations

import itertools
import math

import pytest

from uniwetok.mllm import Drawing, MLLMError
from uniwetok.mllm.drawing import Branch

FULL, IMAGES, NOTHING = Branch(), Branch(text=False), Branch(text=False, images=False)


@pytest.mark.parametrize(
    ("text", "image", "branches"),
    [
        (1, 1, [FULL]),
        (3, 1, [FULL, IMAGES]),
        (3, 3, [FULL, NOTHING]),
        (3, 2, [FULL, IMAGES, NOTHING]),
        (1, 2, [FULL, IMAGES, NOTHING]),
        (0, 1, [FULL, IMAGES]),
    ],
)
def test_only_branches_that_count_are_run(text, image, branches):
    assert Drawing(cfg=text, image_cfg=image).branches(images=True)[0] == branches


def test_without_images_their_weight_means_nothing():
    for image in (1, 2, 5):
        assert Drawing(cfg=4, image_cfg=image).branches(images=False) == ([FULL, NOTHING], (4,))
        assert Drawing(cfg=1, image_cfg=image).branches(images=False) == ([FULL], ())


@pytest.mark.parametrize(("text", "image"), [*itertools.product([0, 1, 2, 3.5], repeat=2)])
def test_what_is_left_out_changes_nothing(text, image):
    values = {FULL: 0.3, IMAGES: -1.1, NOTHING: 2.4}
    branches, weights = Drawing(cfg=text, image_cfg=image).branches(images=True)
    mixed = values[branches[-1]]
    for weight, more, less in zip(weights, branches[:-1], branches[1:], strict=True):
        mixed += weight * (values[more] - values[less])
    expected = values[NOTHING] + image * (values[IMAGES] - values[NOTHING])
    expected += text * (values[FULL] - values[IMAGES])
    assert mixed == pytest.approx(expected)


@pytest.mark.parametrize("values", [{"cfg": -1}, {"image_cfg": math.nan}, {"cfg": math.inf}])
def test_impossible_weights_are_refused(values):
    with pytest.raises(MLLMError, match="must be a finite number"):
        Drawing(**values)
