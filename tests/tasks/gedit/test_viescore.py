from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tasks.gedit.viescore import (
    GUESSED,
    TRIES,
    Kind,
    Verdict,
    _mended,
    judge,
    outstanding,
    read_official,
    read_strict,
)
from tests.tasks.gedit.small import reply

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("case", GOLDEN["parse"], ids=lambda case: case["name"])
def test_official_reads_what_the_published_script_reads(case: dict[str, Any], last: bool) -> None:
    expected = case["second_try" if last else "first_try"]
    if case["reply"] is None:
        return  # It raises there; here a reply without words is an empty text.
    reading = read_official(case["reply"], last=last)
    if reading.problem == GUESSED:
        assert last
        assert expected == [6]  # Drawn at random there, with a seed of 0.
    elif reading.problem:
        assert expected is False
    else:
        assert list(reading.scores) == expected


@pytest.mark.parametrize("case", GOLDEN["evaluate"], ids=lambda case: case["name"])
def test_official_arithmetic_is_the_published_one_without_its_guesses(case: dict[str, Any]) -> None:
    replies: dict[Kind, list[str]] = {"SC": case["sc_replies"], "PQ": case["pq_replies"]}
    verdict = judge(replies, "official")
    if case["name"] == "empty_twice_gives_random_guess_not_a_skip":
        assert verdict.problem == f"SC reply {GUESSED}"
    elif isinstance(case["result"], str):
        assert verdict.problem
    else:
        assert [verdict.sc, verdict.pq, verdict.overall] == case["result"]


@pytest.mark.parametrize("case", GOLDEN["evaluate"], ids=lambda case: case["name"])
def test_as_many_replies_are_asked_for_as_there(case: dict[str, Any]) -> None:
    stored: dict[Kind, list[str]] = {"SC": case["sc_replies"], "PQ": case["pq_replies"]}
    replies: dict[Kind, list[str]] = {"SC": [], "PQ": []}
    while kinds := outstanding(replies, "official"):
        for kind in kinds:
            if len(replies[kind]) == len(stored[kind]):
                assert isinstance(case["result"], str)  # It raises there, and is not asked again.
                return
            replies[kind].append(stored[kind][len(replies[kind])])
    assert {kind: len(texts) for kind, texts in replies.items()} == case["calls"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (reply(7, 8), ""),
        (reply(0, 10), ""),
        (reply(7.5, 8), ""),
        ("```json\n" + reply(7, 8) + "\n```", ""),
        ("||V^=^V||\n" + reply(7, 8) + "\n||V^=^V||", ""),
        ('{"score": [7, 8], "reasoning": "two\nlines"}', ""),
        ("", "is empty"),
        (" \n", "is empty"),
        ("[7, 8]", "holds no JSON"),
        ("7", "holds no JSON"),
        ("}{", "holds no JSON"),
        ('{"score": [7, 8', "holds no JSON"),
        ('{"score": [7, 8],}', "holds JSON that is broken"),
        (reply(7, 8) + reply(1, 1), "holds 2 JSON objects with scores"),
        ('{"score":[1,1],"score":[8,7]}', "holds several lists of scores"),
        (reply(8, 7) + "\nfinal score = [9,9]", "holds several lists of scores"),
        (reply(8, 7) + " {score = [9,9]}", "holds several lists of scores"),
        ("{'score': [9, 9]} " + reply(8, 7), "holds several lists of scores"),
        ("As asked, score = [score1, score2]: " + reply(8, 7), ""),
        ('{"reasoning": "not score = [1, 1]", "score": [8, 7]}', ""),
        ('{"parts": {"score": [1, 1]}, "score": [8, 7]}', ""),
        ("[think]maybe " + reply(1, 1) + "[/think]\n" + reply(7, 8), ""),
        ("[think]maybe " + reply(7, 8), "holds no JSON"),
        ('{"reasoning": "a </think> in the picture", "score": [8, 7]}', ""),
        ('{"score": [8, 7], "reasoning": "<think> stands there"}', ""),
        ('<think>{"a": "</think>' + reply(8, 7), ""),
        ('maybe {"a": b}</think>' + reply(8, 7), ""),
        ("<think>maybe " + reply(1, 1) + "</think>\n" + reply(7, 8), ""),
        ("maybe " + reply(1, 1) + "</think>\n" + reply(7, 8), ""),
        ("<THINKING>a</THINKING><thinking>" + reply(1, 1) + "</thinking>" + reply(7, 8), ""),
        ("<think>maybe " + reply(7, 8), "holds no JSON"),
        ("Keep {a, b}.\n" + reply(7, 8), ""),
        ('{"a", {b}} ' + reply(7, 8), ""),
        ("{my thoughts: " + reply(7, 8) + "}", ""),
        (reply(7, 8) + "\nNote {x}", ""),
        ('{"plan": {"steps": []}}\n' + reply(7, 8), ""),
        ('{"score": [7, 8], "more": ' + reply(1, 1) + ",}", "holds JSON that is broken"),
        ('{"draft": ' + reply(7, 8), "holds JSON that is broken"),
        ('{"score": [1' + "0" * 400 + ", 8]}", "has scores that are no numbers from 0 to 10"),
        ('{"score": [1' + "0" * 5000 + ", 8]}", "holds JSON that is broken"),
        ('{"score": ' + "[" * 50_000 + "]" * 50_000 + "}", "holds JSON that is broken"),
        ("{" * 5000 + "}", "holds JSON that is broken"),
        (reply(7), "has no list of 2 scores"),
        (reply(7, 8, 9), "has no list of 2 scores"),
        ('{"score": 7}', "has no list of 2 scores"),
        ('{"reasoning": "none"}', "has no list of 2 scores"),
        (reply("7", 8), "has scores that are no numbers from 0 to 10"),
        (reply(True, 8), "has scores that are no numbers from 0 to 10"),
        (reply(11, 8), "has scores that are no numbers from 0 to 10"),
        (reply(-1, 8), "has scores that are no numbers from 0 to 10"),
        ('{"score": [NaN, 8]}', "has scores that are no numbers from 0 to 10"),
        ('{"score": [Infinity, 8]}', "has scores that are no numbers from 0 to 10"),
    ],
)
def test_strict_takes_two_numbers_and_nothing_else(text: str, problem: str) -> None:
    assert read_strict(text).problem == problem


