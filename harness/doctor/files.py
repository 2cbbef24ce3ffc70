"""Plug-ins, pinned files and data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from harness.data.settings import read_settings
from harness.doctor.finding import Finding

_IMAGENET_IMAGES, _COCO_IMAGES = 50_000, 5_000
"""Images of the validation sets that the paper uses."""


def find() -> Iterator[Finding]:
    """Registries, files that are pinned by SHA-256, data."""
    yield from _plugins()
    yield from _assets()
    yield from _data()
    yield from _places()


def _plugins() -> Iterator[Finding]:
    from harness.interfaces.errors import UserError
    from harness.interfaces.registry import REGISTRIES

    for registry in REGISTRIES:
        names, broken = registry.names(), []
        for name in names:
            owner = registry.owner(name)
            try:
                registry.get(name)
            except UserError as error:
                if owner:
                    fix = f"ask for a mended {owner}, or pip uninstall {owner.split()[0]}"
                    yield Finding(f"{registry.noun} {name}", "warning", str(error), fix)
                else:
                    broken.append(str(error))
        for what, reason in registry.shadowed.items():
            fix = "another name in that distribution, or pip uninstall it"
            yield Finding(_plural(registry.noun), "warning", f"{what} is ignored: {reason}", fix)
        fix = "install the package that offers them anew: pip install -e . or pip install uwt-eval"
        if broken or not names:
            text = "; ".join(broken) or "none found"
            yield Finding(_plural(registry.noun), "error", text, fix)
        else:
            yield Finding(_plural(registry.noun), "ok", f"{len(names)} found")


def _plural(noun: str) -> str:
    first, of, rest = noun.partition(" of ")  # 'family of tasks'
    if first.endswith("y"):
        first = f"{first[:-1]}ie"
    return first.removesuffix("s") + "s" + of + rest


def _assets() -> Iterator[Finding]:
    from harness.data.assets import ASSETS, candidates, locate
    from harness.interfaces.errors import Unavailable

    settings = read_settings()
    for name, asset in ASSETS.items():
        title = f"{asset.noun} {name}"
        try:
            path = locate(name)
        except Unavailable as reason:
            there = any(path.is_file() for path in candidates(asset, settings))
            fix = f"uwt-eval assets fetch {name}, or name the file in {asset.variable}"
            if there:
                yield Finding(title, "error", str(reason), fix)
            else:
                yield Finding(title, "warning", f"missing, for {asset.used_by}", fix)
        else:
            text = f"SHA-256 {asset.sha256[:12]}… as published, {path}"
            yield Finding(title, "ok", text)


def _data() -> Iterator[Finding]:
    from harness.data.sources import open_source
    from harness.interfaces.errors import UserError, counted

    settings = read_settings()
    for name, place, split, images in (
        ("imagenet", settings.imagenet, "validation", _IMAGENET_IMAGES),
        ("coco", settings.coco, "val2017", _COCO_IMAGES),
    ):
        title, variable = f"data {name}", f"UWT_EVAL_{name.upper()}"
        if place is None:
            text = "not configured: the sample set stands in, whose numbers compare with nothing"
            yield Finding(title, "warning", text, f"set {variable}, see docs/run.md")
            continue
        try:
            ids = open_source(place, "images", split).ids()
        except UserError as error:
            yield Finding(title, "error", str(error), f"mend the data or {variable}")
            continue
        if len(ids) == images:
            text = f"{counted(images, 'image')} at {place}, {_names(name, ids)}"
            yield Finding(title, "ok", text)
        else:
            text = f"{counted(len(ids), 'image')} at {place}, the paper's set has {images:,}"
            fix = f"set {variable} to all of the set, or take its numbers for a part's"
            yield Finding(title, "warning", text, fix)


def _names(data: str, ids: Sequence[str]) -> str:
    """What the names tell; contents are hashed by the first run, and stand in every result."""
    stems = {PurePosixPath(each).stem for each in ids}
    published = {f"ILSVRC2012_val_{number:08d}" for number in range(1, _IMAGENET_IMAGES + 1)}
    if data == "imagenet":
        return "named as published" if stems == published else "not named as published"
    return "named as published" if all(len(s) == 12 and s.isdigit() for s in stems) else "renamed"


def _places() -> Iterator[Finding]:
    settings = read_settings()
    for name, place, what in (
        ("imagenet_reference", settings.imagenet_reference, "VIRTUAL_imagenet256_labeled.npz"),
        ("gedit", settings.gedit, "a local copy of GEdit-Bench"),
    ):
        title, variable = f"data {name}", f"UWT_EVAL_{name.upper()}"
        if place is None:
            yield Finding(title, "warning", "not configured", f"set {variable} to {what}")
        elif not Path(place).exists():
            fix = f"set {variable} to {what}"
            yield Finding(title, "error", f"{place}: no such file or folder", fix)
        else:
            yield Finding(title, "ok", f"{place}")
