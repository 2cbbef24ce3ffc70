"""One record of training data: a caption and its image, a document, an edit or a conversation."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from uniwetok.fields import did_you_mean

Kind = Literal["text-image", "interleaved", "edit", "chat"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Role = Literal["system", "user", "assistant"]

_ROLES: tuple[Role, ...] = get_args(Role)
_FREE = ("kind", "id", "meta")
"""Fields that any record may have; ``id`` and ``meta`` are not read."""


class RecordError(ValueError):
    """A record is not what it must be.

    Attributes:
        field: path of the field, such as ``messages[1].content``; empty for the whole record.
        problem: what is wrong with it.
        fix: what to do.
    """

    def __init__(self, field: str, problem: str, fix: str) -> None:
        super().__init__(f"{field}: {problem}; {fix}" if field else f"{problem}; {fix}")
        self.field = field
        self.problem = problem
        self.fix = fix


@dataclass(frozen=True)
class Words:
    """A piece of text."""

    text: str


@dataclass(frozen=True)
class Picture:
    """An image by its name within the data."""

    name: str
    field: str
    """Where the record names it, for messages."""
    generated: bool = False
    """Whether the model learns to draw it, or only to read it."""


Part = Words | Picture


@dataclass(frozen=True)
class Message:
    """What somebody says in a conversation."""

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class TextImage:
    """A caption and its image."""

    text: str
    image: Picture
    kind: Kind = "text-image"

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All images, in the order of the sequence."""
        return (self.image,)


@dataclass(frozen=True)
class Interleaved:
    """A document: text and images in their order."""

    parts: tuple[Part, ...]
    kind: Kind = "interleaved"

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All images, in the order of the sequence."""
        return _pictures(self.parts)


@dataclass(frozen=True)
class Edit:
    """Images, what to do with them, and the outcome."""

    sources: tuple[Picture, ...]
    instruction: str
    target: Picture
    kind: Kind = "edit"

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All images, in the order of the sequence."""
        return (*self.sources, self.target)


