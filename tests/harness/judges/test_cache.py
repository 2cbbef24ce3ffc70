"""Replies on the disk, as damage and earlier versions leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.judges.answers import CHAT
from harness.judges.cache import ReplyCache

KEY = "ab" * 32


def answer(text: str) -> dict[str, Any]:
    return {"answer": {"choices": [{"message": {"content": text}}], "odd": float("nan")}}


def place(root: Path) -> Path:
    return root / KEY[:2] / f"{KEY}.json"


@pytest.mark.parametrize("reply", [answer("[8, 7]"), {"refusal": "no"}])
def test_a_flipped_bit_is_a_missing_reply(tmp_path: Path, reply: dict[str, Any]) -> None:
    cache = ReplyCache(tmp_path)
    cache.write(KEY, reply)
    whole = place(tmp_path).read_bytes()
    assert json.dumps(cache.read(KEY, CHAT)) == json.dumps(reply)
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        place(tmp_path).write_bytes(flipped)
        assert cache.read(KEY, CHAT) is None or json.dumps(cache.read(KEY, CHAT)) == json.dumps(
            reply
        )


def test_a_reply_under_another_name_is_missing(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path)
    cache.write("ac" * 32, answer("yes"))
    place(tmp_path).parent.mkdir(exist_ok=True)
    (tmp_path / "ac" / f"{'ac' * 32}.json").rename(place(tmp_path))
    assert cache.read(KEY, CHAT) is None


@pytest.mark.parametrize(
    ("kept", "read"),
    [
        ({"answer": {"choices": [{"message": {"content": "yes"}}]}}, True),
        ({"refusal": "no"}, True),
        ({"answer": {"choices": [{"massage": {"content": "yes"}}]}}, False),
        ({"answer": {"choices": []}}, False),
        ({"answer": []}, False),
        ({"ansver": {}}, False),
        ({}, False),
        ([], False),
        (7, False),
    ],
)
def test_entries_without_a_seal_are_read_where_they_are_replies(
    tmp_path: Path, kept: Any, read: bool
) -> None:
    place(tmp_path).parent.mkdir()
    place(tmp_path).write_text(json.dumps(kept), encoding="utf-8")
    assert ReplyCache(tmp_path).read(KEY, CHAT) == (kept if read else None)
