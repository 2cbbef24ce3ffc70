"""Text from others, such as names, ids and replies, made harmless where it is shown.

One function a kind of place: these for terminals, logs and single lines, those for Markdown, CSV,
LaTeX and HTML in `reports`, which go through `one_line` or `plain` first.
"""

from __future__ import annotations

import json
import re
from typing import Any

_HOSTILE = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # Control characters: ESC and CSI steer terminals.
    r"\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # Direction and ends of lines.
    r"\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"  # Nothing to be seen.
    r"\U000e0000-\U000e007f"  # Tags, in which a whole sentence hides.
)
_PLAIN = re.compile(f"[{_HOSTILE}]+")
_LINE = re.compile(rf"[\s{_HOSTILE}]+")
_COMMAND = re.compile(r":(?=:[\w-]+[^\n]*?::)|#(?=#(?:\[|vso\[|teamcity\[))")
"""What makes a line a command to GitHub, Azure or TeamCity, wherever a table may break the line."""


def plain(text: str) -> str:
    """The text with its lines, without what steers a reader; bytes that are no text escaped."""
    if text.isprintable():  # Most are, and pages hold hundreds of thousands.
        return text
    readable = text.encode("utf-8", "backslashreplace").decode()
    return _PLAIN.sub(" ", readable)


def one_line(text: str) -> str:
    """The text as one line: white space and control characters become one space."""
    return _LINE.sub(" ", plain(text)).strip()


def terminal_text(text: str) -> str:
    """The text for a terminal, whose output may be the log of a build: no command of either."""
    return _COMMAND.sub(lambda found: f"{found[0]} ", plain(text))


def json_text(value: Any) -> str:
    """A value as JSON that people read too: the same value, hostile characters as escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return _PLAIN.sub(lambda found: json.dumps(found[0])[1:-1], text)
