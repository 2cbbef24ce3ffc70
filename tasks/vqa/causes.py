"""What an error was at first, and what mends it where a package cannot be imported."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tasks.vqa.protocol import EXTRA, PACKAGE


def first_cause(error: BaseException) -> str:
    """What went wrong at first, in one line: wrappers that retry hide it."""
    *_, first = _causes(error)
    return next(iter(f"{type(first).__name__}: {first}".splitlines()), "")


def import_failure(error: BaseException) -> str | None:
    """Which package cannot be imported and the command that mends it, where that is the cause."""
    found = next((each for each in _causes(error) if isinstance(each, ImportError)), None)
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


def _causes(error: BaseException) -> Iterator[BaseException]:
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
