"""`uwt-eval sample`: pictures of classes, for people."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.console import Plugins, terminal
from harness.interfaces.errors import UserError, did_you_mean
from harness.interfaces.observing import Turn, Turns
from harness.interfaces.registry import load_plugins

if TYPE_CHECKING:
    import numpy as np

    from harness.interfaces import ClassToImage


def sample(
    classes: Annotated[str, typer.Option(help="Numbers or names of classes, with commas between.")],
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="NAME:ARGUMENT[?key=value&…], such as uniwetok-ar-b:…"),
    ] = "uniwetok-ar-nano",
    count: Annotated[int, typer.Option(help="Images of each class.")] = 1,
    cfg: Annotated[float | None, typer.Option(help="Guidance, as cfg=… of the model.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Diffusion steps a token, as steps=… of the model.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("samples.png"),
    plugin: Plugins = None,
) -> None:
    """Draw images of classes and write them as one picture, each above its class's name.

    Without a model the small one that ships is taken.
    """
    from harness.data.store import check_folder
    from harness.engine.models import ModelChoice, load, require
    from harness.engine.run_file import sample_seed
    from harness.engine.world import World, reproducible, resolve_device
    from tasks.gen.data import names_of

    load_plugins(plugin)
    if count < 1:
        raise UserError(f"--count {count}: must be at least 1")
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: give the name of a .png file")
    check_folder(out.parent)
    choice = ModelChoice.parse(model)
    given = {"cfg": cfg, "steps": steps}
    options = {name: f"{value:g}" for name, value in given.items() if value is not None}
    choice = dataclasses.replace(choice, options={**choice.options, **options})
    drawer: Any = choice.build()
    require(drawer, choice.name, ("ClassToImage",), "uwt-eval sample")
    names = names_of(drawer)
    labels = [
        label for part in classes.split(",") for label in [_label(part, drawer, names)] * count
    ]
    place = resolve_device(device, World())
    load(drawer, place)
    # One image at a time: each is the same whatever others are asked for.
    numbers = [labels[:earlier].count(label) for earlier, label in enumerate(labels)]
    seeds = [
        sample_seed(seed, "sample", 1, f"{label}/{number}")
        for label, number in zip(labels, numbers, strict=True)
    ]
    turn = Turns(place).of_model(drawer)
    with reproducible(place) as lanes, ThreadPoolExecutor(lanes) as pool:
        images = list(pool.map(functools.partial(_draw, drawer, turn), labels, seeds))
    titles = [f"{label} {names[label]}" if names else str(label) for label in labels]
    _write(out, titles, images)
    terminal(soft_wrap=True, highlight=False).print(f"written: {out}", markup=False)


def _label(text: str, model: ClassToImage, names: Sequence[str]) -> int:
    """A class's number, from that or from its name; `UserError` where the model has none such."""
    wanted = text.strip()
    if wanted.lstrip("-").isdecimal():
        if 0 <= int(wanted) < model.classes:
            return int(wanted)
        raise UserError(
            f"--classes: {wanted} is none of the model's classes 0..{model.classes - 1}"
        )
    places = [place for place, name in enumerate(names) if name.lower() == wanted.lower()]
    if len(places) == 1:
        return places[0]
    if places:
        numbers = " and ".join(map(str, places))
        raise UserError(f"--classes: {wanted!r} is the name of {numbers}: give a number")
    hint = did_you_mean(wanted, names) if names else "give whole numbers, for it has no names"
    raise UserError(f"--classes: the model has no class {wanted!r}: {hint}")


def _draw(model: ClassToImage, turn: Turn, label: int, seed: int) -> np.ndarray:
    """One image as people see it, uint8 (H, W, 3)."""
    from harness.data.images import to_uint8

    with turn:
        (image,) = model.decode(model.sample([label], [seed]), [seed])
        return to_uint8(image.float())


def _write(out: Path, titles: list[str], images: list[np.ndarray]) -> None:
    from PIL import Image

    from tasks.shared.pictures import labelled_grid

    out.parent.mkdir(parents=True, exist_ok=True)
    cells = [(Image.fromarray(pixels), title) for title, pixels in zip(titles, images, strict=True)]
    labelled_grid(cells).save(out)
