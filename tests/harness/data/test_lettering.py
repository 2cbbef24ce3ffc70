"""Letters in pictures: a line fits, and Chinese, Japanese and Korean are drawn where a font is."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from harness.data import lettering
from harness.data.lettering import fitted, font_for, write_line

TEXTS = {2: "雪地里的红色汽车 A car", 0: "赤い車", 1: "빨간 자동차"}
"""By the face of the font that is for them."""


@pytest.mark.parametrize("width", [0, 5, 40, 200, 10_000])
def test_a_line_is_as_long_as_it_may_be(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "cjk_font", lambda: None)
    text = "a photo of two clocks, \u6539 and a\nbench " * 5
    font, letters = font_for(text, 12)
    line = fitted(text, letters, font, width)
    whole = " ".join(text.replace("\u6539", "").split())
    if line == whole:
        assert font.getlength(line) <= width
    else:
        assert line.endswith("...")
        kept = len(line) - 3
        assert font.getlength(line) <= width or kept == 0
        assert font.getlength(f"{whole[: kept + 1]}...") > width


def drawn(text: str, width: float | None = None) -> np.ndarray:
    image = Image.new("L", (300, 20), 255)
    write_line(ImageDraw.Draw(image), (2, 2), text, 12, width, fill="black")
    return np.asarray(image)


def test_plain_text_is_drawn_in_pillows_font() -> None:
    for text in ("webp:2048 ±…  0.5", "A photo"):
        plain = Image.new("L", (300, 20), 255)
        font = ImageFont.load_default(12)
        ImageDraw.Draw(plain).text((2, 2), text, "black", font)
        np.testing.assert_array_equal(drawn(text), np.asarray(plain))


@pytest.mark.parametrize("text", ["žluťoučký kůň Ünïcödé ß", "Привет", "Ελληνικά", "2 → 3 ≤ 4"])
def test_letters_with_accents_and_of_europe_have_a_shape_each(text: str) -> None:
    decomposed = unicodedata.normalize("NFD", text)  # As names of files are on a Mac.
    np.testing.assert_array_equal(drawn(text), drawn(decomposed))
    letters = {*unicodedata.normalize("NFC", text)} - {" "}
    # A box stands for none of them; behind ж all are drawn in one font.
    assert len({drawn(f"ж{letter}").tobytes() for letter in letters}) == len(letters)


def test_a_line_break_in_a_name_is_a_space() -> None:
    np.testing.assert_array_equal(drawn("new\nline.png   PSNR 3"), drawn("new line.png   PSNR 3"))


@pytest.mark.parametrize("face", TEXTS)
def test_letters_are_drawn_by_the_face_of_their_script(face: int) -> None:
    pytest.importorskip("noto_cjk_sans_otc")
    font, _ = font_for(TEXTS[face], 12)
    assert isinstance(font, ImageFont.FreeTypeFont)
    assert font.getname()[0] == f"Noto Sans CJK {('JP', 'KR', 'SC')[face]}"
    each = [drawn(letter, 200) for letter in TEXTS[face] if letter != " "]
    assert all((letter < 128).any() for letter in each)
    assert len({letter.tobytes() for letter in each}) == len({*TEXTS[face]} - {" "})


def test_without_the_font_they_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "cjk_font", lambda: None)
    np.testing.assert_array_equal(drawn(TEXTS[2], 200), drawn("A car", 200))
