"""From encoded bytes to a Pillow image: raster formats only, and whole ones.

Decoders fill in what is missing and say nothing. An interrupted download or a full disk leaves the
start of a file, or one of full size whose tail was never written and reads as zeros. Formats that
mark their end are judged by it. Raw pixels have no mark and may be black: there only blocks of a
disk tell, where zeros begin with one. JPEG 2000 is left to its decoder, which fails as it should.
"""

from __future__ import annotations

import contextlib
import io
import re
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError, _imaging
from PIL.TiffImagePlugin import (
    COMPRESSION,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TILEBYTECOUNTS,
    TILEOFFSETS,
)

from uwt_images.listing import UnreadableImage

RASTER_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")
"""Pillow's names. It knows more: PostScript, which starts Ghostscript, and players of a kind."""
_MOST_PIXELS = 178_956_970
"""Pillow's own limit, which other packages lift for the whole process."""
_MANY_PIXELS = 1 << 22
"""Beside decoding so many, what Pillow does in Python is nothing."""
_RESTARTS = range(0xD0, 0xD8)
"""Restart markers; their last three bits count."""
_HOLE = bytes(64)
"""As many zeros are no coded data where no flat part of the picture can account for them."""
_LONG_HOLE = bytes(1024)
"""As many are none in a scan that refines coefficients, whose bits that correct nothing are zeros,
125 bytes at most in a row as libjpeg writes them; nor in one of DC coefficients, where a ramp of
grey may be zeros until it is black."""
_BLOCK = 4096
"""Bytes of a disk's block, and of a page of memory."""
_SOI, _EOI, _SOS, _DHT, _DQT, _DRI, _APP0, _COM = 0xD8, 0xD9, 0xDA, 0xC4, 0xDB, 0xDD, 0xE0, 0xFE
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_LEAST_LENGTH = {_DHT: 2, _DQT: 2, _DRI: 2, _COM: 2, _APP0: 9}
"""Of the segments that a plain header has, the least length that Pillow takes."""
_AC = 0x10
"""What a Huffman table of AC coefficients has in its number."""
_TIFF_JPEG = 7
_SHORT_REST = 8
"""Bytes behind an end mark that are nothing: some programs write it twice."""
_KEPT_BLOCKS = 8
"""Blocks of memory, of 16 MB at most, that Pillow keeps for the next image."""

# It keeps none by itself: to get each image's pages from the system took a third of decoding.
if not _imaging.get_blocks_max():
    _imaging.set_blocks_max(_KEPT_BLOCKS)


def load_image(data: bytes, covering: tuple[int, int] | None = None) -> Image.Image:
    """Decode an image in the mode that it is stored in.

    What no pixel depends on is left out of a plain JPEG: format, density, comments, quantisation.

    Args:
        data: of the file.
        covering: height and width; a JPEG is decoded at 1/8, 1/4 or 1/2 of its size where that is
            as large, which is several times as fast. None decodes it whole.

    Raises:
        UnreadableImage: It is of no raster format, not whole, or so large that it may be a bomb.
    """
    # Other packages switch this on for the whole process, and half an image would pass for one.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        lacking = missing_end(data)
        if not lacking and covering is None and (size := _plain_jpeg(data)):
            # The same decoder; opening holds Python's lock as long as decoding does. What fails is
            # told below.
            with contextlib.suppress(ValueError, OSError):
                return Image.frombytes("RGB", size, data, "jpeg", ("RGB", ""))
        image = Image.open(io.BytesIO(data), formats=RASTER_FORMATS)
        if image.width * image.height > _MOST_PIXELS:
            raise UnreadableImage(f"{image.width}x{image.height} pixels: a decompression bomb")
        if lacking := lacking or _tiff_jpeg(image, data):
            raise UnreadableImage(f"truncated or damaged image ({lacking})")
        if covering is not None:
            image.draft(None, covering[::-1])
        if image.format == "JPEG":
            image.decodermaxblock = len(data)  # All at once, not 64 KB after 64 KB copied.
        image.load()
    except UnidentifiedImageError as error:
        raise UnreadableImage("not an image that Pillow can read") from error
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:
        # Damaged bytes make Pillow's decoders raise nearly any exception.
        raise UnreadableImage(f"unreadable or truncated image ({error})") from error
    return image


