"""Lines of text in pictures: what letters there are fonts for, and how much of a text fits."""

from __future__ import annotations

import functools
import importlib.util
import re
from bisect import bisect_right
from pathlib import Path
from typing import Any

from PIL import ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_LONGEST = 400
"""Letters that a text is cut to before it is laid out; fewer fit onto a picture."""
_LATIN = r"\u0000-\u024f"
"""What Pillow's own font draws."""
_KANA, _HANGUL = r"\u3040-\u30ff", r"\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"
_CJK = rf"\u2e80-\u9fff{_HANGUL}\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
_BESIDE = r"\u0370-\u03ff\u0400-\u04ff\u2010-\u2027\u2190-\u2193"
"""Greek, Cyrillic, punctuation and arrows, which the font of these scripts draws too."""
_PACKAGE, _FILE = "noto_cjk_sans_otc", "NotoSansCJK-Regular.ttc"


def cjk_font() -> Path | None:
    """Noto Sans CJK where the extra `cjk` is installed: its first face has all of these letters."""
    found = importlib.util.find_spec(_PACKAGE)
    path = Path(found.origin).with_name(_FILE) if found is not None and found.origin else None
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
        width: Pixels that a line may take that is made of the text: see `fitted`. None takes the
            text as it is.
        fill: Colour.
        options: Of `ImageDraw.text`.
    """
    font, letters = font_for(text, size)
    line = text if width is None else fitted(text, letters, font, width)
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
    spaced = "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST])
    line = " ".join(re.sub(f"[^{letters}]", "", spaced).split())
    if font.getlength(line) <= width:
        return line
    kept = bisect_right(
        range(len(line)), width, key=lambda end: float(font.getlength(f"{line[:end]}..."))
    )
    return f"{line[: max(kept - 1, 0)]}..."


def font_for(text: str, size: int) -> tuple[Font, str]:
    """The font of a whole line and the letters that it has: Pillow's own wherever that does."""
    path = cjk_font() if re.search(f"[{_CJK}]", text) else None
    if path is None:
        return ImageFont.load_default(size), _LATIN
    # Chinese, Japanese and Korean write some characters differently.
    face = 1 if re.search(f"[{_HANGUL}]", text) else 0 if re.search(f"[{_KANA}]", text) else 2
    return _read(path, size, face), _LATIN + _BESIDE + _CJK


@functools.cache
def _read(path: Path, size: int, face: int) -> Font:
    return ImageFont.truetype(path, size, index=face)
