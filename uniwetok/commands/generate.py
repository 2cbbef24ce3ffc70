"""`uwt-eval generate`: pictures of prompts, for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness.commands.options import Json
from harness.engine.progress import Progress
from harness.interfaces.errors import UserError
from uniwetok.commands import assistant as common


def generate(
    prompts: Annotated[list[str], typer.Argument(help="What to draw, in any language.")],
    model: common.ModelFolder,
    tokenizer: common.Tokenizer = None,
    height: Annotated[int, typer.Option(help="Of the images, in pixels.")] = 1024,
    width: Annotated[int, typer.Option(help="Of the images, in pixels.")] = 1024,
    count: Annotated[int, typer.Option(help="Images of each prompt.")] = 1,
    cfg: common.Cfg = 7.5,
    steps: common.Steps = 50,
    seed: common.Seed = 0,
    strict: common.Strict = False,
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("generated.png"),
    dtype: common.Dtype = "float32",
    device: common.Device = "auto",
    quiet: common.Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw prompts; each PNG carries its settings as text."""
    common.check_drawing(steps, out)
    if count < 1:
        raise UserError(f"--count {count}: must be at least 1")
    if not all(prompt.strip() for prompt in prompts):
        raise UserError("an empty prompt: say what to draw")
    with common.user_errors():
        drawer = common.load(model, tokenizer, dtype, device)
        size = common.fitted((height, width), drawer.model.config, strict=strict)
        wanted = [prompt for prompt in prompts for _ in range(count)]
        seeds = [seed + index for index in range(len(wanted))]
        with Progress(Console(stderr=True), quiet=quiet).bar("drawing tokens") as advance:
            pictures = drawer.generate(
                wanted,
                seeds,
                height=size[0],
                width=size[1],
                cfg=cfg,
                steps=steps,
                on_step=advance,
            )
    settings = [
        {
            "prompt": prompt,
            "seed": own,
            "height": size[0],
            "width": size[1],
            "cfg": cfg,
            "steps": steps,
            "dtype": dtype,
            "model": str(model),
        }
        for prompt, own in zip(wanted, seeds, strict=True)
    ]
    common.write_pictures(out, pictures, settings, as_json=as_json)
