"""What one `--model` of a sweep stands for."""

from __future__ import annotations

import pytest

from harness.interfaces.errors import UserError
from reports.sweep.curves import family_of
from reports.sweep.ladders import expand


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("webp:{512,1024}", ["webp:512", "webp:1024"]),
        ("webp?bytes={512..2048*2}", ["webp:512", "webp:1024", "webp:2048"]),
        ("m?q={10..50..20}&k=a,b", ["m?q=10&k=a,b", "m?q=30&k=a,b", "m?q=50&k=a,b"]),
        ("m?q={0.5..1.5..0.5}", ["m?q=0.5", "m?q=1", "m?q=1.5"]),
        ("m:{a,b}/model?x={1,2}", [f"m:{a}/model?x={x}" for a in "ab" for x in (1, 2)]),
        ('m?sizes=[1,2]&more={"a":1,"b":2}', ['m?sizes=[1,2]&more={"a":1,"b":2}']),
        ("m:{only}", ["m:{only}"]),
        ("jpeg", [f"jpeg:{count}" for count in (512, 1024, 2048, 4096, 8192)]),
        ("jpeg:700", ["jpeg:700"]),
        ("identity", ["identity"]),
    ],
)
def test_lists_ranges_and_ladders(text: str, choices: list[str]) -> None:
    assert expand(text) == choices


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("m:{1..9*1}", "never ends"),
        ("m:{1..9..0}", "never ends"),
        ("m:{0..9*2}", "never ends"),
        ("m:{9..1}", "is empty"),
        ("m:{1..1000000}", "more than 100"),
        ("m:{512,1024", r"braces do not pair: write a list \{512,1024\} or a range"),
        ("m:512,1024}", "braces do not pair"),
        ("m?q={512,1024", "braces do not pair"),
        ("m:{512..}", r"\{512..\} is no list and no range: write"),
        ("m:{1..10**9}", "is no list and no range"),
        ("m:{10..90..-5}", "is no list and no range"),
        ("m:{1..5,9}", "is no list and no range"),
        ("m:{512,}", "is no list and no range"),
    ],
)
def test_ranges_that_are_none(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        expand(text)


def test_a_family_is_a_model_but_for_its_rate() -> None:
    names = ("webp", "webp:512", "webp?bytes=1024", "m?kernel=a&q=1e3", "Theirs at 4 bits")
    assert [family_of(name) for name in names] == [
        *("webp", "webp", "webp", "m?kernel=a"),
        "Theirs at 4 bits",
    ]
