"""HTML pages of reports, rendered by jinja2 with every value escaped."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def render(template: str, **values: object) -> str:
    """Fill a template of this folder; a value that it misses is an error."""
    from harness.commands.pages import page_template

    stream = page_template(_FOLDER / template).stream(**values)
    stream.enable_buffering(1000)  # A page of 10,000 rows has a million pieces.
    return "".join(stream)
