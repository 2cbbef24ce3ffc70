"""The pictures that runs keep for people: whose they are, and two runs' side by side."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from harness.data.lettering import write_line
from harness.interfaces.errors import UserError
from reports.files import write_bytes
from reports.originals import originals_of
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


def write_sheet(
    a: Loaded, b: Loaded, ordered: Sequence[str], target: Path, data: str | None = None
) -> int:
    """Write A and B side by side for every picture that both kept; how many samples it shows.

    Originals stand before them where the runs' data are at hand.

    Args:
        a: The first run.
        b: The second run.
        ordered: Sample ids, the one that lost most first.
        target: The PNG.
        data: Where the runs' data lie; where their commands had them if None.

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
    originals = originals_of((a, b), shown, data)
    titles = ["original"] if originals else []
    titles += [f"{name}: {_header(run.record.model)}" for name, run in (("A", a), ("B", b))]
    row, column = _SIDE + _LINE + _GAP, _SIDE + _GAP
    size = (len(titles) * column + _GAP, len(shown) * row + _LINE + _GAP)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for place, title in enumerate(titles):
        write_line(draw, (_GAP + place * column, 2), title, _SIZE)
    for index, name in enumerate(shown):
        top = _LINE + index * row
        pair = (read_picture(left[name]), read_picture(right[name]))
        for place, picture in enumerate((originals.get(name), *pair)[-len(titles) :]):
            if picture is not None:
                picture.thumbnail((_SIDE, _SIDE))
                sheet.paste(picture, (_GAP + place * column, top))
        write_line(draw, (_GAP, top + _SIDE + 2), f"{index + 1}. {name}"[:80], _SIZE)
    file = io.BytesIO()
    sheet.save(file, format="PNG")
    write_bytes(target, file.getvalue())
    return len(shown)


def _header(name: str) -> str:
    """A name that fits over a picture; its end, where options are, stays."""
    return name if len(name) <= 38 else f"{name[:14]}…{name[-23:]}"
