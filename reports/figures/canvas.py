"""How every figure looks and how it is written: the same bytes for the same results."""

from __future__ import annotations

import functools
import io
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.lettering import cjk_font
from harness.interfaces.errors import UserError
from reports.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

    from harness.interfaces.types import MetricValue
    from reports.tables.filled import Cell

FORMATS = ("png", "svg")
PAPER = "#8a8f98"
"""Printed figures of others."""
OWN = "#0b5fa5"
"""The paper's own printed figures."""
MEASURED = ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Measured figures, one colour after another: Okabe and Ito's, told apart by everybody."""
LONGEST_NAME = 28
_DPI = 200
_BOLD = 700
_LETTER = 0.078
"""Inches that a bold letter of a headline takes on average."""
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "figure.facecolor": "white",
    # Names are names: a dollar sign in one begins no formula.
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "uwt-eval",
}
_OFFSETS = (
    *((6, 0), (-6, 0), (0, 7), (0, -7), (6, 7), (6, -7), (-6, 7), (-6, -7)),
    *((6, 14), (6, -14), (-6, 14), (-6, -14), (12, 21), (12, -21), (-12, 21), (-12, -21)),
)
"""Where a label may stand from its point, in points, best first."""


class NothingToDraw(UserError):
    """The records hold nothing that this figure shows."""


@contextmanager
def style() -> Iterator[None]:
    """Draw in the project's style, whatever the user's own settings of matplotlib are."""
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        if (path := cjk_font()) is not None:
            mpl.rcParams["font.family"] = [_STYLE["font.family"], _known(path)]
        yield


@functools.cache
def _known(path: Path) -> str:
    """Tell matplotlib of a font that draws what those before it have no letters for; its name.

    The font has one weight, which is named as the bold one too: else each figure with a bold title
    warns on stderr that there is none.
    """
    from matplotlib import font_manager

    known = font_manager.fontManager
    known.addfont(path)
    faces = [each for each in known.ttflist if each.fname == str(path)]
    known.ttflist += [replace(each, weight=_BOLD) for each in faces]
    name: str = font_manager.get_font(path).family_name
    return name


def new_figure(width: float, height: float, title: str = "") -> Figure:
    """An empty figure, in inches, that no window shows; with a headline where one is given."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        headline = textwrap.fill(title, max(int(width / _LETTER), 1), break_on_hyphens=False)
        figure.suptitle(headline, fontsize=9, x=0.01, ha="left", weight="bold")
    return figure


def write_figure(figure: Figure, stem: Path, formats: Sequence[str]) -> list[Path]:
    """Write the figure as `stem`.png and .svg, without dates, and return the paths."""
    written = []
    for form in formats:
        data = io.BytesIO()
        metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
        figure.savefig(data, format=form, dpi=_DPI, metadata=metadata)
        path = stem.with_name(f"{stem.name}.{form}")
        write_bytes(path, data.getvalue())
        written.append(path)
    return written


def short(name: str) -> str:
    """A name that fits beside a point; options, which tell variants apart, are never cut."""
    line = " ".join(name.split())
    if len(line) <= LONGEST_NAME:
        return line
    title, mark, options = line.partition("?")
    if len(title) > LONGEST_NAME:
        title = f"{title[: LONGEST_NAME - 1]}…"
    return "\n".join([title, *textwrap.wrap(mark + options, LONGEST_NAME)])


@dataclass(frozen=True, slots=True)
class Point:
    """A point that is drawn, and its label."""

    x: float
    y: float
    text: str
    colour: str
    needed: bool = False
    """Whether the label stands even where no place for it is free."""
    x_span: tuple[float, float] | None = None
    """Ends of the bar through it."""
    y_span: tuple[float, float] | None = None


def measured(axes: Axes, point: Point, *, hollow: bool) -> Point:
    """Draw a measured point with its intervals; hollow where it does not compare."""
    axes.errorbar(
        point.x,
        point.y,
        xerr=_arms(point.x, point.x_span),
        yerr=_arms(point.y, point.y_span),
        fmt="s",
        color=point.colour,
        mfc="white" if hollow else point.colour,
        ms=5.5,
        capsize=2.5,
        lw=1.2,
        zorder=3,
    )
    return point


def span_of(cell: MetricValue | Cell) -> tuple[float, float] | None:
    """A figure's interval, where it has one."""
    return None if cell.ci_low is None or cell.ci_high is None else (cell.ci_low, cell.ci_high)


def _arms(value: float, span: tuple[float, float] | None) -> list[list[float]] | None:
    """An interval as matplotlib takes it; an end on the wrong side of the value is no arm."""
    return span and [[max(0.0, value - span[0])], [max(0.0, span[1] - value)]]


def place_labels(axes: Axes, points: Sequence[Point]) -> None:
    """Write a label beside each point where it meets no other label, point or bar.

    Where no place is free, the label is left out unless it must stand.

    Args:
        axes: With its points drawn and its limits set.
        points: The most important first.
    """
    from matplotlib.transforms import Bbox

    figure = axes.get_figure(root=True)
    if figure is None or not points:
        return
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    taken = []
    for point in points:
        for x_span, y_span in ((point.x_span, None), (None, point.y_span)):
            low, high = x_span or (point.x, point.x), y_span or (point.y, point.y)
            ends = axes.transData.transform([(low[0], high[0]), (low[1], high[1])])
            taken.append(Bbox(ends).padded(2.5 * _DPI / 72))
    frame = axes.get_window_extent(renderer)
    for point in points:
        for number, offset in enumerate(_OFFSETS):
            note = _label(axes, point, offset)
            box = note.get_window_extent(renderer)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0
            free = inside and box.y1 <= frame.y1 and not box.count_overlaps(taken)
            if free or (point.needed and number == len(_OFFSETS) - 1):
                taken.append(box)
                break
            note.remove()


def _label(axes: Axes, point: Point, offset: tuple[int, int]) -> Annotation:
    right, up = offset
    across = "left" if right > 0 else "right" if right < 0 else "center"
    along = "center" if up == 0 else "bottom" if up > 0 else "top"
    return axes.annotate(
        point.text,
        (point.x, point.y),
        xytext=offset,
        textcoords="offset points",
        ha=across,
        va=along,
        fontsize=7,
        color=point.colour,
        annotation_clip=False,
    )
