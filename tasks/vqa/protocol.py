"""The settings of a suite's protocol, typed; the lmms-eval that they are for, and what stops it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from typing import Annotated, Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from pydantic import Field

from harness.interfaces.errors import UserError, first_line
from harness.interfaces.extras import install
from harness.interfaces.protocols import Count, ProtocolSettings, Seed
from harness.interfaces.types import Record, Stage

PACKAGE = "lmms_eval"
EXTRA = install("vqa")
"""How lmms-eval is installed beside the harness."""


class Seeds(Record):
    """Seeds of lmms-eval's random number generators; MMMU's scorer draws from the first."""

    random: Seed
    numpy: Seed
    torch: Seed
    fewshot: Seed


class LmmsSettings(ProtocolSettings):
    """What any task of lmms-eval's reads of a protocol."""

    lmms_eval: Annotated[str, Field(pattern=r"\d+\.\d+"), Stage.GENERATE]
    """Version whose task files make prompts and scores."""
    decoding: Annotated[Literal["greedy"], Stage.GENERATE]
    max_new_tokens: Annotated[Count, Stage.GENERATE]
    """Longest reply in tokens, where lmms-eval's task file says nothing."""
    reply_limit: Annotated[Count, Stage.GENERATE]
    """Characters at which a longer reply is cut."""
    seeds: Annotated[Seeds, Stage.GENERATE]


class VqaSettings(LmmsSettings):
    """What one of the eleven suites reads."""

    lmms_task: Annotated[str, Stage.GENERATE]
    """The suite's name there."""
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


def first_cause(error: BaseException) -> str:
    """What went wrong at first, in one line: wrappers that retry hide it."""
    *_, first = causes(error)
    return first_line(first)


def import_failure(error: BaseException) -> str | None:
    """Which package cannot be imported and the command that mends it, where that is the cause."""
    found = next((each for each in causes(error) if isinstance(each, ImportError)), None)
    if found is None:
        return None
    text = next(iter(str(found).splitlines()), "a package is missing")
    module = (found.name or "").partition(".")[0]
    package = next(iter(packages_distributions().get(module, ())), module)
    try:
        installed = f" ({package} {version(package)} is installed)" if package else ""
    except PackageNotFoundError:
        return f"lmms-eval cannot be imported: {text}: pip install {package}"
    bounds = _bounds(package) if package else ""
    fix = f'pip install "{package}{bounds}"' if bounds else f"{EXTRA} -c constraints/tested.txt"
    return f"lmms-eval cannot be imported: {text}{installed}: {fix}"


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, the first cause last."""
    inner: BaseException | None = error
    while inner is not None:
        yield inner
        attempt = getattr(inner, "last_attempt", None)
        inner = attempt.exception() if attempt is not None else inner.__cause__


def _bounds(package: str) -> str:
    """The versions that we and lmms-eval ask for; empty where any will do."""
    bounds = SpecifierSet()
    for owner in ("uwt-eval", PACKAGE):
        for requirement in map(Requirement, requires(owner) or []):
            if canonicalize_name(requirement.name) == canonicalize_name(package):
                bounds &= requirement.specifier
    return str(bounds)
