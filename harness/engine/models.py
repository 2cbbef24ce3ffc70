"""`--model` texts: `NAME[:ARGUMENT][?key=value&key=value]`."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl

from harness.interfaces import Model
from harness.interfaces.errors import UserError
from harness.interfaces.registry import MODELS, did_you_mean


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
