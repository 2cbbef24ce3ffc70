"""What the commands that talk to a multimodal model have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.console import terminal
from harness.interfaces.errors import DecodeError, UserError
from harness.interfaces.extras import need

if TYPE_CHECKING:
    import numpy as np

    from uniwetok.mllm import Assistant

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
Dtype = Annotated[str, typer.Option(help="float32 or bfloat16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


def load(model: Path, tokenizer: Path | None, dtype: str, device: str) -> Assistant:
    """Load the model on a device; raise `UserError` where that cannot be."""
    from harness.engine.world import World, resolve_device
    from uniwetok.plugins.mllm import load_assistant

    if dtype not in {"float32", "bfloat16"}:
        raise UserError(f"--dtype {dtype}: use float32 or bfloat16")
    place = resolve_device(device, World())
    return load_assistant("--model", model, tokenizer, dtype).to(place)


def check_folder(model: Path) -> None:
    """Raise `UserError` where there is no such folder, or nothing to load it with."""
    need("the multimodal model", "transformers")
    if not model.is_dir():
        raise UserError(f"--model: {model}: no such folder")


def read_pictures(paths: Sequence[Path]) -> list[np.ndarray]:
    """Read pictures as uint8 RGB (H, W, 3), turned as their EXIF says, transparency over white."""
    import numpy as np

    from harness.data.images import DecodeRule, decode_image, read_image

    rule = DecodeRule(exif="apply", alpha="white", sixteen_bit="scale")
    pictures: list[np.ndarray] = []
    for path in paths:
        if not path.is_file():
            raise UserError(f"--image {path}: no such file")
        try:
            pictures.append(np.asarray(decode_image(read_image(path), rule)))
        except DecodeError as error:
            raise UserError(f"--image {path}: {error}") from error
    return pictures


def notice(text: str) -> None:
    """Print a notice beside the results."""
    terminal(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True, style="yellow")
