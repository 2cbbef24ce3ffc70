"""Replies made safe, and the journals that keep them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.interfaces.types import Status
from tasks.vqa.replies import Answered, Journal, hand_over, handed_over, safe


def test_what_is_safe_stays() -> None:
    assert safe("déjà vu\n") == ("déjà vu\n", 0)


def test_journal_is_lines_of_json(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.add({"k": Answered(reply="naïve\n", images=("1x1x3-0",))})
    (line,) = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert json.loads(line)["reply"] == "naïve\n"
    kept = Journal(tmp_path / "journal.jsonl").get("k")
    assert kept == Answered(reply="naïve\n", images=("1x1x3-0",))


def test_a_flipped_bit_of_the_journal_is_a_missing_reply(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).add({"k": Answered(reply="[8, 7]"), "l": Answered(reply="other")})
    whole = path.read_bytes()
    for bit in range(8 * (len(whole) - 1)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        caplog.clear()
        journal = Journal(path)
        found = [journal.get("k"), journal.get("l")]
        assert found[0] in (None, Answered(reply="[8, 7]"))
        assert found[1] in (None, Answered(reply="other"))
        assert ("damaged" in caplog.text) is (None in found)


@pytest.mark.parametrize("line", ["7", "[]", "{}", '{"key": "k"}', "\udcff", "nonsense"])
def test_lines_that_are_no_replies_are_missing(tmp_path: Path, line: str) -> None:
    path = tmp_path / "journal.jsonl"
    old = json.dumps({"key": "k", **vars(Answered(reply="a"))})
    path.write_bytes(f"{line}\n{old}\n".encode("utf-8", "surrogateescape"))
    assert Journal(path).get("k") == Answered(reply="a")


def test_one_journal_takes_in_those_of_several_processes(tmp_path: Path) -> None:
    one = tmp_path / "journal.jsonl"
    old = json.dumps({"key": "a", **vars(Answered(reply="of an older version"))})
    one.write_text(f'{old}\n{{"key": "cut sho')
    paths = [tmp_path / f"journal-{rank}.jsonl" for rank in range(2)]
    for path, key in zip(paths, "bc", strict=True):
        Journal(path, one).add({key: Answered(reply=key), "a": Answered(reply="again")})
    with paths[1].open("a") as file:
        file.write('{"key": "d", "reply": "cut sho')
    Journal(one).take_in(paths)
    assert sorted(tmp_path.iterdir()) == [one]
    kept = Journal(one)
    assert [kept.get(key) for key in "abcd"] == [
        *(Answered(reply=text) for text in ("of an older version", "b", "c")),
        None,
    ]


def test_a_journal_that_is_only_read_stays_as_it_is(tmp_path: Path) -> None:
    earlier = tmp_path / "journal.jsonl"
    Journal(earlier).add({"a": Answered(reply="yes")})
    with earlier.open("a") as file:
        file.write("another process is writing th")
    before = earlier.read_bytes()
    own = Journal(tmp_path / "journal-1.jsonl", earlier)
    own.add({"b": Answered(reply="no")})
    assert own.get("a") == Answered(reply="yes")
    assert earlier.read_bytes() == before
    assert Journal(tmp_path / "journal-1.jsonl").get("a") is None


def test_answers_are_handed_over_with_their_failures(tmp_path: Path) -> None:
    answers = {
        3: Answered(reply="naïve\n", images=("1x1x3-0",), cut=True, controls=1),
        0: Answered(status=Status.DECODE_ERROR, error="no picture"),
    }
    hand_over(tmp_path / "answers-1.jsonl", answers)
    assert handed_over(tmp_path / "answers-1.jsonl") == answers
