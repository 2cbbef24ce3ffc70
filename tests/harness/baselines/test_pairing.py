"""Pairs by name: the strictest comparison that fits, and nothing guessed."""

from __future__ import annotations

import pytest

from harness.baselines.pairing import pairs_in_order, pairs_of_names
from harness.interfaces.errors import UserError

IMAGENET = [
    "n01440764/ILSVRC2012_val_00000293.JPEG",
    "n01440764/ILSVRC2012_val_00002138.JPEG",
    "n01443537/ILSVRC2012_val_00000236.JPEG",
]


@pytest.mark.parametrize(
    ("originals", "images", "expected"),
    [
        (["a.jpg", "b.jpg"], ["a.jpg"], {"a.jpg": "a.jpg"}),
        (["a.jpg", "b.png"], ["a.png", "b.webp"], {"a.jpg": "a.png", "b.png": "b.webp"}),
        (["a.jpg", "a.png"], ["a.jpg", "a.png"], {"a.jpg": "a.jpg", "a.png": "a.png"}),
        (["x/a.jpg", "y/a.jpg"], ["y/a.png"], {"y/a.jpg": "y/a.png"}),
        (
            IMAGENET,
            ["ILSVRC2012_val_00000236.png"],
            {IMAGENET[2]: "ILSVRC2012_val_00000236.png"},
        ),
        (["0139.jpg"], ["recon/0139.png"], {"0139.jpg": "recon/0139.png"}),
        (["a.v2.jpg", "a.v3.jpg"], ["a.v3.png"], {"a.v3.jpg": "a.v3.png"}),
    ],
)  # fmt: skip
def test_pairs(originals: list[str], images: list[str], expected: dict[str, str]) -> None:
    assert pairs_of_names(originals, images, "there") == expected


@pytest.mark.parametrize(
    ("originals", "images", "text"),
    [
        (["a.jpg"], ["a.png", "a.webp"], r"'a\.png' and 'a\.webp' are images of one name"),
        (["a.jpg", "a.bmp"], ["a.png"], r"'a\.jpg' and 'a\.bmp' are originals of one name"),
        (["x/a.jpg", "y/a.jpg"], ["a.png"], "'x/a.jpg' and 'y/a.jpg' are originals of one name"),
        (["a.jpg"], ["a.png", "z.png"], r"there: 1 of 2 images are named .* the first is 'z\.png'"),
        (IMAGENET, ["000000.png", "000001.png"], "2 of 2 images are .* with pairs=order"),
        (["a.jpg"], ["A.jpg"], "1 of 1 images"),
    ],
)
def test_what_cannot_be_told_is_refused(originals: list[str], images: list[str], text: str) -> None:
    with pytest.raises(UserError, match=text):
        pairs_of_names(originals, images, "there")


def test_order_needs_as_many() -> None:
    assert pairs_in_order(["a", "b"], ["0", "1"], "there") == {"a": "0", "b": "1"}
    with pytest.raises(UserError, match="there are 1 and 2"):
        pairs_in_order(["a", "b"], ["0"], "there")
