"""Options that several commands share, written once as the fields of a dataclass."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, after its own options, those of its parameter `run`: a dataclass of them."""
    kind = get_type_hints(command)["run"]
    hints = get_type_hints(kind, include_extras=True)
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option.default)
        for name, option in inspect.signature(kind).parameters.items()
    ]
    own = inspect.signature(command).parameters.values()

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        run = kind(**{name: given.pop(name) for name in hints})
        command(**given, run=run)

    parameters = [*(each for each in own if each.name != "run"), *shared]
    annotations = get_type_hints(command, include_extras=True) | hints
    # Typer reads both.
    wrapped.__annotations__ = {each.name: annotations[each.name] for each in parameters}
    wrapped.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            each.replace(
                kind=inspect.Parameter.KEYWORD_ONLY, annotation=wrapped.__annotations__[each.name]
            )
            for each in parameters
        ]
    )
    return wrapped
