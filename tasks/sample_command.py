"""`uwt-eval sample`: pictures of classes, for people."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from harness.commands.options import Plugins
from harness.errors import UserError
from harness.registry import load_plugin

if TYPE_CHECKING:
    import numpy as np

    from harness.interfaces import ClassToImage


def sample(
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="NAME:ARGUMENT[?key=value&…], such as uniwetok-ar-b:…"),
    ],
    classes: Annotated[str, typer.Option(help="Numbers of classes, with commas between.")],
    count: Annotated[int, typer.Option(help="Images of each class.")] = 1,
    cfg: Annotated[float | None, typer.Option(help="Guidance, as cfg=… of the model.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Diffusion steps a token, as steps=… of the model.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("samples.png"),
    plugin: Plugins = None,
) -> None:
    """Draw images of classes and write them as one picture, each above its class's name."""
    from harness.models import ModelChoice
    from harness.plan import resolve_device
    from harness.seeds import sample_seed
    from harness.shard import World

    for path in plugin or []:
        load_plugin(path)
    if count < 1:
        raise UserError(f"--count {count}: must be at least 1")
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: give the name of a .png file")
    labels = [label for label in _labels(classes) for _ in range(count)]
    choice = ModelChoice.parse(model)
    given = {"cfg": cfg, "steps": steps}
    options = {name: f"{value:g}" for name, value in given.items() if value is not None}
    choice = dataclasses.replace(choice, options={**choice.options, **options})
    drawer: Any = choice.build()
    if not hasattr(type(drawer), "sample"):
        raise UserError(f"model {choice.name!r} draws no images of classes")
    for label in labels:
        if not 0 <= label < drawer.classes:
            raise UserError(
                f"--classes {classes}: {label} is none of the model's classes "
                f"0..{drawer.classes - 1}"
            )
    drawer.load(resolve_device(device, World()))
    # One image at a time: each is the same whatever others are asked for.
    numbers = [labels[:place].count(label) for place, label in enumerate(labels)]
    seeds = [
        sample_seed(seed, "sample", 1, f"{label}/{number}")
        for label, number in zip(labels, numbers, strict=True)
    ]
    images = [_draw(drawer, label, own) for label, own in zip(labels, seeds, strict=True)]
    _write(out, labels, images)
    Console(soft_wrap=True, highlight=False).print(f"written: {out}", markup=False)


def _labels(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.lstrip("-").isdecimal() for part in parts):
        raise UserError(
            f"--classes {text}: give whole numbers with commas between, such as 207,360"
        )
    return [int(part) for part in parts]


def _draw(model: ClassToImage, label: int, seed: int) -> np.ndarray:
    """One image as people see it, uint8 (H, W, 3)."""
    (image,) = model.decode(model.sample([label], [seed]), [seed])
    levels = ((image.float() + 1) * 127.5).round().clamp(0, 255)
    pixels: np.ndarray = levels.byte().permute(1, 2, 0).cpu().numpy()
    return pixels


def _write(out: Path, labels: list[int], images: list[np.ndarray]) -> None:
    from PIL import Image

    from tasks.class_names import class_name
    from tasks.pictures import labelled_grid

    out.parent.mkdir(parents=True, exist_ok=True)
    cells = [
        (Image.fromarray(pixels), f"{label} {class_name(label)}")
        for label, pixels in zip(labels, images, strict=True)
    ]
    labelled_grid(cells).save(out)
