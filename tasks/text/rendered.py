"""The embedded pages of `text-recon`: rendered lines whose words, boxes and heights are known.

Latin is drawn in fonts that ship with matplotlib and Pillow, Chinese and Japanese where the package
`pylopdf-fonts-zh-cn` is installed.
"""

from __future__ import annotations

import functools
import io
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import PIL
from PIL import Image, ImageDraw, ImageFont

from harness.interfaces.extras import install
from tasks.recon.marks import Mark
from tasks.shared.sample_set import SampleSet, ppm_bytes

WORDS = Path(__file__).with_name("words.json")
SIDE = 256
SIZES = (9, 12, 16, 22, 30, 44)
"""Sizes of type in pixels; each font has a page of each."""
LINES = 2
_VERSION = 1
_MARGIN = 8
_MOST_CHARACTERS = 20
"""Of a line, so that small type does not outweigh all other."""
_VEIL = 0.7
"""How much of a photo's colours gives way to a ground on which text is easily read."""
_PADDING = 1
"""Pixels that a line's box holds around its ink."""

_LATIN = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral")
"""Of matplotlib's fonts."""
_INKS = ((20, 20, 24), (120, 16, 28), (14, 46, 120), (245, 244, 238), (255, 221, 60))
_GROUNDS = ((244, 242, 236), (214, 228, 240), (236, 214, 190), (40, 52, 66), (24, 80, 62))


@dataclass(frozen=True)
class Face:
    """A font and the words that are set in it."""

    name: str
    path: str
    """Of the font's file; empty for the one inside Pillow."""
    words: tuple[str, ...]
    separator: str = " "

    def sized(self, size: int) -> ImageFont.FreeTypeFont:
        """The font at a size of type in pixels."""
        if self.path:
            # Raqm, where it is installed, would set other distances.
            return ImageFont.truetype(self.path, size, layout_engine=ImageFont.Layout.BASIC)
        font = ImageFont.load_default(size)
        assert isinstance(font, ImageFont.FreeTypeFont)
        return font


def faces() -> list[Face]:
    """The fonts that are installed."""
    import matplotlib

    texts = json.loads(WORDS.read_text(encoding="utf-8"))
    latin, chinese, japanese = (
        tuple(texts[script].split()) for script in ("latin", "chinese", "japanese")
    )
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    found = [Face(f"latin-{name}", str(folder / f"{name}.ttf"), latin) for name in _LATIN]
    found.append(Face("latin-Aileron", "", latin))
    if asian := asian_fonts():
        sans, serif = (str(asian / f"Noto{style}SC-Regular.otf") for style in ("Sans", "Serif"))
        found.append(Face("chinese-NotoSans", sans, chinese, ""))
        found.append(Face("chinese-NotoSerif", serif, chinese, ""))
        found.append(Face("japanese-NotoSans", sans, japanese, ""))
    return found


def asian_fonts() -> Path | None:
    """The folder of the package `pylopdf-fonts-zh-cn`, if it is installed."""
    spec = find_spec("pylopdf_fonts_zh_cn")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


class RenderedText:
    """An image source of pages of 256x256 pixels, each a PPM file; and the marks on them."""

    label = "rendered-text"

    @property
    def notice(self) -> str:
        """That there is nothing but Latin script, where that is so."""
        if asian_fonts():
            return ""
        return f"Latin script alone, for want of other fonts: {install('text')}"

    def __init__(self) -> None:
        self._pages = {
            f"{face.name}-{size:02d}": (face, size) for face in faces() for size in SIZES
        }

    def ids(self) -> Sequence[str]:
        """Script, font and size of type, as `latin-DejaVuSans-12`, sorted."""
        return sorted(self._pages)

    def read(self, image_id: str) -> bytes:
        """The page as PPM bytes."""
        return ppm_bytes(_page(image_id, *self._pages[image_id])[0])

    def container(self, image_id: str) -> tuple[str, str]:
        """The font's file and what is drawn with it."""
        path = self._pages[image_id][0].path or str(ImageFont.__file__)
        return path, f"{image_id} {_VERSION} {PIL.__version__}"

    def marks(self) -> dict[str, list[Mark]]:
        """The lines of all pages."""
        return {image_id: _page(image_id, *about)[1] for image_id, about in self._pages.items()}


@functools.lru_cache(maxsize=256)
def _page(seed: str, face: Face, size: int) -> tuple[Image.Image, list[Mark]]:
    """A page and its lines; the seed decides words, colours and places."""
    chance = random.Random(seed)
    ground, ink = _colours(chance)
    photos = SampleSet()
    photo = Image.open(io.BytesIO(photos.read(chance.choice(photos.ids()))))
    page = Image.blend(photo, Image.new("RGB", photo.size, ground), _VEIL)
    draw = ImageDraw.Draw(page)
    font, marks = face.sized(size), []
    slot = SIDE // LINES
    for index, text in zip(range(LINES), _lines(chance, face, font), strict=False):
        left, top, right, bottom = font.getbbox(text)
        x = chance.uniform(_MARGIN, SIDE - _MARGIN - (right - left))
        y = index * slot + chance.uniform(_MARGIN, slot - _MARGIN - (bottom - top))
        x, y = round(x - left), round(y - top)
        draw.text((x, y), text, font=font, fill=ink)
        box = (x + left - _PADDING, y + top - _PADDING, x + right + _PADDING, y + bottom + _PADDING)
        marks.append(Mark(text, box))
    return page, marks


def _colours(chance: random.Random) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """A ground and an ink that is easily read on it."""
    ground = chance.choice(_GROUNDS)
    far = [ink for ink in _INKS if abs(sum(ink) - sum(ground)) > 300]
    return ground, chance.choice(far)


def _lines(chance: random.Random, face: Face, font: ImageFont.FreeTypeFont) -> Iterator[str]:
    """Lines of words drawn at random, as wide as fits."""
    while True:
        line = ""
        for word in chance.sample(face.words, len(face.words)):
            longer = face.separator.join(filter(None, (line, word)))
            if len(longer) <= _MOST_CHARACTERS and font.getlength(longer) <= SIDE - 2 * _MARGIN:
                line = longer
            elif line:
                break
        yield line
