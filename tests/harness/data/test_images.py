"""Bytes to RGB: every colour mode under both shipped rules; broken files as `DecodeError`."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image, ImageFile

from harness.data.images import DecodeRule, decode_image, to_array
from harness.interfaces.errors import DecodeError

WETOK = DecodeRule(exif="ignore", alpha="drop", sixteen_bit="clip")
EXACT = DecodeRule(exif="apply", alpha="white", sixteen_bit="scale")
RULES = pytest.mark.parametrize("rule", [WETOK, EXACT], ids=["wetok", "exact"])


def encoded(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def pixels(data: bytes, rule: DecodeRule) -> list[tuple[int, ...]]:
    """The decoded image's first row."""
    image = decode_image(data, rule)
    assert image.mode == "RGB"
    return [tuple(pixel) for pixel in np.asarray(image)[0].tolist()]


@RULES
def test_rgb_is_untouched(rule: DecodeRule) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    decoded = decode_image(encoded(Image.fromarray(rgb)), rule)
    np.testing.assert_array_equal(np.asarray(decoded), rgb)


@RULES
def test_grey_is_repeated(rule: DecodeRule) -> None:
    data = encoded(Image.fromarray(np.array([[0, 77, 255]], np.uint8)))
    assert pixels(data, rule) == [(0, 0, 0), (77, 77, 77), (255, 255, 255)]


@RULES
def test_one_bit_is_black_and_white(rule: DecodeRule) -> None:
    image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert image.mode == "1"
    assert pixels(encoded(image), rule) == [(0, 0, 0), (255, 255, 255)]


@RULES
def test_cmyk_is_converted_without_a_profile(rule: DecodeRule) -> None:
    image = Image.new("CMYK", (1, 1), (0, 255, 255, 0))
    assert pixels(encoded(image, "tiff"), rule) == [(255, 0, 0)]


@RULES
def test_cmyk_jpeg_is_converted(rule: DecodeRule) -> None:
    image = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    red, green, blue = pixels(encoded(image, "jpeg", quality=100), rule)[0]
    assert red < 10
    assert min(green, blue) > 245


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (WETOK, [(100, 100, 100), (100, 100, 100), (100, 100, 100)]),
        (EXACT, [(255, 255, 255), (178, 178, 178), (100, 100, 100)]),
    ],
)
def test_grey_with_alpha(rule: DecodeRule, expected: list[tuple[int, ...]]) -> None:
    image = Image.fromarray(np.array([[[100, 0], [100, 127], [100, 255]]], np.uint8), "LA")
    assert pixels(encoded(image), rule) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (WETOK, [(10, 20, 30), (10, 20, 30), (10, 20, 30)]),
        (EXACT, [(255, 255, 255), (206, 208, 210), (10, 20, 30)]),
    ],
)
def test_colour_with_alpha(rule: DecodeRule, expected: list[tuple[int, ...]]) -> None:
    levels = np.array([[[10, 20, 30, 0], [10, 20, 30, 51], [10, 20, 30, 255]]], np.uint8)
    assert pixels(encoded(Image.fromarray(levels)), rule) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (WETOK, [(255, 0, 0), (0, 0, 255)]),
        (EXACT, [(255, 255, 255), (0, 0, 255)]),
    ],
)
def test_palette_with_a_transparent_colour(
    rule: DecodeRule, expected: list[tuple[int, ...]]
) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    for kind in ("png", "gif"):
        assert pixels(encoded(image, kind, transparency=0), rule) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [(WETOK, [(1, 2, 3), (4, 5, 6)]), (EXACT, [(255, 255, 255), (4, 5, 6)])],
)
def test_rgb_with_a_transparent_colour(rule: DecodeRule, expected: list[tuple[int, ...]]) -> None:
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert pixels(encoded(image, transparency=(1, 2, 3)), rule) == expected


@RULES
def test_palette_without_transparency(rule: DecodeRule) -> None:
    image = Image.new("P", (1, 1))
    image.putpalette([12, 34, 56])
    assert pixels(encoded(image), rule) == [(12, 34, 56)]


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize(
    ("rule", "expected"),
    [(WETOK, [0, 128, 255, 255, 255, 255]), (EXACT, [0, 0, 1, 1, 128, 255])],
)
def test_sixteen_bit_grey(kind: str, rule: DecodeRule, expected: list[int]) -> None:
    levels = np.array([[0, 128, 257, 300, 128 * 257, 65535]], np.uint16)
    data = encoded(Image.fromarray(levels), kind)
    assert Image.open(io.BytesIO(data)).mode == "I;16"
    assert pixels(data, rule) == [(level, level, level) for level in expected]