def test_strict_asks_again_for_the_one_reply_that_cannot_be_read() -> None:
    assert outstanding({"SC": [], "PQ": []}, "strict") == ("SC", "PQ")
    assert outstanding({"SC": ["?"], "PQ": [reply(1, 2)]}, "strict") == ("SC",)
    assert outstanding({"SC": ["?", "?"], "PQ": [reply(1, 2)]}, "strict") == ()
    assert judge({"SC": ["?", reply(5, 4)], "PQ": [reply(1, 2)]}, "strict") == Verdict(4, 1)
    assert judge({"SC": ["?", "?"], "PQ": [reply(1, 2)]}, "strict").problem == (
        "SC reply holds no JSON"
    )
    assert judge({"SC": [], "PQ": [reply(1, 2)]}, "strict").problem == "SC reply is missing"


def test_numbers_that_official_cannot_compute_with() -> None:
    for scores in ("[NaN, 3]", "[true, 3]", "[]", "[null]", "{}"):
        verdict = judge({"SC": [f'{{"score": {scores}}}'], "PQ": [reply(5, 5)]}, "official")
        assert verdict.problem == "SC reply has scores that are no numbers"
    kept = judge({"SC": [reply(11, 20)], "PQ": [reply(5, 5)]}, "official")
    assert (kept.sc, kept.pq) == (11, 5)


def test_numbers_too_large_to_compute_with_are_none() -> None:
    for number in ("9" * 400, "1e200", "[٣, 4]"):
        for mode in ("strict", "official"):
            replies: dict[Kind, list[str]] = {
                "SC": [f'{{"score": [{number}, {number}]}}', number],
                "PQ": [reply(5, 5), reply(5, 5)],
            }
            assert judge(replies, mode).problem  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a:",
        '":',
        '"',
        '":,',
        '{"a":',
        '{"score": ',
        '{ "',
        "<think>",
        "</think>",
        '{"a":1}',
        '{"a":"</think>',
        '{"a":1}</think>',
        "{'a':1,",
        '{"\\',
        "[",
    ],
)
@pytest.mark.parametrize("ends", ["", "}", "||V^=^V||"])
def test_two_hundred_kilobytes_are_read_at_once(text: str, ends: str) -> None:
    """Were the time quadratic, these would take hours; the suite's own limit would end them."""
    long = text * (200_000 // len(text))
    whole = f"{ends}{long}{ends}" if "|" in ends else "{" + long + ends
    assert read_strict(whole).problem
    assert read_official(whole, last=False).problem


@given(st.text(alphabet='"":,{}[]a1 -.tn', max_size=40))
def test_broken_json_is_mended_as_the_published_pattern_does(text: str) -> None:
    def entry(match: re.Match[str]) -> str:
        value = match[2].strip()
        if re.fullmatch(r"-?\d+(\.\d+)?", value):
            value = f"[{value}]"
        elif not re.fullmatch(r"true|false|null", value, re.IGNORECASE):
            value = f'"{value}"'
        return f"{match[1]}: {value}{match[3]}"

    quoted = re.sub(r"(\w+):", r'"\1":', text)
    assert _mended(text) == re.sub(r'(".*?"):(.*?)([,}])', entry, quoted)


@given(
    st.lists(st.text(max_size=40), min_size=1, max_size=3), st.sampled_from(["strict", "official"])
)
def test_no_text_breaks_the_reading_or_makes_scores_of_nothing(texts: list[str], mode: Any) -> None:
    verdict = judge({"SC": texts, "PQ": texts}, mode)
    assert bool(verdict.problem) == math.isnan(verdict.sc) == math.isnan(verdict.overall)
    assert len(outstanding({"SC": texts[:TRIES], "PQ": texts[:TRIES]}, mode)) in (0, 2)
