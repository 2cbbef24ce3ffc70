"""Presets of any package, beside what any other one says was published."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.engine.presets import all_presets, compare, describe, published
from harness.interfaces.errors import UserError
from harness.interfaces.registry import PRESETS, REFERENCE_SETTINGS
from harness.interfaces.types import ReferenceRow, ReferenceSettings


def preset(**settings: Any) -> Any:
    return SimpleNamespace(
        title="A toy",
        source="nowhere",
        notes=("Mind the gap.",),
        needs=("init",),
        settings=lambda: settings,
        to_dict=lambda: {"inner": settings},
    )


TOY = preset(batch=8, name="mine", betas=[0.5, 0.9], only_ours=None)
PRINTED = ReferenceSettings(
    label="someone",
    source="Tab. 1",
    title="Toy settings",
    settings={"batch": 8.0, "name": "theirs", "betas": [0.5, 0.9], "only_theirs": 3},
    notes=("A slip.",),
    results=(ReferenceRow(label="someone", source="Tab. 2", values={"psnr": 20.0}),),
)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (PRESETS, REFERENCE_SETTINGS):
        monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    PRESETS.register("toys")({"toy": TOY})
    REFERENCE_SETTINGS.register("a-publication")(lambda name: PRINTED if name == "toy" else None)


@pytest.mark.usefixtures("toy")
def test_presets_of_all_packages_are_found() -> None:
    assert all_presets()["toy"] is TOY
    assert "table16" in all_presets()


@pytest.mark.usefixtures("toy")
def test_one_name_in_two_packages_is_refused() -> None:
    PRESETS.register("more-toys")({"toy": TOY})
    with pytest.raises(UserError, match="preset 'toy' is offered twice, also by 'toys'"):
        all_presets()


@pytest.mark.usefixtures("toy")
def test_a_difference_needs_two_sides() -> None:
    rows = {row["name"]: row for row in compare(TOY, published("toy"))}
    assert list(rows) == ["batch", "name", "betas", "only_ours", "only_theirs"]
    assert [name for name, row in rows.items() if row["differs"]] == ["name"]
    assert (rows["only_theirs"]["published"], rows["only_theirs"]["preset"]) == (3, None)


@pytest.mark.usefixtures("toy")
def test_a_description_is_complete() -> None:
    facts = describe("toy", TOY)
    assert facts["needs"] == ["init"]
    assert facts["config"] == {"inner": TOY.settings()}
    assert facts["published"]["results"][0]["values"] == {"psnr": 20.0}
    assert facts["settings"][1] == {
        "name": "name",
        "published": "theirs",
        "preset": "mine",
        "differs": True,
    }


def test_what_was_not_published_is_not_compared() -> None:
    assert published("toy") is None
    assert describe("toy", TOY)["published"] is None
    assert not any(row["differs"] for row in compare(TOY, None))
