"""`uwt-eval edit`: a changed picture, for people."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import terminal
from harness.commands.options import Json
from harness.engine.progress import Progress
from harness.interfaces.errors import UserError
from uniwetok.commands import assistant as common
from uniwetok.commands.shared import Quiet, user_errors


def edit(
    instruction: Annotated[str, typer.Argument(help="What to change, in any language.")],
    model: common.ModelFolder,
    images: common.Images = None,
    tokenizer: common.Tokenizer = None,
    height: Annotated[
        int | None, typer.Option(help="Height of the edited image (default: the first picture's).")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Width of the edited image, likewise.")] = None,
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
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Change pictures as a text says; each PNG carries its settings as text."""
    common.check_drawing(steps, count, out)
    if not instruction.strip():
        raise UserError("an empty instruction: say what to change")
    if not images:
        raise UserError("no picture to edit: give --image FILE")
    if (height is None) != (width is None):
        raise UserError("give --height and --width both, or neither")
    sources = common.read_pictures(images)
    with user_errors():
        from uniwetok.mllm import Drawing

        editor = common.load(model, tokenizer, dtype, device)
        config = editor.model.config
        if height is not None and width is not None:
            rows, columns = common.fitted((height, width), config, strict=strict)
        else:
            rows, columns = common.source_size(sources[0], config, strict=strict)
        drawing = Drawing(height=rows, width=columns, cfg=cfg, image_cfg=image_cfg, steps=steps)
        seeds = range(seed, seed + count)
        with Progress(terminal(stderr=True), quiet=quiet).bar("drawing tokens") as advance:
            pictures = editor.edit(
                [instruction] * count, [sources] * count, seeds, drawing, on_step=advance
            )
    asked = {"instruction": instruction, "images": [str(path) for path in images]}
    made = {**asdict(drawing), "dtype": dtype, "model": str(model)}
    settings = [{**asked, "seed": own, **made} for own in seeds]
    common.write_pictures(out, pictures, settings, as_json=as_json)
