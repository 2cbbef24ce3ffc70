"""The pictures that runs keep for people, and whose they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from harness.interfaces.errors import UserError
from reports.records import Loaded

if TYPE_CHECKING:
    from PIL import Image


def kept_pictures(loaded: Loaded) -> dict[str, Path]:
    """The outputs that a run kept as pictures, by sample id in task order."""
    if loaded.root is None:
        return {}
    try:
        samples = json.loads((loaded.root / "run.json").read_text(encoding="utf-8"))["samples"]
        ids = {int(sample["index"]): str(sample["id"]) for sample in samples}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{loaded.root}/run.json is damaged: {error}") from error
    files = sorted((loaded.root / "pictures").glob("*.png"))
    return {
        ids[int(path.stem)]: path for path in files if path.stem.isdigit() and int(path.stem) in ids
    }


def read_picture(path: Path) -> Image.Image:
    """The picture in RGB; raise `UserError` where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError) as error:
        raise UserError(f"{path} is no readable picture: remove it or run again") from error
