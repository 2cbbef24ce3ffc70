"""HTML pages, rendered by jinja2 with every value escaped."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def render(template: str, **values: object) -> str:
    """Fill a template of this folder; a value that it misses is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**values)
