"""`uwt-eval doctor`: what works on this machine, checked in seconds before hours of work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

import typer
from rich.console import Console

from harness.commands.options import Json
from harness.errors import ExitCode

_LEAST_FREE_BYTES = 5 * 10**9


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: 'ok', 'warning' (something will be missing) or 'error' (nothing will run)."""

    name: str
    level: Literal["ok", "warning", "error"]
    text: str


def _imports() -> Iterator[Check]:
    for name in ("torch", "torchvision", "torch_fidelity", "lpips", "skimage", "open_clip"):
        try:
            module = import_module(name)
        except Exception as error:
            yield Check(name, "error", f"cannot be imported: {error}")
        else:
            yield Check(name, "ok", str(getattr(module, "__version__", "imports")))


def _device() -> Iterator[Check]:
    import torch

    if not torch.cuda.is_available():
        yield Check("device", "warning", f"no CUDA device, {torch.get_num_threads()} CPU threads")
        return
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        yield Check(
            f"cuda:{index}", "ok", f"{name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
        )


def _codecs() -> Iterator[Check]:
    from PIL import features

    for name, feature in (("webp", "webp"), ("jpeg", "jpg"), ("avif", "avif")):
        there = features.check(feature)
        yield Check(name, "ok" if there else "warning", "built in" if there else "not in Pillow")


def _assets() -> Iterator[Check]:
    from harness.assets import ASSETS, locate
    from harness.errors import Unavailable

    for name, asset in ASSETS.items():
        try:
            yield Check(f"weights {name}", "ok", f"verified, {locate(name)}")
        except Unavailable as reason:
            yield Check(f"weights {name}", "warning", f"{reason} ({asset.used_by} need it)")


def _data() -> Iterator[Check]:
    from harness.data.sources import open_source
    from harness.errors import UserError
    from harness.settings import read_settings

    settings = read_settings()
    for name, place in (("imagenet", settings.imagenet), ("coco", settings.coco)):
        if place is None:
            yield Check(
                f"data {name}",
                "warning",
                f"not configured (UWT_EVAL_{name.upper()}): the sample set stands in",
            )
            continue
        try:
            count = len(open_source(place, "images", ("val", "val2017")).ids())
            yield Check(f"data {name}", "ok", f"{count} images at {place}")
        except UserError as error:
            yield Check(f"data {name}", "error", str(error))


def _disk() -> Iterator[Check]:
    from harness.settings import read_settings

    settings = read_settings()
    for name, place in (("runs", settings.out), ("cache", settings.cache)):
        folder = next(
            path for path in (place.absolute(), *place.absolute().parents) if path.exists()
        )
        free = shutil.disk_usage(folder).free
        level: Literal["ok", "warning"] = "ok" if free > _LEAST_FREE_BYTES else "warning"
        yield Check(f"disk {name}", level, f"{free / 1e9:.0f} GB free at {Path(place)}")


def _plugins() -> Iterator[Check]:
    from harness.errors import UserError
    from harness.registry import EXTRACTORS, METRICS, MODELS, TASKS

    for registry in (TASKS, MODELS, METRICS, EXTRACTORS):
        names = registry.names()
        broken = []
        for name in names:
            try:
                registry.get(name)
            except UserError as error:
                broken.append(str(error))
        level: Literal["ok", "error"] = "error" if broken or not names else "ok"
        text = "; ".join(broken) if broken else f"{len(names)} found"
        yield Check(f"{registry.noun}s", level, text)


CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (
    _imports,
    _device,
    _codecs,
    _plugins,
    _assets,
    _data,
    _disk,
)


def doctor(as_json: Json = False) -> None:
    """Check packages, devices, weights, data and disk; exit 2 where something is broken."""
    checks = [check for find in CHECKS for check in find()]
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        console = Console(soft_wrap=True, highlight=False)
        marks = {"ok": "[green]ok     [/green]", "warning": "[yellow]warning[/yellow]"}
        for check in checks:
            console.print(marks.get(check.level, "[red]error  [/red]"), end=" ")
            console.print(f"{check.name}: {check.text}", markup=False)
    if any(check.level == "error" for check in checks):
        raise typer.Exit(ExitCode.USAGE)
