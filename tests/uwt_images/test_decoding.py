"""Whole pictures, and only pictures: what is cut off or was never written is told apart."""

from __future__ import annotations

import functools
import io
import itertools
import re
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
import skimage.data
from hypothesis import assume, given, settings, strategies as st
from PIL import Image

from uwt_images import decoding
from uwt_images.decoding import load_image, missing_end
from uwt_images.listing import UnreadableImage

PROPERTY = settings(
    max_examples=25,
    derandomize=True,
)
KINDS = {
    "jpeg": {},
    "jpeg optimised": {"format": "jpeg", "optimize": True, "quality": 92},
    "jpeg full colour": {"format": "jpeg", "subsampling": 0},
    "jpeg progressive": {"format": "jpeg", "progressive": True},
    "jpeg restarts": {"format": "jpeg", "restart_marker_rows": 1},
    "jpeg exif": {"format": "jpeg", "exif": b"Exif\0\0" + b"\xff\xd9" * 30},
    "png": {},
    "gif": {},
    "webp": {},
    "webp lossless": {"format": "webp", "lossless": True},
    "avif": {},
    "jpeg2000": {},
    "jpeg2000 stream": {"format": "jpeg2000", "no_jp2": True},
    "jpeg2000 tiles": {"format": "jpeg2000", "tile_size": (96, 96), "quality_layers": [20]},
    "tiff deflate": {"format": "tiff", "compression": "tiff_adobe_deflate"},
    "tiff lzw": {"format": "tiff", "compression": "tiff_lzw"},
    "tiff packbits": {"format": "tiff", "compression": "packbits"},
    "tiff jpeg": {"format": "tiff", "compression": "jpeg"},
}
RAW: dict[str, dict[str, Any]] = {"bmp": {}, "ppm": {}, "tiff": {}, "tiff big": {"big_tiff": True}}
OF_KIND = pytest.mark.parametrize("kind", KINDS)
OF_RAW = pytest.mark.parametrize("kind", RAW)
TAILS = [b"\0", bytes(5000), b"SEFT\xff\xd8" * 100, b"\xff\xd8second\xff\xd9" * 9, b"SEFT" * 9]
JPEGS = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.split()[0] == "jpeg"])


def encoded(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    buffer = io.BytesIO()
    chosen = {"format": kind.split()[0], **KINDS.get(kind, {}), **RAW.get(kind, {})}
    image.save(buffer, **{**chosen, **options})
    return buffer.getvalue()


@functools.cache
def photo_as(kind: str) -> bytes:
    """A photo of 320x208, encoded."""
    photo = Image.fromarray(skimage.data.astronaut()).resize((320, 208))
    return encoded(photo, kind)


def refuses(data: bytes) -> bool:
    try:
        load_image(data)
    except UnreadableImage:
        return True
    return False


@OF_KIND
def test_whole_pictures_are_whole(kind: str) -> None:
    assert missing_end(photo_as(kind)) == ""
    assert load_image(photo_as(kind)).size == (320, 208)


def told(data: bytes) -> tuple[str, bytes]:
    """What is said of a refused file, or mode and pixels of another."""
    try:
        image = load_image(data)
    except UnreadableImage as error:
        return str(error), b""
    return image.mode, image.tobytes()


PLAIN = ["jpeg", "jpeg optimised", "jpeg full colour", "jpeg progressive", "jpeg restarts"]


@pytest.mark.parametrize("kind", PLAIN)
def test_a_plain_jpeg_goes_to_its_decoder_without_being_opened(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Image.open(io.BytesIO(photo_as(kind))).tobytes()
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("opened"))
    assert told(photo_as(kind)) == ("RGB", expected)


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0MM\0*\0\0\0\x08\0\0"])
@pytest.mark.parametrize("kind", PLAIN)
def test_a_jpeg_that_pillow_reads_part_by_part_is_the_same(kind: str, exif: bytes) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 311, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind, quality=95, exif=exif)
    assert len(data) > 1 << 16
    assert told(data) == ("RGB", Image.open(io.BytesIO(data)).tobytes())


@pytest.mark.parametrize("filled", [b"\xff", b"\xff\0", b"\xff\x01"])
def test_what_no_marker_follows_takes_no_memory(filled: bytes) -> None:
    markers, restarts = decoding._markers(b"\xff\xd8" + filled * 100_000 + b"\xff\xd9")
    assert (len(markers), restarts) == (2, [])


_SEGMENTS = (
    *(b"\xff\xe0\x00\x07JFIF\0", b"\xff\xe1\x00\x08Exif\0\0", b"\xff\xe2\x00\x0eICC_PROFILE\0"),
    *(
        b"\xff\xdb\x00\x04\0\0",
        b"\xff\xfe\x00\x00",
        b"\xff\xc0\x00\x03\x08",
        b"\xff\xc3\x00\x02",
        b"\0",
    ),
)
"""Parts of a header that Pillow refuses, takes more from, or passes over."""


