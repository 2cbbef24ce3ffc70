"""`uwt-eval edit`: a changed picture, for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness.commands.options import Json
from harness.engine.progress import Progress
from harness.interfaces.errors import UserError
from uniwetok.commands import assistant as common


def edit(
    instruction: Annotated[str, typer.Argument(help="What to change, in any language.")],
    model: common.ModelFolder,
    images: common.Images = None,
    tokenizer: common.Tokenizer = None,
    height: Annotated[
        int | None, typer.Option(help="Of the edited image (default: the first picture's).")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Likewise.")] = None,
    count: Annotated[int, typer.Option(help="Images to draw.")] = 1,
    cfg: common.Cfg = 7.5,
    image_cfg: Annotated[
        float, typer.Option(help="Guidance by the pictures; 1 is none, as released.")
    ] = 1.0,
    steps: common.Steps = 50,
    seed: common.Seed = 0,
    strict: common.Strict = False,
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("edited.png"),
    dtype: common.Dtype = "float32",
    device: common.Device = "auto",
    quiet: common.Quiet = False,
    as_json: Json = False,
) -> None:
    """Change pictures as a text says; each PNG carries its settings as text."""
    common.check_drawing(steps, out)
    if count < 1:
        raise UserError(f"--count {count}: must be at least 1")
    if not instruction.strip():
        raise UserError("an empty instruction: say what to change")
    if not images:
        raise UserError("no picture to edit: give --image FILE")
    if (height is None) != (width is None):
        raise UserError("give --height and --width both, or neither")
    sources = common.read_pictures(images)
    with common.user_errors():
        editor = common.load(model, tokenizer, dtype, device)
        config = editor.model.config
        if height is not None and width is not None:
            size = common.fitted((height, width), config, strict=strict)
        else:
            size = common.source_size(sources[0], config, strict=strict)
        seeds = [seed + index for index in range(count)]
        with Progress(Console(stderr=True), quiet=quiet).bar("drawing tokens") as advance:
            pictures = editor.edit(
                [instruction] * count,
                [sources] * count,
                seeds,
                size=size,
                cfg=cfg,
                image_cfg=image_cfg,
                steps=steps,
                on_step=advance,
            )
    settings = [
        {
            "instruction": instruction,
            "images": [str(path) for path in images],
            "seed": own,
            "height": size[0],
            "width": size[1],
            "cfg": cfg,
            "image_cfg": image_cfg,
            "steps": steps,
            "dtype": dtype,
            "model": str(model),
        }
        for own in seeds
    ]
    common.write_pictures(out, pictures, settings, as_json=as_json)
