"""Versions of what is installed, and whether the parts that are binary load together."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

from harness.doctor.finding import Finding
from harness.interfaces.extras import EXTRAS, install, lacking

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_PACKAGE = "uwt-eval"
_BINARY = ("torch", "torchvision")
"""Built for each other: a wrong pair installs and does not load."""
_VQA = "lmms-eval"


def find() -> Iterator[Finding]:
    """Python and every declared dependency, then the optional lmms-eval."""
    yield Finding("python", "ok", f"{platform.python_version()}, {platform.platform()}")
    try:
        own = version(_PACKAGE)
        declared = [_requirement(text) for text in requires(_PACKAGE) or []]
    except PackageNotFoundError:
        yield Finding(_PACKAGE, "error", "not installed", "pip install -e . in the repository")
        return
    yield Finding(_PACKAGE, "ok", own)
    needed = [each for each in declared if each.marker is None or each.marker.evaluate()]
    wrong = [finding for each in needed if (finding := _check(each)).level != "ok"]
    yield from wrong
    if not wrong:
        yield Finding("packages", "ok", f"{len(needed)} as declared")
    yield _extras()
    for name in _BINARY:
        yield _load(name)
    beside = [each for each in declared if each not in needed and _is_for(each, "vqa")]
    optional = [_optional(each) for each in beside if each.name == _VQA]
    yield from optional
    if all(finding.level == "ok" for finding in optional):
        found = [_check(each) for each in beside if each.name != _VQA]
        yield from [finding for finding in found if finding.level != "ok"]


def _is_for(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is not None and requirement.marker.evaluate({"extra": extra})


def _extras() -> Finding:
    """Which extras are installed whole; a plain install has none, and what needs one says so."""
    modules: dict[str, list[str]] = {}
    for module, extra in EXTRAS.items():
        modules.setdefault(extra, []).append(module)
    found = [extra for extra, needed in modules.items() if not lacking(*needed)]
    absent = [extra for extra in modules if extra not in found]
    texts = [f"{', '.join(found)} installed"] * bool(found)
    texts += [f"{', '.join(absent)} not, each by {install('NAME')}"] * bool(absent)
    return Finding("extras", "ok", "; ".join(texts))


def _requirement(text: str) -> Requirement:
    from packaging.requirements import Requirement

    return Requirement(text)


def _check(requirement: Requirement) -> Finding:
    name = requirement.name
    wanted = f'pip install "{name}{requirement.specifier}"'
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding(name, "error", "not installed", wanted)
    if not requirement.specifier.contains(found, prereleases=True):
        return Finding(name, "error", f"{found}, needed {requirement.specifier}", wanted)
    return Finding(name, "ok", found)


def _load(name: str) -> Finding:
    try:
        module = import_module(name)
    except Exception as error:  # Whatever a broken build raises.
        text = f"cannot be imported: {type(error).__name__}: {error}"
        fix = "install torch and torchvision anew, together: they are built for each other"
        return Finding(name, "error", text, fix)
    return Finding(name, "ok", str(getattr(module, "__version__", "loads")))


def _optional(requirement: Requirement) -> Finding:
    """lmms-eval: missing is a gap in what can run, another version gives other numbers."""
    found = _check(requirement)
    if found.level == "ok":
        return Finding(_VQA, "ok", f"{found.text}, as pinned ({requirement.specifier})")
    fix = f"{found.fix}, best in an environment of its own: {install('vqa')}"
    return Finding(_VQA, "warning", f"{found.text} (VQA suites by lmms-eval need it)", fix)
