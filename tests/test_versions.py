"""The declared versions, the tested ones and what the document says of them agree."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness.interfaces.extras import EXTRAS as EXTRAS_OF

REPOSITORY = Path(__file__).parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
NEEDED = list(map(Requirement, PROJECT["dependencies"]))
OPTIONAL = {
    extra: list(map(Requirement, part)) for extra, part in PROJECT["optional-dependencies"].items()
}
EXTRAS = [each for part in OPTIONAL.values() for each in part if each.name != PROJECT["name"]]


def pins() -> dict[str, str]:
    lines = (REPOSITORY / "constraints" / "tested.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(pin.name): str(pin.specifier) for pin in found}


@pytest.mark.parametrize("requirement", NEEDED + EXTRAS, ids=str)
def test_every_direct_dependency_has_a_tested_version_within_its_bounds(
    requirement: Requirement,
) -> None:
    pin = pins()[canonicalize_name(requirement.name)]
    assert pin.startswith("==")
    assert requirement.specifier.contains(pin.removeprefix("=="))


@pytest.mark.parametrize("requirement", NEEDED + EXTRAS, ids=str)
def test_every_direct_dependency_has_a_bound(requirement: Requirement) -> None:
    """Without a lowest version `nox -s lowest` would try one of ten years ago."""
    assert str(requirement.specifier)


@pytest.mark.parametrize(
    "requirement",
    NEEDED + [each for extra in ("train", "mllm", "judge", "datasets") for each in OPTIONAL[extra]],
    ids=str,
)
def test_the_table_of_tries_names_the_declared_bound(requirement: Requirement) -> None:
    table = (REPOSITORY / "docs" / "versions.md").read_text()
    rows = re.findall(rf"^\| {re.escape(requirement.name)} \|.*\|$", table, re.MULTILINE)
    declared = [row.split("|")[-2].strip() for row in rows]
    assert [bound for bound in declared if bound] == [str(requirement.specifier)]


def test_extras_are_documented_and_all_has_each() -> None:
    text = (REPOSITORY / "docs" / "versions.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(OPTIONAL)
    ((_, *others),) = [[each.name, *each.extras] for each in OPTIONAL["all"]]
    assert {*others} == {*OPTIONAL} - {"all", "dev"}


def test_an_absent_module_is_named_with_the_extra_that_brings_it() -> None:
    """Its distribution is one of the extra's, or comes with one of them."""
    known = packages_distributions()
    for module, extra in EXTRAS_OF.items():
        if extra == "faces" and module not in known:
            continue  # Its distributions are called otherwise, and `dev` has none of them.
        wanted = {canonicalize_name(each.name) for each in OPTIONAL[extra]}
        names = known.get(module, [module])
        with suppress(PackageNotFoundError):
            wanted |= {
                canonicalize_name(Requirement(text).name)
                for name in list(wanted)
                for text in requires(name) or ()
            }
        assert wanted & {*map(canonicalize_name, names)}, module


def test_the_smoke_choice_is_there() -> None:
    text = (REPOSITORY / "noxfile.py").read_text()
    paths = re.findall(r'"(tests/[^"]+)"', text[text.index("SMOKE = ") :].partition("]")[0])
    assert paths
    for path in paths:
        assert (REPOSITORY / path).exists(), path
