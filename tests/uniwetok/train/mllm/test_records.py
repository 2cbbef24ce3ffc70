"""Records are read as documented, and whatever is wrong is named with its field and a fix."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.uniwetok.train.mllm.tiny import records
from uniwetok.train.mllm.data.records import Chat, Edit, RecordError, parse_line, parse_record

NAMES = ["a.png", "b.png", "c.png", "d.png"]


def test_every_kind_is_read() -> None:
    read = [parse_record(value) for value in records(NAMES)]
    assert [record.kind for record in read] == [
        *["text-image"] * 2,
        *["interleaved"] * 2,
        *["edit"] * 2,
        *["chat"] * 2,
    ]
    images = [[(p.name, p.generated) for p in record.pictures] for record in read]
    assert images[0] == [("a.png", True)]
    assert images[3] == [("a.png", False), ("c.png", True)]
    assert images[5] == [("a.png", False), ("c.png", False), ("b.png", True)]
    assert images[6] == [("c.png", False)]
    assert images[7] == []
    assert isinstance(read[4], Edit)
    assert read[4].instruction == "Make it blue"
    assert isinstance(read[6], Chat)
    assert [message.role for message in read[6].messages] == ["system", "user", "assistant"]


def chat(*messages: tuple[str, Any]) -> dict[str, Any]:
    return {"kind": "chat", "messages": [{"role": r, "content": c} for r, c in messages]}


IMAGE = [{"image": "a.png"}]
SAID = [{"image": "a.png"}, {"text": "Hi"}]


@pytest.mark.parametrize(
    ("value", "field", "message"),
    [
        ([1], "", "a record is an object, this is a list"),
        ({"text": "x"}, "kind", "is missing; give one of text-image, interleaved, edit, chat"),
        ({"kind": "chats"}, "kind", "'chats' is unknown; did you mean 'chat'"),
        ({"kind": "text-image", "text": "x"}, "image", "is missing"),
        ({"kind": "text-image", "image": "a.png"}, "text", "is missing"),
        ({"kind": "text-image", "image": "a.png", "text": " "}, "text", "is empty"),
        ({"kind": "text-image", "image": 3, "text": "x"}, "image", "is a number; write text"),
        ({"kind": "text-image", "image": "a", "txt": "x"}, "txt", "did you mean 'text'"),
        ({"kind": "edit", "source": [], "instruction": "x", "target": "a"}, "source", "is empty"),
        ({"kind": "edit", "source": ["a", 1], "instruction": "x", "target": "a"}, "source[1]", ""),
        ({"kind": "interleaved", "parts": [{"text": "x"}]}, "parts", "text without an image"),
        ({"kind": "interleaved", "parts": IMAGE}, "parts", "images without text"),
        ({"kind": "interleaved", "parts": [{"txt": "x"}]}, "parts[0]", "neither text nor image"),
        (
            {"kind": "interleaved", "parts": [{"text": "x"}, {"image": "a", "generated": 1}]},
            "parts[1].generated",
            "true or false",
        ),
        ({"kind": "chat", "messages": []}, "messages", "is an empty list"),
        (chat(("user", "Hi")), "messages[0].role", "end with the assistant's reply"),
        (chat(("assistant", "Hi")), "messages[0].role", "begin with user"),
        (chat(("user", "Hi"), ("user", "Hi")), "messages[1].role", "take turns"),
        (chat(("user", IMAGE), ("assistant", "x")), "messages[0].content", "without text"),
        (chat(("user", "x"), ("assistant", SAID)), "messages[1].content", "only users show"),
        (chat(("usr", "x"), ("assistant", "x")), "messages[0].role", "did you mean 'user'"),
        (chat(("user", "x"), ("system", "x")), "messages[1].role", "move it to the front"),
        (chat(("user", "\ud800"), ("assistant", "x")), "messages[0].content", "surrogate"),
    ],
)
def test_what_is_wrong_is_named(value: object, field: str, message: str) -> None:
    with pytest.raises(RecordError) as error:
        parse_record(value)
    assert error.value.field == field
    assert message in f"{error.value.problem}; {error.value.fix}"


def test_lines_that_are_no_json() -> None:
    with pytest.raises(RecordError, match=r"not JSON .* at column 9"):
        parse_line('{"kind":')
    with pytest.raises(RecordError, match="save the file as UTF-8"):
        parse_line(b'{"kind": "\xff\xfe1"}')
    with pytest.raises(RecordError, match="not readable JSON"):
        parse_line('{"n": ' + "9" * 5000 + "}")
    assert parse_line(json.dumps(records(NAMES)[0])).kind == "text-image"
