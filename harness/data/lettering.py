"""Lines of text in pictures: what letters there are fonts for, and how much of a text fits."""

from __future__ import annotations

import functools
import importlib.util
import re
import unicodedata
from bisect import bisect_right
from pathlib import Path
from typing import Any

from PIL import ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_LONGEST = 400
"""Letters that a text is cut to before it is laid out; fewer fit onto a picture."""
_OWN = r"\u0020-\u007e\u00a9\u00ab\u00b0\u00b1\u00b4\u00b7\u00bb\u2018\u2019\u201c\u201d\u2026"
"""Characters that Pillow's own font can draw; no accented letter is among them."""
_EUROPEAN = r"\u0020-\u052f\u1e00-\u1fff\u2010-\u2027\u2030-\u205e\u20a0-\u20bf\u2100-\u22ff"
"""Latin with all accents, Greek, Cyrillic, punctuation, arrows and signs of mathematics: what the
font draws that matplotlib brings."""
_KANA, _HANGUL = r"\u3040-\u30ff", r"\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"
_CJK = rf"\u2e80-\u9fff{_HANGUL}\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
_BESIDE = r"\u0370-\u03ff\u0400-\u04ff\u2010-\u2027\u2190-\u2193"
"""Greek, Cyrillic, punctuation and arrows, which the font of these scripts draws beside Latin."""
_DEJAVU = "matplotlib", "mpl-data/fonts/ttf/DejaVuSans.ttf"
_PACKAGE, _FILE = "noto_cjk_sans_otc", "NotoSansCJK-Regular.ttc"


def cjk_font() -> Path | None:
    """Noto Sans CJK where the extra `cjk` is installed: its first face has all of these letters."""
    return _of_package(_PACKAGE, _FILE)


def _of_package(package: str, place: str) -> Path | None:
    """A file of a package, which is not imported; None where it is not installed."""
    found = importlib.util.find_spec(package)
    path = Path(found.origin).parent / place if found is not None and found.origin else None
    return path if path is not None and path.is_file() else None


def write_line(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    width: float | None = None,
    fill: str = "black",
    **options: Any,
) -> None:
    """Draw a text in the font that has its letters.

    Args:
        draw: Into what.
        at: Left upper corner.
        text: What is drawn.
        size: Of the font.
        width: Pixels that the line may take: see `fitted`. None takes all of the text.
        fill: Colour.
        options: Of `ImageDraw.text`.
    """
    font, letters = font_for(text, size)
    line = _drawable(text, letters) if width is None else fitted(text, letters, font, width)
    draw.text(at, line, fill, font, **options)


def fitted(text: str, letters: str, font: Font, width: float) -> str:
    """The text in one line no wider than `width` pixels; letters that the font lacks are left out.

    Line breaks and control characters become spaces; what is cut off is shown by three dots.

    Args:
        text: Any.
        letters: The font's, as a regular expression has them between brackets.
        font: That it is drawn in.
        width: In pixels.
    """
    line = " ".join(_drawable(text[:_LONGEST], letters).split())
    if font.getlength(line) <= width:
        return line
    kept = bisect_right(
        range(len(line)), width, key=lambda end: float(font.getlength(f"{line[:end]}..."))
    )
    return f"{line[: max(kept - 1, 0)]}..."


def font_for(text: str, size: int) -> tuple[Font, str]:
    """The font of a whole line and the letters that it has: Pillow's own wherever that does."""
    if re.search(f"[{_CJK}]", text) and (path := cjk_font()) is not None:
        # Chinese, Japanese and Korean write some characters differently.
        face = 1 if re.search(f"[{_HANGUL}]", text) else 0 if re.search(f"[{_KANA}]", text) else 2
        return _read(path, size, face), rf"\u0020-\u024f{_BESIDE}{_CJK}"
    if re.search(rf"[^{_OWN}\s{_CJK}]", text) and (path := _of_package(*_DEJAVU)) is not None:
        return _read(path, size, 0), _EUROPEAN
    return ImageFont.load_default(size), _OWN


def _drawable(text: str, letters: str) -> str:
    """A text without line breaks and without letters that a font lacks; accents are joined."""
    spaced = "".join(letter if letter.isprintable() else " " for letter in text)
    return re.sub(f"[^{letters}]", "", unicodedata.normalize("NFC", spaced))


@functools.cache
def _read(path: Path, size: int, face: int) -> Font:
    return ImageFont.truetype(path, size, index=face)
