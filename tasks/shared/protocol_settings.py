"""Typed settings of a protocol, with one clear line about what is wrong in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from harness.interfaces.errors import UserError
from harness.interfaces.types import Record

T = TypeVar("T", bound=Record)


def read_settings(model: type[T], settings: Mapping[str, Any], task: str) -> T:
    """Read those settings that `model` has fields for.

    Args:
        model: What a kind of task reads of a protocol.
        settings: All of the protocol's.
        task: The kind of task with its article, for the error: 'a reconstruction task'.

    Raises:
        UserError: A setting is missing or wrong; the error names it.
    """
    own = {key: value for key, value in settings.items() if key in model.model_fields}
    try:
        return model.model_validate(own)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"protocol setting {place!r} of {task}: {first['msg']}") from error
