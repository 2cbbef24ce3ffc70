"""Models side by side on chosen details: a face, a text, another resolution; a row each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.interfaces.errors import UserError, did_you_mean
from reports.figures.canvas import NothingToDraw, new_figure, short
from reports.figures.grids import ORIGINAL, show_picture
from reports.files import read_list
from reports.pictures import kept_pictures, read_picture
from reports.records import Loaded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL = 1.5


class Detail(BaseModel):
    """One row of the figure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    sample: str = Field(description="Id of a sample whose picture the runs kept.")
    task: str | None = Field(default=None, description="Needed where several tasks have it.")
    crop: tuple[int, int, int, int] | None = Field(
        default=None, description="Left, top, width and height in pixels; the whole if absent."
    )


def read_details(path: Path) -> list[Detail]:
    """The rows of a TOML file, `[[rows]]` with title, sample, task and crop."""
    rows = read_list(path, "rows", "tables [[rows]] with title and sample")
    return [_detail(path, number, row) for number, row in enumerate(rows, 1)]


def _detail(path: Path, number: int, row: Any) -> Detail:
    try:
        return Detail.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(f"--rows {path}, row {number}: field {field!r}: {first['msg']}") from error


def draw(records: Sequence[Loaded], details: Sequence[Detail]) -> Figure:
    """A row a detail, a column a model; where a row is a crop, the whole stands before it.

    Raises:
        UserError: No run kept a row's sample, several tasks have it, or a crop lies outside.
    """
    kept = [(loaded, pictures) for loaded in records if (pictures := kept_pictures(loaded))]
    if not kept:
        raise NothingToDraw("no run kept pictures: give --runs DIR with run directories")
    cells = [_row(detail, kept) for detail in details]
    models = list(dict.fromkeys(loaded.record.model for loaded, _ in kept))
    models = [name for name in models if any(name in row for row in cells)]
    models.sort(key=lambda name: name != ORIGINAL)
    lead = int(any(detail.crop is not None for detail in details))
    figure = new_figure(_CELL * (len(models) + lead) + 0.4, (_CELL + 0.02) * len(details) + 0.3)
    grid = figure.subplots(len(details), len(models) + lead, squeeze=False)
    for line, (detail, row) in enumerate(zip(details, cells, strict=True)):
        first = row.get(ORIGINAL) or next(iter(row.values()))
        size = read_picture(first).size
        _check_crop(detail, first, size)
        if lead:
            _whole(grid[line, 0], first, detail.crop)
        for column, model in enumerate(models, lead):
            show_picture(grid[line, column], row.get(model), detail.crop)
            if line == 0:
                title = "original" if model == ORIGINAL else short(model)
                grid[0, column].set_title(title, fontsize=8, loc="center")
        grid[line, 0].text(
            -0.06,
            0.5,
            f"{short(detail.title)}\n{size[0]}x{size[1]}",
            rotation=90,
            ha="right",
            va="center",
            multialignment="center",
            transform=grid[line, 0].transAxes,
            fontsize=7.5,
        )
    return figure


def _row(detail: Detail, kept: Sequence[tuple[Loaded, dict[str, Path]]]) -> dict[str, Path]:
    """The pictures of a row by model, in the order of the runs."""
    having = [(loaded.record, pics) for loaded, pics in kept if detail.sample in pics]
    tasks = list(dict.fromkeys(record.task for record, _ in having))
    if detail.task is not None:
        having = [(record, pics) for record, pics in having if record.task == detail.task]
    elif len(tasks) > 1:
        raise UserError(
            f"row {detail.title!r}: runs of {', '.join(tasks)} have {detail.sample!r}, "
            "name one with task = …"
        )
    if not having:
        known = {sample for _, pictures in kept for sample in pictures}
        where = "" if detail.task is None else f" of {detail.task}"
        raise UserError(
            f"row {detail.title!r}: no run{where} kept a picture of {detail.sample!r}, "
            f"{did_you_mean(detail.sample, known)}"
        )
    row: dict[str, Path] = {}
    for record, pictures in having:
        if record.model in row:
            raise UserError(
                f"row {detail.title!r}: two runs of {record.model} have {detail.sample!r}: "
                "give the runs of one protocol"
            )
        row[record.model] = pictures[detail.sample]
    return row


def _check_crop(detail: Detail, path: Path, size: tuple[int, int]) -> None:
    if detail.crop is None:
        return
    left, top, width, height = detail.crop
    if (
        min(left, top) < 0
        or min(width, height) < 1
        or left + width > size[0]
        or top + height > size[1]
    ):
        raise UserError(
            f"row {detail.title!r}: crop {list(detail.crop)} lies outside {path.name} of "
            f"{size[0]}x{size[1]} pixels"
        )


def _whole(axes: Axes, path: Path, crop: tuple[int, int, int, int] | None) -> None:
    """The whole picture with the crop framed; nothing where the row shows the whole anyway."""
    from matplotlib.patches import Rectangle

    if crop is None:
        axes.set_axis_off()
        return
    show_picture(axes, path)
    left, top, width, height = crop
    axes.add_patch(Rectangle((left, top), width, height, fill=False, ec="#d55e00", lw=1.4))