@JPEGS
@PROPERTY
@given(data=st.data())
def test_no_pixel_and_no_refusal_differs_from_pillows(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(photo_as(kind))
    header = st.integers(2, 700)
    for at in data.draw(st.lists(header, max_size=2)):
        damaged[at] = data.draw(st.integers(0, 255))
    part = data.draw(st.sampled_from([b"", *_SEGMENTS]))
    starts = [each.start() for each in re.finditer(rb"\xff[\xc0\xc4\xda\xdb]", damaged[:700])]
    at = data.draw(st.sampled_from(starts))
    damaged[at:at] = part
    found = told(bytes(damaged))
    with mock.patch.object(decoding, "_plain_jpeg", return_value=None):
        assert found == told(bytes(damaged))


@JPEGS
@PROPERTY
@given(share=st.floats(0.01, 0.999))
def test_a_jpeg_cut_anywhere_is_broken(kind: str, share: float) -> None:
    data = photo_as(kind)
    assert missing_end(data[: int(len(data) * share)])
    assert refuses(data[: int(len(data) * share)])


@OF_KIND
@PROPERTY
@given(share=st.floats(0.05, 0.97))
def test_a_tail_that_was_never_written_is_broken(kind: str, share: float) -> None:
    data = photo_as(kind)
    kept = int(len(data) * share)
    assert refuses(data[:kept] + bytes(len(data) - kept))


@pytest.mark.parametrize("kind", [*KINDS, *RAW])
@PROPERTY
@given(share=st.floats(0.01, 0.97))
def test_a_picture_cut_short_is_broken(kind: str, share: float) -> None:
    data = photo_as(kind)
    assert refuses(data[: int(len(data) * share)])


@OF_RAW
@pytest.mark.parametrize("mode", ["RGB", "L"])
@PROPERTY
@given(share=st.floats(0.05, 0.9))
def test_blocks_of_a_disk_that_were_never_written_are_no_black_pixels(
    kind: str, mode: str, share: float
) -> None:
    data = encoded(load_image(photo_as(kind)).convert(mode), kind)
    kept = max(int(len(data) * share) // 4096, 1) * 4096
    assume(data[kept - 1])
    assert refuses(data[:kept] + bytes(len(data) - kept))


@OF_RAW
def test_raw_pictures_may_be_black_at_their_end(kind: str) -> None:
    photo = np.array(load_image(photo_as(kind)))
    for rows in range(1, 200, 7):
        photo[-rows:] = 0
        photo[:rows] = 0
        assert not refuses(encoded(Image.fromarray(photo), kind))
    for image in flats():
        for mode in ("RGB", "L"):
            assert not refuses(encoded(image.convert(mode), kind))


def test_text_of_a_plain_pixmap_is_read_to_its_end() -> None:
    text = b"P3 64 64 255\n" + b"17 200 3\n" * 4096
    assert not refuses(text)
    assert refuses(text[:-400])
    assert refuses(text[:-400] + bytes(400))


def test_a_hole_in_a_progressive_scan_is_broken_where_no_flat_part_explains_it() -> None:
    data = photo_as("jpeg progressive")
    starts = range(700, len(data) - 2048, 500)
    found = [refuses(data[:start] + bytes(2048) + data[start + 2048 :]) for start in starts]
    # Holes that begin in a scan of colour alone, where most blocks are flat, go unseen.
    assert sum(found) >= 0.9 * len(found)


@pytest.mark.parametrize("lost", [1, 2, 30, 400])
def test_a_strip_of_jpeg_in_a_tiff_that_ends_in_zeros_is_broken(lost: int) -> None:
    data = photo_as("tiff jpeg")
    tags = Image.open(io.BytesIO(data)).tag_v2  # type: ignore[attr-defined]
    end = tags[273][1] + tags[279][1]
    assert refuses(data[: end - lost] + bytes(lost) + data[end:])


@JPEGS
@pytest.mark.parametrize("last", range(1, 9))
def test_the_last_bytes_of_a_jpeg_count(kind: str, last: int) -> None:
    data = photo_as(kind)
    assert refuses(data[:-last])
    assert refuses(data[:-last] + bytes(last))
    assert refuses(data[:-last] + bytes(70_000))


@pytest.mark.parametrize("kind", ["jpeg", "jpeg full colour", "jpeg restarts", "png"])
@PROPERTY
@given(share=st.floats(0.3, 0.9))
def test_a_hole_in_the_middle_is_broken(kind: str, share: float) -> None:
    data = photo_as(kind)
    start = int(len(data) * share)
    assert refuses(data[:start] + bytes(512) + data[start + 512 :])


@pytest.mark.parametrize("kind", ["jpeg", "jpeg full colour", "jpeg progressive", "jpeg restarts"])
@pytest.mark.parametrize("marker", [b"\xff\xd9", b"\xff\xd0", b"\xff\xd5"], ids=bytes.hex)
@PROPERTY
@given(share=st.floats(0.02, 0.8))
def test_a_marker_within_coded_data_is_broken(kind: str, marker: bytes, share: float) -> None:
    data = photo_as(kind)
    ends = [found.start() for found in re.finditer(rb"\xff[\xc0-\xcf\xd8-\xfe]", data)]
    start, end = max(itertools.pairwise(ends), key=lambda pair: pair[1] - pair[0])
    at = start + 20 + int((end - start - 30) * share)
    assume(data[at - 1] != 0xFF)  # Else it makes another marker of the byte before.
    assert refuses(data[:at] + marker + data[at:])


def test_a_restart_marker_that_is_lost_is_missed() -> None:
    data = photo_as("jpeg restarts")
    first, second = (data.index(bytes((0xFF, number))) for number in (0xD0, 0xD1))
    assert refuses(data[:first] + data[first + 2 :])
    assert refuses(data[:first] + data[second:])


def test_an_end_that_is_written_twice_is_one() -> None:
    assert not refuses(photo_as("jpeg") + b"\xff\xd9")


@pytest.mark.parametrize("kind", ["jpeg", "jpeg progressive", "png", "gif"])
@pytest.mark.parametrize("tail", TAILS, ids=len)
def test_what_cameras_write_behind_the_end_does_not_matter(kind: str, tail: bytes) -> None:
    assert not refuses(photo_as(kind) + tail)


def test_a_picture_of_several_frames_needs_its_first() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), np.uint8)
    frames = [Image.fromarray(frame) for frame in noise]
    for kind in ("mpo", "gif", "webp", "avif"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert load_image(data).size == (64, 48)
    mpo = encoded(frames[0], "mpo", save_all=True, append_images=frames[1:])
    assert missing_end(mpo[:-100]) == ""


def flats() -> Iterator[Image.Image]:
    for size in ((8, 8), (17, 300), (1000, 700)):
        for colour in ("white", "black", (10, 200, 30)):
            yield Image.new("RGB", size, colour)
    noise = np.zeros((300, 300, 3), np.uint8)
    noise[:100] = np.random.default_rng(0).integers(0, 256, (100, 300, 3))
    yield Image.fromarray(noise)
    page = np.full((900, 900, 3), 255, np.uint8)
    page[400:420, 400:420] = 0
    yield Image.fromarray(page)
    ramp = np.linspace(255, 0, 4096)[None].repeat(64, 0)
    yield Image.fromarray(ramp.astype(np.uint8)).convert("RGB")


@OF_KIND
def test_flat_pictures_are_whole_though_they_code_to_zeros(kind: str) -> None:
    for image in flats():
        for mode in ("RGB", "L"):
            assert missing_end(encoded(image.convert(mode), kind)) == ""


def test_zeros_at_the_end_of_a_picture_are_no_lack_where_data_follow() -> None:
    data = encoded(Image.new("RGB", (3000, 2000), "white"), "jpeg optimised")
    assert bytes(64) in data
    assert not refuses(data)


@pytest.mark.parametrize("kind", ["pcx", "tga", "sgi", "im", "dds", "eps", "pdf", "ico", "icns"])
def test_formats_that_are_no_pictures_of_a_data_set_are_not_tried(kind: str) -> None:
    with pytest.raises(UnreadableImage, match="not an image that Pillow can read"):
        load_image(encoded(Image.new("RGB", (64, 64)), kind))


def test_a_bomb_is_refused_though_another_package_lifted_pillows_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    data = bytearray(encoded(Image.new("L", (8, 8))))
    data[16:24] = struct.pack(">II", 20_000, 20_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(UnreadableImage, match="20000x20000 pixels: a decompression bomb"):
        load_image(bytes(data))


def test_postscript_starts_no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("Ghostscript"))
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    with pytest.raises(UnreadableImage, match="not an image that Pillow can read"):
        load_image(script)


@pytest.mark.parametrize(
    "head",
    [
        *(
            b"\xff\xd8",
            b"GIF89a",
            b"\x89PNG\r\n\x1a\n",
            b"RIFF0000WEBP",
            b"BM",
            b"P5",
            b"P6 9 9 255 ",
        ),
        *(b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
    ],
)
@PROPERTY
@given(data=st.binary(max_size=200))
def test_any_bytes_are_judged(head: bytes, data: bytes) -> None:
    assert isinstance(missing_end(head + data), str)
    assert isinstance(missing_end(b"\0\0\0 ftyp" + data), str)


@pytest.mark.skipif(sys.platform != "linux", reason="pages are counted as Linux does")
def test_the_memory_of_an_image_is_kept_for_the_next() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (1500, 1500), "grey").save(stream, format="JPEG")
    load_image(stream.getvalue())
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(4):
        load_image(stream.getvalue())
    # From the system anew it would be 2,200 for each.
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before < 2000
