"""Names made harmless in the format they are written into, and numbers as people read them."""

from __future__ import annotations

import re
from html import escape as html_escape

from harness.commands.console import NOTHING, label
from harness.interfaces.errors import one_line

ARROWS = {True: " ↑", False: " ↓", None: ""}
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "[": "{[}",
    "]": "{]}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≠": r"$\neq$",
    "−": "$-$",
    "Δ": r"$\Delta$",
    "α": r"$\alpha$",
    "Σ": r"$\Sigma$",
    "—": "---",
    "–": "--",
    "“": "``",
    "”": "''",
    "∞": r"$\infty$",
}
_POWER = re.compile(r"(\d+)\\textasciicircum\{\}(\d+)")


def code(text: str) -> str:
    """The text as inline code inside a cell of a Markdown table."""
    return f"<code>{html_escape(one_line(text), quote=False).replace('|', '&#124;')}</code>"


def latex(text: str) -> str:
    """The text as itself in LaTeX; powers such as 2^18 are set as powers."""
    escaped = "".join(_LATEX.get(letter, letter) for letter in one_line(text))
    return _POWER.sub(r"$\1^{\2}$", escaped)


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


def shows(metric: str, change: float | None) -> bool:
    """Whether a change is more than 0 in the digits that `signed` writes."""
    return any(digit in signed(metric, change) for digit in "123456789")


def interval(metric: str, low: float | None, high: float | None, *, change: bool = False) -> str:
    """'low to high', or a dash."""
    if low is None or high is None:
        return NOTHING
    write = signed if change else number
    return f"{write(metric, low)} to {write(metric, high)}"
