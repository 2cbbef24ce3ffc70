"""What the commands that talk to a multimodal model have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.console import terminal
from harness.interfaces.errors import DecodeError, UserError

if TYPE_CHECKING:
    import numpy as np

    from uniwetok.mllm import Assistant, MLLMConfig

ModelFolder = Annotated[
    Path, typer.Option("--model", "-m", help="Folder of a multimodal model, docs/mllm.md.")
]
Tokenizer = Annotated[
    Path | None,
    typer.Option(help="The image tokenizer, where it is not in the model's folder."),
]
Images = Annotated[
    list[Path] | None, typer.Option("--image", "-i", help="A picture; repeat for several.")
]
Cfg = Annotated[float, typer.Option(help="Guidance by the text; 1 is none.")]
Steps = Annotated[int, typer.Option(help="Noisy diffusion steps for each step of an image.")]
Seed = Annotated[int, typer.Option(help="Seed of the first image; the next have the next.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse a size that does not fit instead of rounding.")
]
Dtype = Annotated[str, typer.Option(help="float32 or bfloat16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
_SOFTWARE = "uwt-eval"


def load(model: Path, tokenizer: Path | None, dtype: str, device: str) -> Assistant:
    """Load the model on a device; raise `UserError` where that cannot be."""
    from harness.engine.plan import resolve_device
    from harness.engine.world import World
    from uniwetok.plugins.mllm import load_assistant

    if dtype not in {"float32", "bfloat16"}:
        raise UserError(f"--dtype {dtype}: use float32 or bfloat16")
    place = resolve_device(device, World())
    return load_assistant("--model", model, tokenizer, dtype).to(place)


def check_drawing(steps: int, count: int, out: Path) -> None:
    """Refuse impossible options before a model is loaded."""
    if count < 1:
        raise UserError(f"--count {count}: must be at least 1")
    if steps < 1:
        raise UserError(f"--steps {steps}: must be at least 1")
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: give the name of a .png file")


def read_pictures(paths: Sequence[Path]) -> list[np.ndarray]:
    """Read pictures as uint8 RGB (H, W, 3), turned as their EXIF says, transparency over white."""
    import numpy as np

    from harness.data.images import DecodeRule, decode_image

    rule = DecodeRule(exif="apply", alpha="white", sixteen_bit="scale")
    pictures: list[np.ndarray] = []
    for path in paths:
        if not path.is_file():
            raise UserError(f"--image {path}: no such file")
        try:
            pictures.append(np.asarray(decode_image(path.read_bytes(), rule)))
        except DecodeError as error:
            raise UserError(f"--image {path}: {error}") from error
    return pictures


def fitted(size: tuple[int, int], config: MLLMConfig, *, strict: bool) -> tuple[int, int]:
    """Round a height and width to what the model takes and say so; refuse it where strict."""
    from uniwetok.mllm import pictures

    if strict:
        pictures.check_size(*size, config)
    height, width = pictures.fit_size(*size, config)
    if (height, width) != size:
        notice(
            f"size {size[0]}x{size[1]} does not fit: sides are multiples of {config.multiple} up "
            f"to {config.max_side}; drawing {height}x{width}"
        )
    return height, width


def source_size(picture: np.ndarray, config: MLLMConfig, *, strict: bool) -> tuple[int, int]:
    """Give the size at which a picture is read and drawn; see ``fitted``."""
    from uniwetok.mllm import pictures

    size = picture.shape[0], picture.shape[1]
    if strict:
        pictures.check_size(*size, config)
    readable = pictures.readable_size(*size, config)
    if readable != size:
        notice(
            f"the picture of {size[0]}x{size[1]} is read and drawn as {readable[0]}x{readable[1]}"
        )
    return readable


def notice(text: str) -> None:
    """Print a notice beside the results."""
    terminal(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True, style="yellow")


def write_picture(path: Path, pixels: np.ndarray, settings: Mapping[str, Any]) -> None:
    """Write uint8 RGB (H, W, 3) as PNG, with the settings as its texts, whole or not at all."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from uniwetok.files import replaced

    texts = PngInfo()
    for name, value in {"Software": _SOFTWARE, **settings}.items():
        texts.add_itxt(name, value if isinstance(value, str) else json.dumps(value))
    with replaced(path) as partial:
        Image.fromarray(pixels).save(partial, format="PNG", pnginfo=texts)


def write_pictures(
    out: Path,
    pictures: Sequence[np.ndarray],
    settings: Sequence[Mapping[str, Any]],
    *,
    as_json: bool,
) -> None:
    """Write a picture as OUT, several as OUT-0, OUT-1 and so on, and say where they are."""
    paths = [out] if len(pictures) == 1 else _numbered(out, len(pictures))
    for path, pixels, own in zip(paths, pictures, settings, strict=True):
        write_picture(path, pixels, own)
    if as_json:
        entries = [{"path": str(path), **own} for path, own in zip(paths, settings, strict=True)]
        print(json.dumps(entries, indent=2, ensure_ascii=False))
        return
    console = terminal(soft_wrap=True, highlight=False)
    for path, own in zip(paths, settings, strict=True):
        size, seed = f"{own['height']}x{own['width']}", own["seed"]
        console.print(f"written: {path} ({size}, seed {seed})", markup=False)


def _numbered(out: Path, count: int) -> list[Path]:
    digits = len(str(count - 1))
    return [out.with_name(f"{out.stem}-{index:0{digits}}{out.suffix}") for index in range(count)]
