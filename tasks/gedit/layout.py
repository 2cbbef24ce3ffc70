"""What GEdit-Bench consists of: languages, groups, and names of samples and files."""

from __future__ import annotations

import re

from harness.interfaces.errors import UserError

LANGUAGES = ("en", "cn")
"""As the data calls them."""
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


def sample_id(group: str, language: str, key: str, where: str) -> str:
    """A sample's name, 'subject-add/en/KEY'.

    Args:
        group: One of `GROUPS`.
        language: One of `LANGUAGES`.
        key: The data's own name of the sample.
        where: Begins the error: a file with its line, a data set with its row.

    Raises:
        UserError: One of them is none.
    """
    if group not in GROUPS:
        raise UserError(f"{where}: unknown group {group!r}: use one of {', '.join(GROUPS)}")
    if language not in LANGUAGES:
        raise UserError(f"{where}: unknown language {language!r}: use en or cn")
    if not _NAME.fullmatch(key):
        raise UserError(
            f"{where}: the key {key!r} is no file name: use letters, digits, dots, - and _"
        )
    return f"{group}/{language}/{key}"


def edited_path(sample: str) -> str:
    """A sample's edited picture in the published layout, `fullset/GROUP/LANGUAGE/KEY.png`."""
    return f"fullset/{sample}.png"


def source_path(sample: str) -> str:
    """A sample's original in the published layout."""
    return f"fullset/{sample}_SRCIMG.png"
