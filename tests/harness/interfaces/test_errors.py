"""Hostile text in each place where it is shown."""

from __future__ import annotations

import json

import pytest

from harness.interfaces.errors import json_text, one_line, plain, terminal_text

HOSTILE = "a\x1b[31mb\x00c\u202ed\u2066e\u200bf\x9bg\u2028h\x07i\U000e0041j"


def test_no_control_character_is_left() -> None:
    for write in (plain, one_line, terminal_text):
        assert write(HOSTILE) == "a [31mb c d e f g h i j"


def test_lines_stay_where_there_may_be_some() -> None:
    text = "one\n\ttwo\r\nthree"
    assert plain(text) == "one\n\ttwo \nthree"
    assert one_line(text) == "one two three"


@pytest.mark.parametrize(
    "text", ["日本語 e\u0301 👩\u200d🚀 ±∞", "a::b", "## heading", "C::method"]
)
def test_words_of_all_languages_stay(text: str) -> None:
    assert terminal_text(text) == one_line(text) == text


def test_bytes_that_are_no_text_are_shown() -> None:
    assert one_line("a\udcff.png") == r"a\udcff.png"


@pytest.mark.parametrize(
    "command",
    ["::error::x", "::add-mask::x", "::error file=a,line=1::x", "##[group]x", "##vso[task.set]x",
     "##teamcity[x]"],
)  # fmt: skip
def test_no_line_commands_a_build(command: str) -> None:
    assert not terminal_text(f"name\n{command}").splitlines()[1].startswith(command[:3])


def test_json_holds_the_same_value() -> None:
    text = json_text({"name": HOSTILE, "word": "é"})
    assert json.loads(text) == {"name": HOSTILE, "word": "é"}
    assert "é" in text
    assert plain(text) == text