def test_scaled_sixteen_bit_is_the_nearest_of_256_levels() -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    decoded = np.asarray(decode_image(encoded(Image.fromarray(levels)), EXACT))[..., 0]
    np.testing.assert_array_equal(decoded, np.round(levels / 257))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_or_ignored(orientation: int) -> None:
    corners = np.zeros((16, 32, 3), np.uint8)
    corners[:8, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(corners), "jpeg", quality=95, exif=exif)
    ignored = np.asarray(decode_image(data, WETOK))[..., 0]
    applied = np.asarray(decode_image(data, EXACT))[..., 0]
    turned: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda image: image,
        2: np.fliplr,
        3: lambda image: np.rot90(image, 2),
        4: np.flipud,
        5: lambda image: image.T,
        6: lambda image: np.rot90(image, -1),
        7: lambda image: np.rot90(image, 2).T,
        8: lambda image: np.rot90(image, 1),
    }
    np.testing.assert_array_equal(applied, turned[orientation](ignored))
    assert ignored.shape == (16, 32)
    np.testing.assert_allclose(ignored[2:6, 2:14], 255, atol=3)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "tiff", "avif", "bmp"])
@pytest.mark.parametrize("kept", [0.3, 0.7])
@pytest.mark.parametrize("tolerated", [False, True])
def test_truncated_file(
    kind: str,
    kept: float,
    tolerated: bool,
    photos: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # lmms-eval and other packages switch this on where they are imported.
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerated)
    data = encoded(photos[0], kind)
    with pytest.raises(DecodeError):
        decode_image(data[: int(kept * len(data))], WETOK)


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"<html>not found</html>", b"\x89PNG\r\n\x1a\n"], ids=repr
)
def test_bytes_that_are_no_image(data: bytes) -> None:
    with pytest.raises(DecodeError, match="not an image that Pillow can read"):
        decode_image(data, WETOK)


def test_decompression_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DecodeError, match="decompression bomb"):
        decode_image(encoded(Image.new("RGB", (8, 8))), WETOK)


def test_avif_whose_boxes_are_damaged(photos: list[Image.Image]) -> None:
    data = encoded(photos[0], "avif")
    for box in (b"iloc", b"pitm", b"av1C"):
        with pytest.raises(DecodeError):
            decode_image(data.replace(box, b"free"), WETOK)


def test_exif_that_cannot_be_read_is_no_traceback(photos: list[Image.Image]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photos[0], "webp", exif=exif).replace(b"MM\x00\x2a", b"MM\x00\x12")
    with contextlib.suppress(DecodeError):
        decode_image(data, EXACT)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "tiff", "avif", "bmp", "ppm"])
@settings(
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    damage=st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=4)), max_size=6)
)
def test_damage_gives_an_rgb_image_or_a_decode_error(
    kind: str, damage: list[tuple[int, bytes]], photos: list[Image.Image]
) -> None:
    data = bytearray(encoded(photos[1].resize((40, 32)), kind))
    for place, change in damage:
        start = place % len(data)
        data[start : start + len(change)] = change
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for rule in (WETOK, EXACT):
            with contextlib.suppress(DecodeError):
                assert decode_image(bytes(data), rule).mode == "RGB"


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (500, 375), (2100, 2000)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_an_array_has_the_image_s_pixels(mode: str, size: tuple[int, int]) -> None:
    shape = (*size[::-1], len(Image.new(mode, (1, 1)).getbands()))
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    image = Image.fromarray(values.squeeze(2) if mode == "L" else values)
    assert image.mode == mode
    found = to_array(image)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, np.asarray(image), strict=True)
    image.putpixel((0, 0), 7)
    assert (found[0, 0] == values[0, 0]).all(), "it is a copy"


def test_other_threads_go_on_while_pixels_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.new("RGB", (500, 375), (1, 2, 3))
    monkeypatch.setattr(Image.Image, "tobytes", lambda *_: pytest.fail("holds Python's lock"))
    assert (to_array(image) == (1, 2, 3)).all()


def test_rows_that_pillow_aligns_are_told_apart() -> None:
    script = (
        "import numpy as np; from PIL import Image; from harness.data.images import to_array; "
        "image = Image.effect_noise((5, 7), 90).convert('RGB'); "
        "assert (to_array(image) == np.asarray(image)).all()"
    )
    aligned = {**os.environ, "PILLOW_ALIGNMENT": "64"}
    subprocess.run([sys.executable, "-c", script], env=aligned, check=True)
