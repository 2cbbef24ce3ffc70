"""The settings of an understanding suite's protocol, typed, and the lmms-eval that they are for."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Literal

from pydantic import Field

from harness.interfaces.errors import UserError
from harness.interfaces.protocols import Count, ProtocolSettings, Seed
from harness.interfaces.types import Record, Stage

PACKAGE = "lmms_eval"
EXTRA = 'pip install "uwt-eval[vqa]"'
"""How lmms-eval is installed beside the harness."""


class Seeds(Record):
    """Seeds of lmms-eval's random number generators; MMMU's scorer draws from the first."""

    random: Seed
    numpy: Seed
    torch: Seed
    fewshot: Seed


class VqaSettings(ProtocolSettings):
    """What a suite reads of a protocol."""

    lmms_eval: Annotated[str, Field(pattern=r"\d+\.\d+"), Stage.GENERATE]
    """Version whose task files make prompts and scores."""
    lmms_task: Annotated[str, Stage.GENERATE]
    """The suite's name there."""
    decoding: Annotated[Literal["greedy"], Stage.GENERATE]
    max_new_tokens: Annotated[Count, Stage.GENERATE]
    """Longest reply in tokens, where lmms-eval's task file says nothing."""
    reply_limit: Annotated[Count, Stage.GENERATE]
    """Characters at which a longer reply is cut."""
    seeds: Annotated[Seeds, Stage.GENERATE]
    headline: Annotated[str, Stage.SCORE] = ""
    """The category that `accuracy` is about; empty for all of them."""


def installed_version() -> str | None:
    """Version of the lmms-eval that is installed here, if any."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return None


def same_series(one: str, other: str) -> bool:
    """Whether two versions differ in their last part only: 0.7.3 and 0.7.4."""
    return one.split(".")[:2] == other.split(".")[:2]


def check_installed(wanted: str) -> None:
    """Raise `UserError` where lmms-eval is missing or of another series than a protocol's."""
    found = installed_version()
    series = ".".join(wanted.split(".")[:2])
    if found is None:
        raise UserError(f"lmms-eval is not installed, and it asks the questions: {EXTRA}")
    if not same_series(found, wanted):
        raise UserError(
            f"lmms-eval {found} is installed and the protocol is for {series}: "
            f'pip install "lmms_eval=={series}.*", or give --protocol a file that names {found}'
        )
