"""Several rates in one `--model`: `webp?bytes={512,1024}`, `{512..8192*2}`, or a codec's ladder."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from harness.interfaces.errors import UserError
from harness.interfaces.registry import MODELS

_LIST = re.compile(r'\{([^{}"]*(?:,|\.\.)[^{}"]*)\}')
"""As shells write it. A table in JSON has quotes in it, and so is none."""
_NUMBER = r"\d+(?:\.\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:(\.\.|\*)({_NUMBER}))?")
_BEGUN = re.compile(rf"(?:^|,){_NUMBER}\.\.")
FORM = "write a list {512,1024} or a range {512..8192*2}, {10..90..20}"
_MOST = 100
"""Rates of one `--model`: more are a slip of the pen."""


def expand(text: str) -> list[str]:
    """All choices that a `--model` stands for, in order.

    `{a,b}` stands for each of its values, `{10..90..20}` for 10, 30 … 90 and `{512..8192*2}` for
    512, 1024 … 8192. A plug-in's name alone stands for its `ladder`, where it has one.

    Raises:
        UserError: A pattern that is none, a range without end, or a list of too many values.
    """
    if '"' not in text and text.count("{") != text.count("}"):
        raise UserError(f"--model {text}: braces do not pair: {FORM}")
    parts = _LIST.split(_ladder(text))
    # Every second part is a list's inside.
    choices = [_values(part, text) if at % 2 else [part] for at, part in enumerate(parts)]
    found = ["".join(each) for each in itertools.islice(itertools.product(*choices), _MOST + 1)]
    if len(found) > _MOST:
        raise UserError(f"--model {text}: more than {_MOST} rates")
    return [_as_argument(each) for each in found]


def _values(inside: str, text: str) -> list[str]:
    match = _RANGE.fullmatch(inside)
    if match is None:
        values = inside.split(",")
        if "" in values or (".." in inside and (len(values) == 1 or _BEGUN.search(inside))):
            raise UserError(f"--model {text}: {{{inside}}} is no list and no range: {FORM}")
        return values
    first, last, kind, step = match.groups(default="")
    by = float(step or 1)
    if by <= (kind == "*") or (kind == "*" and float(first) == 0):
        raise UserError(f"--model {text}: the range {{{inside}}} never ends")
    if float(first) > float(last):
        raise UserError(f"--model {text}: the range {{{inside}}} is empty")
    steps = _steps(float(first), float(last), by, product=kind == "*")
    return [f"{value:.12g}" for value in itertools.islice(steps, _MOST + 1)]


def _steps(first: float, last: float, by: float, *, product: bool) -> Iterator[float]:
    for count in itertools.count():
        value = first * by**count if product else first + by * count
        if value > last * (1 + 1e-9):
            return
        yield value


def _ladder(text: str) -> str:
    """A plug-in that is named alone with its ladder, where it has one."""
    ladder: Any = getattr(MODELS.get(text), "ladder", None) if text in MODELS else None
    if not isinstance(ladder, Mapping):
        return text
    lists = (f"{option}={{{','.join(map(str, each))}}}" for option, each in ladder.items())
    return f"{text}?{'&'.join(lists)}"


def _as_argument(text: str) -> str:
    """The choice with what is called as its argument after the colon, where a model takes it."""
    from harness.engine.models import ModelChoice, argument_of, options_of

    choice = ModelChoice.parse(text)
    if choice.name not in MODELS or choice.argument is not None:
        return text
    name = argument_of(options_of(choice.name, MODELS.get(choice.name)))
    if name not in choice.options:
        return text
    options = {key: value for key, value in choice.options.items() if key != name}
    return ModelChoice(choice.name, choice.options[name], options).text