@dataclass(frozen=True)
class Chat:
    """A conversation, with images or without."""

    messages: tuple[Message, ...]
    kind: Kind = "chat"

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All images, in the order of the sequence."""
        return tuple(image for message in self.messages for image in _pictures(message.parts))


Record = TextImage | Interleaved | Edit | Chat


def parse_line(line: str | bytes) -> Record:
    """Read a record from a line of JSON.

    Raises:
        RecordError: the line is no JSON, or no record.
    """
    try:
        value = json.loads(line)
    except UnicodeDecodeError as error:
        raise RecordError("", "not UTF-8", "save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise RecordError(
            "", f"not JSON ({error.msg} at column {error.colno})", "write one object a line"
        ) from error
    except (ValueError, RecursionError) as error:  # A number of 5,000 digits, lists without end.
        raise RecordError("", f"not readable JSON ({error})", "write one object a line") from error
    return parse_record(value)


def parse_record(value: object) -> Record:
    """Read a record from its JSON value; see ``docs/mllm-data.md`` for the format.

    Raises:
        RecordError: a field is missing, unknown, empty or of another type.
    """
    if not isinstance(value, Mapping):
        raise RecordError("", f"a record is an object, this is {_named(value)}", "write {…}")
    if "kind" not in value:
        raise RecordError("kind", "is missing", f"give one of {', '.join(KINDS)}")
    kind = value["kind"]
    if not isinstance(kind, str) or kind not in _PARSERS:
        raise RecordError("kind", f"{kind!r} is unknown", did_you_mean(str(kind), KINDS))
    known, parse = _PARSERS[kind]
    for name in value:
        if name not in known and name not in _FREE:
            fields = did_you_mean(str(name), known)
            raise RecordError(
                str(name), f"is no field of {kind!r}", f"{fields}; or put it under 'meta'"
            )
    return parse(value)


def _text_image(value: Mapping[str, Any]) -> Record:
    return TextImage(
        _text(value, "text"),
        Picture(_text(value, "image"), "image", generated=True),
    )


def _edit(value: Mapping[str, Any]) -> Record:
    sources = value.get("source")
    if isinstance(sources, list):
        names = [_checked_text(name, f"source[{place}]") for place, name in enumerate(sources)]
        if not names:
            raise RecordError("source", "is empty", "name at least one image")
        pictures = [Picture(name, f"source[{place}]") for place, name in enumerate(names)]
    else:
        pictures = [Picture(_text(value, "source"), "source")]
    return Edit(
        tuple(pictures),
        _text(value, "instruction"),
        Picture(_text(value, "target"), "target", generated=True),
    )


def _interleaved(value: Mapping[str, Any]) -> Record:
    parts = _parts(value.get("parts"), "parts", drawn=True)
    if not any(isinstance(part, Words) for part in parts):
        raise RecordError("parts", "has images without text", "add a part {'text': …}")
    if not _pictures(parts):
        raise RecordError("parts", "has text without an image", "add a part {'image': …}")
    return Interleaved(parts)


def _chat(value: Mapping[str, Any]) -> Record:
    items = value.get("messages")
    if not isinstance(items, list) or not items:
        raise RecordError("messages", f"is {_named(items)}", "give a list of messages")
    messages: list[Message] = []
    for place, item in enumerate(items):
        messages.append(_message(item, f"messages[{place}]", first=place == 0))
        roles = [message.role for message in messages[-2:]]
        if roles in (["user", "user"], ["assistant", "assistant"], ["system", "assistant"]):
            raise RecordError(
                f"messages[{place}].role",
                f"{roles[1]!r} follows {roles[0]!r}",
                "user and assistant take turns, user first",
            )
    if messages[0].role == "assistant":
        raise RecordError("messages[0].role", "is 'assistant'", "begin with user or system")
    if messages[-1].role != "assistant":
        last = f"messages[{len(messages) - 1}].role"
        raise RecordError(
            last, f"is {messages[-1].role!r}", "end with the assistant's reply, which is learned"
        )
    return Chat(tuple(messages))


def _message(item: object, where: str, *, first: bool) -> Message:
    if not isinstance(item, Mapping):
        raise RecordError(where, f"is {_named(item)}", "write {'role': …, 'content': …}")
    given = item.get("role")
    role = next((known for known in _ROLES if known == given), None)
    if role is None:
        raise RecordError(
            f"{where}.role", f"{given!r} is unknown", did_you_mean(str(given), _ROLES)
        )
    if role == "system" and not first:
        raise RecordError(f"{where}.role", "'system' is not the first", "move it to the front")
    content = item.get("content")
    field = f"{where}.content"
    parts: tuple[Part, ...]
    if isinstance(content, str):
        parts = (Words(_checked_text(content, field)),)
    else:
        parts = _parts(content, field, drawn=False)
    if role != "user" and _pictures(parts):
        raise RecordError(field, f"an image in a message of {role!r}", "only users show images")
    if not any(isinstance(part, Words) for part in parts):
        raise RecordError(field, "has an image without text", "add a part {'text': …}")
    for name in item:
        if name not in ("role", "content"):
            raise RecordError(f"{where}.{name}", "is no field of a message", "known: role, content")
    return Message(role, parts)


def _parts(value: object, where: str, *, drawn: bool) -> tuple[Part, ...]:
    """Read texts and images; where images may be drawn they are, unless ``generated`` is false."""
    if not isinstance(value, list) or not value:
        raise RecordError(where, f"is {_named(value)}", "give a list of {'text'} and {'image'}")
    parts: list[Part] = []
    for place, item in enumerate(value):
        field = f"{where}[{place}]"
        names = set(item) if isinstance(item, Mapping) else set()
        if isinstance(item, Mapping) and names == {"text"}:
            parts.append(Words(_checked_text(item["text"], f"{field}.text")))
        elif (
            isinstance(item, Mapping)
            and "image" in names
            and (names == {"image"} or (drawn and names == {"image", "generated"}))
        ):
            generated = item.get("generated", drawn)
            if not isinstance(generated, bool):
                raise RecordError(
                    f"{field}.generated", f"is {_named(generated)}", "write true or false"
                )
            name = _checked_text(item["image"], f"{field}.image")
            parts.append(Picture(name, f"{field}.image", generated))
        else:
            fields = ", ".join(sorted(map(str, names))) if names else _named(item)
            raise RecordError(
                field, f"is neither text nor image ({fields})", "write {'text': …} or {'image': …}"
            )
    return tuple(parts)


def _pictures(parts: tuple[Part, ...]) -> tuple[Picture, ...]:
    return tuple(part for part in parts if isinstance(part, Picture))


def _text(value: Mapping[str, Any], name: str) -> str:
    if name not in value:
        raise RecordError(name, "is missing", f"add {name!r}")
    return _checked_text(value[name], name)


def _checked_text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise RecordError(field, f"is {_named(value)}", "write text")
    if not value.strip():
        raise RecordError(field, "is empty", "fill it or remove the record")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RecordError(
            field, "holds half a character (a lone surrogate)", "repair it"
        ) from error
    return value


def _named(value: object) -> str:
    """What a JSON value is called."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "text"}
    if value is None:
        return "missing or null"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return names.get(type(value), "an object")


_PARSERS: dict[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any]], Record]]] = {
    "text-image": (("text", "image"), _text_image),
    "interleaved": (("parts",), _interleaved),
    "edit": (("source", "instruction", "target"), _edit),
    "chat": (("messages",), _chat),
}
