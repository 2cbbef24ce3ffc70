"""`--model` texts: `NAME[:ARGUMENT][?key=value&key=value]`."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl

from harness.interfaces import INTERFACES, Model, offers
from harness.interfaces.errors import UserError
from harness.interfaces.registry import MODELS, TASKS, did_you_mean
from harness.interfaces.types import ModelCard


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model by registry name, with the argument and options its plug-in understands."""

    name: str
    argument: str | None
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> ModelChoice:
        """Read `webp`, `webp:2048`, `uniwetok:model.ckpt?dtype=bfloat16`."""
        head, _, query = text.partition("?")
        name, colon, argument = head.partition(":")
        try:
            options = dict(parse_qsl(query, strict_parsing=True, keep_blank_values=True))
        except ValueError as error:
            if query:
                raise UserError(
                    f"--model {text}: options are written ?key=value&key=value"
                ) from error
            options = {}
        if colon and not argument:
            raise UserError(f"--model {text}: nothing follows the colon")
        return cls(name, argument or None, options)

    def build(self) -> Model:
        """Construct the plug-in without loading weights; raise `UserError` for wrong options."""
        factory = MODELS.get(self.name)
        parameters = inspect.signature(factory).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        known = [name for name in parameters if name != "argument"]
        for option in self.options:
            if not takes_any and option not in known:
                raise UserError(
                    f"model {self.name!r} has no option {option!r}: {did_you_mean(option, known)}"
                )
        if self.argument is not None and "argument" not in parameters:
            raise UserError(f"model {self.name!r} takes no argument, got {self.argument!r}")
        given: dict[str, Any] = dict(self.options)
        if self.argument is not None:
            given["argument"] = self.argument
        for name, parameter in parameters.items():
            if (
                parameter.default is parameter.empty
                and name not in given
                and parameter.kind not in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}
            ):
                form = f"{self.name}:…" if name == "argument" else f"{self.name}?{name}=…"
                raise UserError(f"model {self.name!r} needs {name!r}: --model {form}")
        return cast("Model", factory(**given))


def require(model: Model, name: str, interfaces: Sequence[str], by: str) -> None:
    """Refuse a model that cannot do what is asked of it, or that cannot say what it is.

    Args:
        model: Constructed, not loaded.
        name: As the user calls it.
        interfaces: Names in `INTERFACES`, of which the model must offer any; none if empty.
        by: What asks for them.

    Raises:
        UserError: It offers none of them, one of them is unknown, or its card cannot be had.
    """
    for interface in interfaces:
        if interface not in INTERFACES:
            hint = did_you_mean(interface, INTERFACES)
            raise UserError(f"{by} asks for an unknown interface {interface!r}: {hint}")
    if interfaces and not any(offers(model, interface) for interface in interfaces):
        does = " and ".join(INTERFACES[each].does for each in INTERFACES if offers(model, each))
        needs = " or ".join(_described(each) for each in interfaces)
        raise UserError(
            f"model {name!r} {does or 'offers nothing that tasks ask for'}; {by} needs one that "
            f"{needs}; it fits: {', '.join(fitting_tasks(type(model))) or 'no task'}"
        )
    try:
        sound = isinstance(model.card, ModelCard)
    except UserError:
        raise
    except Exception as error:
        # A plug-in's own code: it may raise anything.
        raise UserError(f"model {name!r} has no card: {first_line(error)}") from error
    if not sound:
        raise UserError(f"model {name!r} has no card: a {type(model.card).__name__} is none")


def _described(interface: str) -> str:
    does, methods = INTERFACES[interface].does, INTERFACES[interface].methods
    return f"{does} ({', '.join(methods)})"


def fitting_tasks(model: type) -> list[str]:
    """Names of the tasks that a model of this class can be evaluated on."""
    fitting = []
    for name in TASKS.names():
        with contextlib.suppress(UserError):  # Of a task that cannot be imported.
            if any(offers(model, each) for each in TASKS.get(name).spec.interfaces):
                fitting.append(name)
    return fitting


def first_line(error: Exception) -> str:
    """Kind and first line of an error, for use inside one line."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".rstrip(": ")
