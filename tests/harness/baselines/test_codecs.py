"""Codecs at a byte budget: never above it, never needlessly below it, the same bytes every time."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch import Tensor

from harness.baselines.codecs import DEFAULT_BYTES, Avif, Codec, Jpeg, WebP, highest_that_fits
from harness.data.images import to_images, to_tensor
from harness.engine.models import ModelChoice
from harness.interfaces.errors import UserError
from harness.interfaces.registry import MODELS
from harness.metrics.pixel import psnr
from tasks.shared.sample_set import SampleSet

CODECS = pytest.mark.parametrize("kind", [WebP, Jpeg, Avif], ids=lambda kind: kind.name)


@pytest.fixture(scope="module")
def crops() -> list[Image.Image]:
    """The whole embedded sample set."""
    source = SampleSet()
    return [Image.open(io.BytesIO(source.read(name))).convert("RGB") for name in source.ids()]


def tensor_of(image: Image.Image) -> Tensor:
    return to_tensor([image])


def decibels(codec: Codec, images: Sequence[Image.Image]) -> np.ndarray:
    """PSNR of each image after coding and decoding."""
    values = []
    for image in images:
        decoded = to_images(codec.decode(codec.encode(tensor_of(image)), [0]))[0]
        values.append(psnr(np.asarray(image)[None], np.asarray(decoded)[None])[0])
    return np.array(values)


@pytest.mark.parametrize(
    ("kind", "step"), [(WebP, 4), (Jpeg, 1), (Avif, 12)], ids=["webp", "jpeg", "avif"]
)
@pytest.mark.parametrize("budget", [DEFAULT_BYTES, 400])
def test_budget_is_kept_on_real_crops(
    kind: type[Codec], step: int, budget: int, crops: list[Image.Image]
) -> None:
    codec = kind(budget)
    for crop in crops[::step]:
        (code,) = codec.encode(tensor_of(crop))
        assert len(code.payload) <= budget
        decoded = codec.decode([code], [0])
        assert decoded.shape == (1, 3, 256, 256)
        assert decoded.abs().max() <= 1


def test_webp_reaches_a_sane_quality_at_the_rate_of_the_tokenizer(
    crops: list[Image.Image],
) -> None:
    assert 24 < decibels(WebP(), crops[::2]).mean() < 30


@CODECS
def test_a_larger_budget_gives_a_better_picture(
    kind: type[Codec], crops: list[Image.Image]
) -> None:
    some = crops[::16]
    means = [decibels(kind(budget), some).mean() for budget in (500, 1024, 4096)]
    assert means == sorted(means)
    assert means[2] - means[0] > 3


def check_against_all_qualities(kind: type[Codec], image: Image.Image) -> None:
    """At any budget, the search finds what trying every quality finds; levels stand for all."""
    levels = kind.levels()
    files = [kind.file(image, quality) for quality in levels]
    sizes = [len(file) for file in files]
    sketches = [
        len(kind.file(image, quality, **kind.sketch)) * kind.sketch_ratio for quality in levels
    ]
    budgets = {size + extra for size in sizes for extra in (-1, 0, 1)}
    for budget in sorted(budgets):
        found = highest_that_fits(
            len(levels), budget, sizes.__getitem__, sketches.__getitem__, lambda place: kind.rise, 0
        )
        fitting = [place for place, size in enumerate(sizes) if size <= budget]
        assert found == max(fitting, default=None), f"budget of {budget}"
    for size in np.quantile(sizes, [0.2, 0.6]):
        codec = kind(int(size))  # The budget of a picture of 256x256 pixels.
        (code,) = codec.encode(tensor_of(image))
        assert code.payload == [file for file in files if len(file) <= codec.bytes][-1]


def every_quality(kind: type[Codec]) -> range:
    low, high = kind.qualities
    return range(low, high + 1)


@pytest.mark.parametrize(
    ("kind", "step"), [(WebP, 20), (Jpeg, 10), (Avif, 48)], ids=["webp", "jpeg", "avif"]
)
def test_search_finds_the_highest_of_all_qualities_that_fits(
    kind: type[Codec], step: int, crops: list[Image.Image]
) -> None:
    for crop in crops[5::step]:
        check_against_all_qualities(kind, crop)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "step"), [(WebP, 1), (Jpeg, 1), (Avif, 3)], ids=["webp", "jpeg", "avif"]
)
def test_search_finds_the_highest_quality_for_the_shipped_photographs(
    kind: type[Codec], step: int, crops: list[Image.Image]
) -> None:
    for crop in crops[::step]:
        check_against_all_qualities(kind, crop)


@CODECS
def test_qualities_between_two_levels_give_the_file_of_the_higher(kind: type[Codec]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    files = {level: kind.file(image, level) for level in kind.levels()}
    assert list(files) == sorted(files)
    for quality in every_quality(kind):
        level = min(level for level in files if level >= quality)
        assert kind.file(image, quality) == files[level]


@CODECS
def test_lowest_quality_that_does_not_fit_is_scaled_down(
    kind: type[Codec], crops: list[Image.Image]
) -> None:
    codec = kind(500)
    blocks = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    noise = blocks.repeat(8, 0).repeat(8, 1)  # Finer noise is plain grey to an AVIF of quality 0.
    assert len(codec.file(Image.fromarray(noise), codec.qualities[0])) > 500
    (code,) = codec.encode(tensor_of(Image.fromarray(noise)))
    assert len(code.payload) <= 500
    assert max(Image.open(io.BytesIO(code.payload)).size) < 256
    assert codec.decode([code], [0]).shape == (1, 3, 256, 256)


@CODECS
def test_bytes_are_the_same_every_time(kind: type[Codec], crops: list[Image.Image]) -> None:
    image = tensor_of(crops[3])
    assert kind().encode(image) == kind().encode(image.clone())


@CODECS
def test_bytes_do_not_depend_on_the_batch(kind: type[Codec], crops: list[Image.Image]) -> None:
    codec = kind(16384)
    small = [crop.crop((0, 0, 64, 64)) for crop in crops[:3]]
    together = codec.encode(to_tensor(small))
    assert together == [codec.encode(tensor_of(image))[0] for image in small]
    decoded = codec.decode(together, [0, 1, 2])
    for index, code in enumerate(together):
        torch.testing.assert_close(decoded[index : index + 1], codec.decode([code], [9]))


@given(width=st.integers(1, 3000), height=st.integers(1, 3000))
def test_budget_is_what_a_tokenizer_spends_on_the_tiles(width: int, height: int) -> None:
    tiles = -(-width // 32) * -(-height // 32)
    assert WebP().budget(width, height) == 16 * tiles
    assert WebP(2048).budget(width, height) == 32 * tiles


@settings(max_examples=8)
@given(width=st.integers(64, 200), height=st.integers(64, 200), seed=st.integers(0, 99))
def test_any_size_comes_back_within_its_own_budget(width: int, height: int, seed: int) -> None:
    smooth = Image.effect_noise((8, 8), 60 + seed).convert("RGB").resize((width, height))
    codec = WebP(2048)
    (code,) = codec.encode(tensor_of(smooth))
    assert (code.width, code.height) == (width, height)
    assert code.bits <= 8 * codec.budget(width, height)
    assert codec.decode([code], [0]).shape == (1, 3, height, width)


@CODECS
def test_impossible_budget_names_size_and_budget(kind: type[Codec]) -> None:
    image = tensor_of(Image.new("RGB", (64, 48)))
    with pytest.raises(
        ValueError, match=rf"{kind.name} cannot code 64x48 pixels in 0 bytes: .* so give"
    ) as refused:
        kind(2).encode(image)
    (enough,) = re.findall(rf"{kind.name}:(\d+) or more", str(refused.value))
    assert kind(int(enough)).encode(image)
    with pytest.raises(ValueError, match="cannot code"):
        kind(int(enough) - 1).encode(image)


@pytest.mark.parametrize("argument", ["many", "1.5", "", "0", "-7", "1kB"])
def test_budget_must_be_a_number_of_bytes(argument: str) -> None:
    with pytest.raises(UserError, match=rf"webp:{argument}: bytes must be"):
        ModelChoice("webp", argument, {}).build()


def test_missing_codec_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.baselines.codecs.features.check", lambda feature: False)
    with pytest.raises(UserError, match="built without avif"):
        Avif().load("cpu")


@CODECS
def test_card_tells_budgets_apart_and_names_the_default_plainly(kind: type[Codec]) -> None:
    assert kind().card == kind(1024).card
    assert kind().card.title == kind.name
    assert kind(2048).card.title == f"{kind.name}:2048"
    assert kind(2048).card.digest != kind().card.digest
    assert kind().card.codebook is None
    assert MODELS.get(kind.name) is kind
