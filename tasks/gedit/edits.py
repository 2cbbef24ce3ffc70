"""What GEdit-Bench consists of: its edits, their groups and languages, and names of files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.interfaces.errors import UserError

LANGUAGES = ("en", "cn")
"""Languages of the instructions, as the data names them."""
GROUPS = (
    "background_change",
    "color_alter",
    "material_alter",
    "motion_change",
    "ps_human",
    "style_change",
    "subject-add",
    "subject-remove",
    "subject-replace",
    "text_change",
    "tone_transfer",
)
REPOSITORY = "stepfun-ai/GEdit-Bench"
LIST = "metadata.jsonl"
"""Name of the list in a folder of image files."""
LAYOUT = (
    f"the data set {REPOSITORY} (a folder by save_to_disk, or its parquet files), or a folder with "
    f"{LIST} and image files"
)
SIZE = 606
"""Samples of one language in the published data."""
_NAME = re.compile(r"[\w-][\w.-]*")


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit that is asked for."""

    id: str
    """'subject-add/en/KEY'."""
    group: str
    language: str
    instruction: str
    intersection: bool
    """Whether every model of the published comparison answered it."""
    row: int
    """Place in the data, from 0."""


def checked_edit(cells: Mapping[str, Any], where: str, row: int) -> Edit:
    """An edit from the cells of a row.

    Args:
        cells: Group, language, key, instruction and intersection in this order, under the names
            that errors call them by.
        where: Begins the error: a file with its line, a data set with its row.
        row: Place in the data, from 0.

    Raises:
        UserError: A cell is not as it should be.
    """
    *texts, (flag, intersection) = cells.items()
    for name, text in texts:
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{where}: {name!r} is {text!r}, expected a text")
    if not isinstance(intersection, bool):
        raise UserError(f"{where}: {flag!r} is {intersection!r}, expected true or false")
    group, language, key, instruction = (text for _, text in texts)
    if group not in GROUPS:
        raise UserError(f"{where}: unknown group {group!r}: use one of {', '.join(GROUPS)}")
    if language not in LANGUAGES:
        raise UserError(f"{where}: unknown language {language!r}: use en or cn")
    if not _NAME.fullmatch(key):
        raise UserError(
            f"{where}: the key {key!r} is no file name: use letters, digits, dots, - and _"
        )
    return Edit(f"{group}/{language}/{key}", group, language, instruction, intersection, row)


def edited_path(sample: str) -> str:
    """A sample's edited picture in the published layout, `fullset/GROUP/LANGUAGE/KEY.png`."""
    return f"fullset/{sample}.png"


def source_path(sample: str) -> str:
    """A sample's original in the published layout."""
    return f"fullset/{sample}_SRCIMG.png"
