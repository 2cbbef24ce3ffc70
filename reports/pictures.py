"""The pictures that runs keep for people: whose they are, and two runs' side by side."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from harness.data.lettering import write_line
from harness.interfaces.errors import UserError
from reports.files import write_bytes
from reports.records import Loaded
from uwt_images.decoding import RASTER_FORMATS

_SIDE = 256
_SUFFIXES = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "WEBP": (".webp",)}
"""How files are called that a browser shows as what they are."""
_GAP = 6
_LINE = 18
_SIZE = 12
"""Of letters."""


def kept_pictures(loaded: Loaded) -> dict[str, Path]:
    """The outputs that a run kept as pictures, by sample id in task order."""
    if loaded.root is None:
        return {}
    samples = loaded.run_file().get("samples", ())
    try:
        ids = {int(sample["index"]): str(sample["id"]) for sample in samples}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{loaded.root}/run.json is damaged: {error}") from error
    files = sorted((loaded.root / "pictures").glob("*.png"))
    return {
        ids[int(path.stem)]: path for path in files if path.stem.isdigit() and int(path.stem) in ids
    }


def read_picture(path: Path) -> Image.Image:
    """The picture in RGB; raise `UserError` where it cannot be read."""
    try:
        with Image.open(path, formats=RASTER_FORMATS) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError) as error:
        raise UserError(f"{path} is no readable picture: remove it or run again") from error


def safe_picture(root: Path, name: str) -> Path | None:
    """A picture in a run directory; None where it is missing, lies outside, or is no picture."""
    path = root / name
    try:
        if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
            return None
        with Image.open(path, formats=RASTER_FORMATS) as image:
            return path if path.suffix.lower() in _SUFFIXES[image.format or ""] else None
    except (OSError, SyntaxError, KeyError, ValueError):
        return None


def write_sheet(a: Loaded, b: Loaded, ordered: Sequence[str], target: Path) -> int:
    """Write A and B side by side for every picture that both kept; how many samples it shows.

    Args:
        a: The first run.
        b: The second run.
        ordered: Sample ids, the one that lost most first.
        target: The PNG.

    Raises:
        UserError: Both kept no picture of one sample, or a picture cannot be read.
    """
    left, right = kept_pictures(a), kept_pictures(b)
    shown = [name for name in ordered if name in left and name in right]
    if not shown:
        raise UserError(
            f"{a.record.run_id} and {b.record.run_id} kept no pictures of common samples: "
            "leave --sheet out"
        )
    row = _SIDE + _LINE + _GAP
    sheet = Image.new("RGB", (2 * _SIDE + 3 * _GAP, len(shown) * row + _LINE + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for place, run in enumerate((a, b)):
        title = f"{'AB'[place]}: {_header(run.record.model)}"
        write_line(draw, (_GAP + place * (_SIDE + _GAP), 2), title, _SIZE)
    for index, name in enumerate(shown):
        top = _LINE + index * row
        for place, path in enumerate((left[name], right[name])):
            sheet.paste(_thumbnail(path), (_GAP + place * (_SIDE + _GAP), top))
        write_line(draw, (_GAP, top + _SIDE + 2), f"{index + 1}. {name}"[:80], _SIZE)
    data = io.BytesIO()
    sheet.save(data, format="PNG")
    write_bytes(target, data.getvalue())
    return len(shown)


def _header(name: str) -> str:
    """A name that fits over a picture; its end, where options are, stays."""
    return name if len(name) <= 38 else f"{name[:14]}…{name[-23:]}"


def _thumbnail(path: Path) -> Image.Image:
    picture = read_picture(path)
    picture.thumbnail((_SIDE, _SIDE))
    return picture