def missing_end(data: bytes) -> str:
    """What is missing of a picture, in a few words; empty where it is whole or cannot be told."""
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _gif(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data[4:8] == b"ftyp":
        return _avif(data)
    if data.startswith((b"BM", b"II", b"MM")) or re.match(rb"P[1-7]\s", data):
        return _raw(data)
    return ""


def _jpeg(data: bytes) -> str:
    """Go from marker to marker to the end of the image; what follows it, some cameras wrote."""
    position, frame, interval = 2, 0, 0
    unlike_flat: set[int] = set()
    markers, restarts = _markers(data)
    while (at := bisect_left(markers, position)) < len(markers):
        start = markers[at] + 2
        kind = data[start - 1]
        if kind == _EOI:
            return _ends_twice(data, start)
        length = int.from_bytes(data[start : start + 2], "big")
        segment = data[start + 2 : start + length]
        position = start + max(length, 2)
        if kind in _SEQUENTIAL or kind == _PROGRESSIVE:
            frame = kind
        elif kind == _DHT:
            found = list(_tables(segment))
            unlike_flat -= {table for table, _ in found}
            unlike_flat |= {table for table, first in found if first}
        elif kind == _DRI:
            interval = int.from_bytes(segment[:2], "big")
        elif kind == _SOS and frame:
            tables, hole = _scan(segment, frame == _PROGRESSIVE)
            at = bisect_left(markers, position)
            end = markers[at] if at < len(markers) else len(data)
            within = restarts[bisect_left(restarts, position) : bisect_left(restarts, end)]
            if (place := _stray_restart(data, within, interval)) >= 0:
                return f"a restart marker at byte {place} where none belongs"
            zeros = data.find(hole, position, end)
            if zeros >= 0 and tables & unlike_flat:
                return f"zeros from byte {zeros} on where coded data should be"
    return "the data end before the image does"


def _plain_jpeg(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG in colour whose header holds what its decoder reads, and no more.

    None of any other: EXIF data, profiles and second pictures are Pillow's to find.
    """
    position, size = 2, None
    while len(head := data[position : position + 4]) == 4 and head[0] == 0xFF:
        kind, length = head[1], int.from_bytes(head[2:], "big")
        segment = data[position + 4 : position + 2 + length]
        if kind == _SOS:
            return size
        if kind == _PROGRESSIVE or kind in _SEQUENTIAL:
            height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
            plain = size is None and len(segment) == 15 and segment[0] == 8 and segment[5] == 3
            plain = plain and 0 < width * height < _MANY_PIXELS
            size = width, height
        else:
            plain = length >= _LEAST_LENGTH.get(kind, 1 << 16)
        if not plain:
            return None
        position += 2 + length
    return None


def _ends_twice(data: bytes, start: int) -> str:
    """Say where a JPEG's first end mark stands if its data go on to another at the file's end.

    What cameras write behind a picture is other pictures, with their own beginning, or no JPEG's
    data; decoders leave all below the first end mark grey, as if nothing were missing.
    """
    rest = data[start:].rstrip(b"\0")
    if len(rest) > _SHORT_REST and rest.endswith(bytes((0xFF, _EOI))):
        return "" if bytes((0xFF, _SOI)) in rest else f"its end mark stands at byte {start - 2}"
    return ""


def _stray_restart(data: bytes, restarts: Sequence[int], interval: int) -> int:
    """Place of the first of a scan's restart markers that is out of turn; -1 where none is.

    Decoders that meet one fill the rest with grey, or move what follows.
    """
    turns = enumerate(restarts)
    return next((at for turn, at in turns if not interval or (data[at + 1] ^ turn) & 7), -1)


def _markers(data: bytes) -> tuple[list[int], list[int]]:
    """Places of all markers, their last 0xFF each, and apart from them those of restart markers.

    Only the former end coded data.

    All at once and by NumPy: other threads go on meanwhile, which Python's `re` does not let them.
    """
    levels = np.frombuffer(data, np.uint8)
    # Of a row of 0xFF the last counts: memory that was never written is nothing else.
    follows = (levels[1:] > 0x01) & (levels[1:] < 0xFF)
    places: list[int] = ((levels[:-1] == 0xFF) & follows).nonzero()[0].tolist()
    restarts = [place for place in places if data[place + 1] in _RESTARTS]
    return [place for place in places if data[place + 1] not in _RESTARTS], restarts


def _scan(segment: bytes, progressive: bool) -> tuple[set[int], bytes]:
    """Of a scan's header the Huffman tables that tell flat parts from holes, and how long one is.

    Scans of a sequential picture have AC coefficients, those of a progressive one either them or
    DC coefficients; a scan that refines DC coefficients has raw bits and no table.
    """
    parts = segment[0] if segment and len(segment) >= 4 + 2 * segment[0] else 0
    if not parts:
        return set(), _HOLE
    chosen = segment[2 : 1 + 2 * parts : 2]
    first, _, approximation = segment[1 + 2 * parts : 4 + 2 * parts]
    refines = progressive and approximation >> 4 > 0
    if progressive and first == 0:
        return (set() if refines else {table >> 4 for table in chosen}), _LONG_HOLE
    return {_AC | table & 15 for table in chosen}, _LONG_HOLE if refines else _HOLE


def _tables(segment: bytes) -> Iterator[tuple[int, int]]:
    """Class and number of each Huffman table, and the symbol whose code is all zeros.

    Of AC coefficients symbol 0 ends a block, of DC coefficients it repeats the one before. Zeros in
    a row are so many flat blocks where their code is all zeros; under any other table they would be
    a picture that nobody has.
    """
    position = 0
    while position + 17 < len(segment):
        yield segment[position], segment[position + 17]
        position += 17 + sum(segment[position + 1 : position + 17])


def _png(data: bytes) -> str:
    position = 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        name, end = data[position + 4 : position + 8], position + 12 + length
        if name == b"IEND":
            return ""
        if not name.isalpha():
            return f"no chunk at byte {position}"
        if end > len(data):
            break
        checksum = int.from_bytes(data[end - 4 : end], "big")
        if name == b"IDAT" and zlib.crc32(data[position + 4 : end - 4]) != checksum:
            return f"damage between bytes {position} and {end}"
        position = end
    return "the data end before the image does"


def _gif(data: bytes) -> str:
    """Go from block to block to the first image, and see that another block or the end follows."""
    position = 13 + _palette(data[10:11])
    seen_image = False
    while position < len(data):
        kind = data[position : position + 1]
        if kind in b",!;" and seen_image:
            return ""
        if kind == b",":
            seen_image = True
            position += 11 + _palette(data[position + 9 : position + 10])
        elif kind == b"!":
            position += 2
        else:
            position += 1
            continue
        while position < len(data) and data[position]:
            position += 1 + data[position]
        position += 1
    return "the data end before the image does"


def _palette(flags: bytes) -> int:
    """Bytes of the palette that a GIF's flags announce."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _webp(data: bytes) -> str:
    """See that the file is as long as it says, and that no picture's data end in a hole."""
    if 8 + int.from_bytes(data[4:8], "little") > len(data) + 1:  # The last byte may be padding.
        return "the data end before the image does"
    position = 12
    while position + 8 <= len(data):
        name = data[position : position + 4]
        start = position + 8
        end = start + int.from_bytes(data[position + 4 : start], "little")
        hole = len(_HOLE)
        if name == b"VP8 ":
            width, height = (
                int.from_bytes(data[start + place : start + place + 2], "little") & 0x3FFF
                for place in (6, 8)
            )
            # libwebp codes a flat macroblock of 16x16 pixels as up to 0.46 bytes of zeros.
            hole += -(-width // 16) * -(-height // 16) // 2
        if name in (b"VP8 ", b"VP8L") and data[start:end].endswith(bytes(hole)):
            return f"zeros up to byte {end} where coded data should be"
        position = end + end % 2
    return ""


def _avif(data: bytes) -> str:
    """See that no box of coded data ends in a hole."""
    position = 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        name = data[position + 4 : position + 8]
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        end = position + size if size >= 8 else len(data)
        if name == b"mdat" and data[position + 8 : end].endswith(_HOLE):
            return f"zeros up to byte {end} where coded data should be"
        position = end
    return ""


def _raw(data: bytes) -> str:
    """See that no zeros from a disk's block to the end are the longest of the file.

    Black pixels rarely begin where a block does, and black backgrounds have more of them elsewhere.
    """
    start = len(data.rstrip(b"\0"))
    tail = max(len(data) - start, len(_HOLE))
    if start % _BLOCK == 0 and data.find(bytes(tail)) == start:
        return f"zeros from byte {start} on, a block of the disk, to the end"
    return ""


def _tiff_jpeg(image: Image.Image, data: bytes) -> str:
    """See that every strip or tile of a TIFF file that is a JPEG is a whole one."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(COMPRESSION) != _TIFF_JPEG:
        return ""
    places = zip(
        tags.get(STRIPOFFSETS) or tags.get(TILEOFFSETS) or (),
        tags.get(STRIPBYTECOUNTS) or tags.get(TILEBYTECOUNTS) or (),
        strict=False,
    )
    return next(filter(None, (_jpeg(data[start : start + size]) for start, size in places)), "")
