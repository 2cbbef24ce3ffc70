"""`uwt-eval generate` and `edit`: pictures of prompts, and changed pictures, for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.console import Json, terminal
from harness.engine.progress import Progress
from harness.interfaces.errors import UserError, json_text
from uniwetok.commands import assistant as common
from uniwetok.commands.options import Quiet
from uniwetok.commands.shared import user_errors

if TYPE_CHECKING:
    import numpy as np

    from uniwetok.mllm import MLLMConfig

Cfg = Annotated[float, typer.Option(help="Guidance by the text; 1 is none.")]
Steps = Annotated[int, typer.Option(help="Noisy diffusion steps for each step of an image.")]
Seed = Annotated[int, typer.Option(help="Seed of the first image; the next have the next.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse a size that does not fit instead of rounding.")
]
Out = Annotated[Path, typer.Option(help="PNG to write.")]
_SOFTWARE = "uwt-eval"


def generate(
    prompts: Annotated[list[str], typer.Argument(help="What to draw, in any language.")],
    model: common.ModelFolder,
    tokenizer: common.Tokenizer = None,
    height: Annotated[int, typer.Option(help="Height of the images, in pixels.")] = 1024,
    width: Annotated[int, typer.Option(help="Width of the images, in pixels.")] = 1024,
    count: Annotated[int, typer.Option(help="Images of each prompt.")] = 1,
    cfg: Cfg = 7.5,
    steps: Steps = 50,
    seed: Seed = 0,
    strict: Strict = False,
    out: Out = Path("generated.png"),
    dtype: common.Dtype = "float32",
    device: common.Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw prompts; each PNG carries its settings as text."""
    _check(steps, count, out)
    if not all(prompt.strip() for prompt in prompts):
        raise UserError("an empty prompt: say what to draw")
    common.check_folder(model)
    with user_errors():
        from uniwetok.mllm import Drawing

        drawer = common.load(model, tokenizer, dtype, device)
        height, width = _fitted((height, width), drawer.model.config, strict=strict)
        drawing = Drawing(height=height, width=width, cfg=cfg, steps=steps)
        wanted = [prompt for prompt in prompts for _ in range(count)]
        seeds = range(seed, seed + len(wanted))
        with Progress(terminal(stderr=True), quiet=quiet).bar("drawing tokens") as advance:
            pictures = drawer.generate(wanted, seeds, drawing, on_step=advance)
    asked = [{"prompt": prompt} for prompt in wanted]
    made = {**asdict(drawing), "dtype": dtype, "model": str(model)}
    del made["image_cfg"]
    _write(out, pictures, asked, seeds, made, as_json=as_json)


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
    cfg: Cfg = 7.5,
    image_cfg: Annotated[
        float, typer.Option(help="Guidance by the pictures; 1 is none, as released.")
    ] = 1.0,
    steps: Steps = 50,
    seed: Seed = 0,
    strict: Strict = False,
    out: Out = Path("edited.png"),
    dtype: common.Dtype = "float32",
    device: common.Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Change pictures as a text says; each PNG carries its settings as text."""
    _check(steps, count, out)
    if not instruction.strip():
        raise UserError("an empty instruction: say what to change")
    if not images:
        raise UserError("no picture to edit: give --image FILE")
    if (height is None) != (width is None):
        raise UserError("give --height and --width both, or neither")
    sources = common.read_pictures(images)
    common.check_folder(model)
    with user_errors():
        from uniwetok.mllm import Drawing

        editor = common.load(model, tokenizer, dtype, device)
        config = editor.model.config
        if height is not None and width is not None:
            rows, columns = _fitted((height, width), config, strict=strict)
        else:
            rows, columns = _source_size(sources[0], config, strict=strict)
        drawing = Drawing(height=rows, width=columns, cfg=cfg, image_cfg=image_cfg, steps=steps)
        seeds = range(seed, seed + count)
        with Progress(terminal(stderr=True), quiet=quiet).bar("drawing tokens") as advance:
            pictures = editor.edit(
                [instruction] * count, [sources] * count, seeds, drawing, on_step=advance
            )
    asked = [{"instruction": instruction, "images": [str(path) for path in images]}] * count
    made = {**asdict(drawing), "dtype": dtype, "model": str(model)}
    _write(out, pictures, asked, seeds, made, as_json=as_json)


def _check(steps: int, count: int, out: Path) -> None:
    """Refuse impossible options before a model is loaded."""
    from harness.data.store import check_folder

    if count < 1:
        raise UserError(f"--count {count}: must be at least 1")
    if steps < 1:
        raise UserError(f"--steps {steps}: must be at least 1")
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: give the name of a .png file")
    check_folder(out.parent)


def _fitted(size: tuple[int, int], config: MLLMConfig, *, strict: bool) -> tuple[int, int]:
    """Round a height and width to what the model takes and say so; refuse it where strict."""
    from uniwetok.mllm import pictures

    if strict:
        pictures.check_size(*size, config)
    height, width = pictures.fit_size(*size, config)
    if (height, width) != size:
        common.notice(
            f"size {size[0]}x{size[1]} does not fit: sides are multiples of {config.multiple} up "
            f"to {config.max_side}; drawing {height}x{width}"
        )
    return height, width


def _source_size(picture: np.ndarray, config: MLLMConfig, *, strict: bool) -> tuple[int, int]:
    """Give the size at which a picture is read and drawn; see ``_fitted``."""
    from uniwetok.mllm import pictures

    size = picture.shape[0], picture.shape[1]
    if strict:
        pictures.check_size(*size, config)
    readable = pictures.readable_size(*size, config)
    if readable != size:
        common.notice(
            f"the picture of {size[0]}x{size[1]} is read and drawn as {readable[0]}x{readable[1]}"
        )
    return readable


def _write(
    out: Path,
    pictures: Sequence[np.ndarray],
    asked: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    made: Mapping[str, Any],
    *,
    as_json: bool,
) -> None:
    """Write a picture as OUT, several as OUT-0, OUT-1 and so on, and say where they are.

    Args:
        out: the name asked for.
        pictures: uint8 RGB (H, W, 3).
        asked: what each is of.
        seeds: one a picture.
        made: how all were made.
        as_json: whether machines read it.
    """
    digits = len(str(len(pictures) - 1))
    names = [f"{out.stem}-{index:0{digits}}{out.suffix}" for index in range(len(pictures))]
    paths = [out] if len(pictures) == 1 else [out.with_name(name) for name in names]
    settings = [{**own, "seed": seed, **made} for own, seed in zip(asked, seeds, strict=True)]
    for path, pixels, own in zip(paths, pictures, settings, strict=True):
        _write_picture(path, pixels, own)
    if as_json:
        entries = [{"path": str(path), **own} for path, own in zip(paths, settings, strict=True)]
        print(json_text(entries))
        return
    console = terminal(soft_wrap=True, highlight=False)
    for path, own in zip(paths, settings, strict=True):
        size, seed = f"{own['height']}x{own['width']}", own["seed"]
        console.print(f"written: {path} ({size}, seed {seed})", markup=False)


def _write_picture(path: Path, pixels: np.ndarray, settings: Mapping[str, Any]) -> None:
    """Write uint8 RGB (H, W, 3) as PNG, with the settings as its texts, whole or not at all."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from uniwetok.files import replaced

    texts = PngInfo()
    for name, value in {"Software": _SOFTWARE, **settings}.items():
        texts.add_itxt(name, value if isinstance(value, str) else json.dumps(value))
    with replaced(path) as partial:
        Image.fromarray(pixels).save(partial, format="PNG", pnginfo=texts)
