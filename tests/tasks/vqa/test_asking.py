from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from harness.interfaces import Question
from harness.interfaces.errors import UserError
from harness.interfaces.types import ModelCard, Status
from tasks.shared.networks import LazyModel
from tasks.vqa.asking import Asked, Asker
from tasks.vqa.replies import Answered, Journal, until

PIXELS = np.zeros((4, 5, 3), np.uint8)


class Parrot:
    """Says what the question says; a question in `table` gets what stands there."""

    def __init__(self, table: dict[str, Any] | None = None, name: str = "parrot") -> None:
        self.card = ModelCard(name=name)
        self.table = table or {}
        self.batches: list[list[str]] = []
        self.loads = 0

    def load(self, device: str) -> None:
        self.loads += 1

    def reply(
        self, questions: Sequence[Question], *, max_new_tokens: int, stop: Sequence[str] = ()
    ) -> list[Any]:
        self.batches.append([question.text for question in questions])
        replies = [self.table.get(question.text, question.text) for question in questions]
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies


def asked(text: str, load: Callable[[], Any] = lambda: [PIXELS], **settings: Any) -> Asked:
    return Asked(text=text, load=load, **{"max_new_tokens": 8, **settings})


def asker_of(model: Any, **settings: Any) -> Asker:
    lazy = LazyModel(model, "cpu", model.card)
    return Asker(lazy, **{"batch_size": 4, "reply_limit": 100, **settings})


def ask(model: Any, *questions: Asked, batch: int = 4, limit: int = 100, **keep: Any) -> Any:
    asker = asker_of(model, batch_size=batch, reply_limit=limit, **keep)
    return [answer for _, answer in sorted(asker.ask(questions).items())]


def test_batches_keep_order_and_limits_of_tokens_apart() -> None:
    model = Parrot()
    questions = [asked(str(n), max_new_tokens=8 if n % 2 else 16) for n in range(5)]
    assert [answer.reply for answer in ask(model, *questions)] == list("01234")
    assert model.batches == [["0", "2", "4"], ["1", "3"]]
    assert model.loads == 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (None, "the reply is NoneType and not a text"),
        (b"yes", "the reply is bytes and not a text"),
        (RuntimeError("broken\nhere"), "RuntimeError: broken"),
    ],
)
def test_a_question_without_a_reply_fails_alone(reply: Any, reason: str) -> None:
    answers = ask(Parrot({"b": reply}), asked("a"), asked("b"), asked("c"))
    assert [answer.status for answer in answers] == [
        Status.OK,
        Status.MODEL_ERROR,
        Status.OK,
    ]
    assert answers[1].error == reason


def test_a_model_that_asks_python_to_end_fails_that_question_alone() -> None:
    class Ending(Parrot):
        def reply(self, questions: Sequence[Question], **settings: Any) -> Any:
            if any(question.text == "b" for question in questions):
                sys.exit(4)
            return super().reply(questions, **settings)

    answers = ask(Ending(), asked("a"), asked("b"), asked("c"))
    assert [answer.status for answer in answers] == [Status.OK, Status.MODEL_ERROR, Status.OK]
    assert answers[1].error == "RuntimeError: it asked Python to end (SystemExit: 4)"


@pytest.mark.parametrize("replies", [["one"], "text", None], ids=["too few", "a text", "None"])
def test_a_reply_that_is_no_list_of_texts(replies: Any) -> None:
    class Odd(Parrot):
        def reply(self, questions: Sequence[Question], **settings: Any) -> Any:
            return [q.text for q in questions] if len(questions) == 1 else replies

    answers = ask(Odd(), asked("a"), asked("b"))
    assert [answer.reply for answer in answers] == ["a", "b"]


def test_model_that_always_fails_is_given_up() -> None:
    model = Parrot({str(n): None for n in range(40)})
    with pytest.raises(
        UserError, match="failed on each of the first 8 questions: the reply is NoneType"
    ):
        ask(model, *(asked(str(n)) for n in range(40)))
    assert len(model.batches) == 2


def test_pictures_that_do_not_open() -> None:
    def broken() -> list[np.ndarray]:
        raise OSError("cannot identify image file")

    answers = ask(Parrot(), asked("a", broken), asked("b"))
    assert answers[0].status is Status.DECODE_ERROR
    assert answers[0].error == "OSError: cannot identify image file"
    assert answers[1].reply == "b"


def test_long_replies_are_cut_and_marked() -> None:
    (answer,) = ask(Parrot({"a": "x" * 101}), asked("a"))
    assert (answer.reply, answer.cut) == ("x" * 100, True)


def test_control_characters_are_replaced_and_counted() -> None:
    (answer,) = ask(Parrot({"a": "y\x00e\x1bs\ud800\n\tno"}), asked("a"))
    assert (answer.reply, answer.controls) == ("y\ufffde\ufffds\ufffd\n\tno", 3)


def test_stops_are_honoured_where_the_model_does_not() -> None:
    assert until("yes\n\nno", ("\n\n", "e")) == "y"
    (answer,) = ask(Parrot({"a": "yes\n\nno"}), asked("a", stop=("\n\n",)))
    assert answer.reply == "yes"


