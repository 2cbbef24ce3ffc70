"""Numbers and marks as people read them in a terminal and in Markdown."""

from __future__ import annotations

from harness.commands.console import NOTHING, label

ARROWS = {True: " ↑", False: " ↓", None: ""}


def heading(metric: str, better: bool | None) -> str:
    """A metric's title with the direction that is better."""
    return label(metric).title + ARROWS[better]


def number(metric: str, value: float | None) -> str:
    """A value with the metric's own digits, or a dash."""
    return NOTHING if value is None or value != value else label(metric).text(value)


def signed(metric: str, value: float | None) -> str:
    """A change with its sign and one digit more than the metric's values have."""
    if value is None or value != value:
        return NOTHING
    form = label(metric)
    sign = "−" if value < 0 else "+"
    if form.percent:
        return f"{sign}{100 * abs(value):.{form.digits + 1}f} pp"
    return f"{sign}{abs(value):.{form.digits + 1}f}"


def interval(metric: str, low: float | None, high: float | None, *, change: bool = False) -> str:
    """'low to high', or a dash."""
    if low is None or high is None:
        return NOTHING
    write = signed if change else number
    return f"{write(metric, low)} to {write(metric, high)}"
