"""`uwt-eval generate`: pictures of prompts, for people."""

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


def generate(
    prompts: Annotated[list[str], typer.Argument(help="What to draw, in any language.")],
    model: common.ModelFolder,
    tokenizer: common.Tokenizer = None,
    height: Annotated[int, typer.Option(help="Height of the images, in pixels.")] = 1024,
    width: Annotated[int, typer.Option(help="Width of the images, in pixels.")] = 1024,
    count: Annotated[int, typer.Option(help="Images of each prompt.")] = 1,
    cfg: common.Cfg = 7.5,
    steps: common.Steps = 50,
    seed: common.Seed = 0,
    strict: common.Strict = False,
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("generated.png"),
    dtype: common.Dtype = "float32",
    device: common.Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw prompts; each PNG carries its settings as text."""
    common.check_drawing(steps, count, out)
    if not all(prompt.strip() for prompt in prompts):
        raise UserError("an empty prompt: say what to draw")
    with user_errors():
        from uniwetok.mllm import Drawing

        drawer = common.load(model, tokenizer, dtype, device)
        height, width = common.fitted((height, width), drawer.model.config, strict=strict)
        drawing = Drawing(height=height, width=width, cfg=cfg, steps=steps)
        wanted = [prompt for prompt in prompts for _ in range(count)]
        seeds = range(seed, seed + len(wanted))
        with Progress(terminal(stderr=True), quiet=quiet).bar("drawing tokens") as advance:
            pictures = drawer.generate(wanted, seeds, drawing, on_step=advance)
    made = {**asdict(drawing), "dtype": dtype, "model": str(model)}
    del made["image_cfg"]
    settings = [
        {"prompt": prompt, "seed": own, **made} for prompt, own in zip(wanted, seeds, strict=True)
    ]
    common.write_pictures(out, pictures, settings, as_json=as_json)
