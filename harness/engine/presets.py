"""Training runs by name, and their settings beside published ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from harness.interfaces.errors import UserError, warn
from harness.interfaces.registry import PRESETS, REFERENCE_SETTINGS

if TYPE_CHECKING:
    from harness.interfaces.types import ReferenceSettings


@runtime_checkable
class Preset(Protocol):
    """What a package offers under `uwt_eval.presets`: a mapping of names to these."""

    @property
    def title(self) -> str:
        """What it trains, in one line."""
        ...

    @property
    def source(self) -> str:
        """Where it is published."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What a user should know about it."""
        ...

    @property
    def needs(self) -> Sequence[str]:
        """Settings that have no default and must be given."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """Settings that are published, in the publication's words."""
        ...

    def to_dict(self) -> Mapping[str, Any]:
        """All settings, ready for JSON."""
        ...


def all_presets() -> dict[str, Preset]:
    """Every preset that is installed, by name; one of ours is not replaced by another's.

    Raises:
        UserError: two collections of ours offer presets of one name.
    """
    found: dict[str, Preset] = {}
    for collection, presets in PRESETS.ask(_checked).items():
        for twice in sorted(found.keys() & presets.keys()):
            owner, text = PRESETS.owner(collection), f"preset {twice!r} is offered twice, also by"
            if not owner:
                raise UserError(f"{text} {collection!r}")
            warn(f"{text} {collection!r} of {owner}, which is ignored")
        found = {**found, **presets, **found}
    return found


def _checked(presets: Mapping[str, Any]) -> dict[str, Preset]:
    for name, preset in presets.items():
        if not isinstance(preset, Preset):
            raise TypeError(f"{name!r} is no preset")
    return dict(presets)


def published(name: str) -> ReferenceSettings | None:
    """What was published of the run that a preset repeats, if anything was."""
    offers = REFERENCE_SETTINGS.ask(lambda settings_of: settings_of(name)).values()
    return next((offer for offer in offers if offer is not None), None)


def compare(preset: Preset, reference: ReferenceSettings | None) -> list[dict[str, Any]]:
    """Every setting of either side, in the preset's order; None where a side is silent."""
    theirs = reference.settings if reference else {}
    ours = preset.settings()
    sides = {name: (theirs.get(name), ours.get(name)) for name in dict.fromkeys([*ours, *theirs])}
    return [
        {
            "name": name,
            "published": one,
            "preset": other,
            "differs": None not in (one, other) and one != other,
        }
        for name, (one, other) in sides.items()
    ]


def describe(name: str, preset: Preset) -> dict[str, Any]:
    """Everything about a preset, ready for JSON."""
    reference = published(name)
    return {
        "preset": name,
        "title": preset.title,
        "source": preset.source,
        "needs": list(preset.needs),
        "notes": list(preset.notes),
        "settings": compare(preset, reference),
        "published": reference and reference.model_dump(mode="json", exclude={"settings"}),
        "config": dict(preset.to_dict()),
    }
