"""HTML pages from templates: every value escaped, and no script but the template's own runs."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.interfaces.errors import plain

if TYPE_CHECKING:
    from jinja2 import Template

_NONE = "'none'"
_BESIDE = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def page_template(path: Path, *, beside: bool = False) -> Template:
    """The template of a page; a value that it misses is an error.

    It must put `{{ csp }}` into a `meta` of its head: a content security policy, by which only the
    template's own scripts run, whatever a name or a reply holds.

    Args:
        path: The template.
        beside: Whether the page is made of files in its folder, instead of one with all within.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(path.parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["csp"] = _BESIDE if beside else _policy(path.read_text(encoding="utf-8"))
    return environment.get_template(path.name)


def _harmless(value: Any) -> Any:
    return plain(value) if type(value) is str else value


def _policy(source: str) -> str:
    digests = [hashlib.sha256(script.encode()).digest() for script in _SCRIPT.findall(source)]
    scripts = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src {' '.join(scripts or [_NONE])}; base-uri 'none'; form-action 'none'"
    )