def test_kept_replies_are_not_asked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = Parrot({"b": None})
    questions = [asked("a"), asked("b"), asked("c")]
    ask(first, *questions, batch=1, journal=Journal(path))
    with path.open("ab") as file:
        file.write(b'{"key": "cut in a letter \xc3')
    second = Parrot()
    answers = ask(second, *questions, batch=1, journal=Journal(path))
    assert second.batches == [["b"]]
    assert [answer.reply for answer in answers] == ["a", "b", "c"]
    third = Parrot()
    ask(third, *questions, journal=Journal(path))
    assert third.loads == 0


def test_kept_replies_depend_on_everything(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    ask(Parrot(), asked("a"), journal=Journal(path))
    changed = [
        (Parrot(), asked("a", lambda: [PIXELS + 1]), 100),
        (Parrot(), asked("a", lambda: [PIXELS.reshape(5, 4, 3)]), 100),
        (Parrot(), asked("a", max_new_tokens=9), 100),
        (Parrot(), asked("a", stop=("\n",)), 100),
        (Parrot(name="other"), asked("a"), 100),
        (Parrot(), asked("a"), 99),
    ]
    for model, question, limit in changed:
        ask(model, question, limit=limit, journal=Journal(path))
        assert model.batches == [["a"]]


def shares(count: int, batch: int, size: int) -> list[list[list[str]]]:
    """Batches that each of several askers gives to its model."""
    asked_of = []
    for rank in range(size):
        model = Parrot()
        ask(model, *(asked(str(n)) for n in range(count)), batch=batch, rank=rank, size=size)
        asked_of.append(model.batches)
    return asked_of


@given(count=st.integers(0, 60), batch=st.integers(1, 4), size=st.integers(1, 5))
def test_several_askers_ask_the_batches_of_one(count: int, batch: int, size: int) -> None:
    (alone,) = shares(count, batch, 1)
    several = shares(count, batch, size)
    assert sorted(each for batches in several for each in batches) == sorted(alone)
    questions = [sum(map(len, batches)) for batches in several]
    assert max(questions) - min(questions) <= (4 * batch if batch > 1 else 1)


def test_answers_of_a_share_have_their_places() -> None:
    questions = [asked(str(n)) for n in range(20)]
    answers = asker_of(Parrot(), batch_size=2, rank=1, size=2).ask(questions)
    assert answers == {place: Answered(reply=str(place)) for place in range(8, 16)}


def test_a_batch_holds_questions_of_like_length() -> None:
    model = Parrot()
    sides = [9, 2, 5, 2, 9, 5, 2, 9, 5, 2]
    questions = [
        asked("?" * (n + 1), lambda side=side: [np.zeros((side, 4, 3), np.uint8)])
        for n, side in enumerate(sides)
    ]
    answers = ask(model, *questions, batch=3)
    assert [len(answer.reply) for answer in answers] == list(range(1, 11))
    found = [[sides[len(text) - 1] for text in batch] for batch in model.batches]
    assert found == [[2, 2, 2], [2, 5, 5], [5, 9, 9], [9]]


def test_pictures_of_the_next_questions_are_opened_while_the_model_works() -> None:
    """And not those of all: they would fill the memory."""
    opened: list[int] = []
    ahead = threading.Event()

    class Waiting(Parrot):
        def reply(self, questions: Sequence[Question], **limits: Any) -> list[Any]:
            if not self.batches:
                assert ahead.wait(60)
                assert len(opened) <= 16
            return super().reply(questions, **limits)

    def load(number: int) -> Any:
        opened.append(number)
        if len(opened) == 16:
            ahead.set()
        return [PIXELS]

    questions = [asked(str(n), functools.partial(load, n)) for n in range(30)]
    answers = ask(Waiting(), *questions, batch=2)
    assert [answer.reply for answer in answers] == [str(n) for n in range(30)]
    assert opened == list(range(30))


def test_what_was_answered_a_window_ago_is_not_asked_again(tmp_path: Path) -> None:
    model = Parrot()
    questions = [asked(text) for text in "abcdefghabijklmn"]
    answers = ask(model, *questions, batch=2, journal=Journal(tmp_path / "replies.jsonl"))
    assert [answer.reply for answer in answers] == list("abcdefghabijklmn")
    assert sorted(text for batch in model.batches for text in batch) == list("abcdefghijklmn")


@pytest.mark.parametrize("place", [0, 9])
def test_an_error_of_the_users_ends_the_asking(place: int) -> None:
    def refuse() -> Any:
        raise UserError("no such folder")

    questions = [asked(str(n)) for n in range(20)]
    questions[place] = asked("x", refuse)
    model = Parrot()
    with pytest.raises(UserError, match="no such folder"):
        ask(model, *questions, batch=2)
    assert len(model.batches) == (4 if place else 0)


def test_one_at_a_time_is_in_order() -> None:
    model = Parrot()
    ask(model, *(asked("?" * (9 - n)) for n in range(9)), batch=1)
    assert model.batches == [["?" * (9 - n)] for n in range(9)]


def test_a_share_too_small_to_judge_by_does_not_refuse_a_model() -> None:
    questions = [asked(str(n)) for n in range(10)]
    failing = Parrot(dict.fromkeys("0123456789"))
    answers: dict[int, Answered] = {}
    for rank in range(3):
        asker = asker_of(failing, batch_size=1, rank=rank, size=3)
        answers |= asker.ask(questions)
    with pytest.raises(UserError, match="failed on each of the first 8 questions"):
        asker.refuse_failing(answers)
    asker.refuse_failing({**answers, 7: Answered("yes")})
