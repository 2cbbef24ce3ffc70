"""Replies that were paid for, a file each under the digest of the request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.data.store import Store
from harness.judges.answers import storable


class ReplyCache:
    """Keeps replies whole or not at all, across runs and processes.

    Args:
        root: The folder of the files.
    """

    def __init__(self, root: Path) -> None:
        self._store = Store(root)

    def read(self, digest: str) -> dict[str, Any] | None:
        """The kept reply; None where there is none, or none that can be read."""
        try:
            content = storable(json.loads((self._store.root / self._name(digest)).read_bytes()))
        except (OSError, ValueError, RecursionError):
            return None
        return content if isinstance(content, dict) else None

    def write(self, digest: str, reply: dict[str, Any]) -> None:
        """Keep a reply; on the disk when this returns."""
        text = json.dumps(reply, ensure_ascii=True)
        self._store.write_text(self._name(digest), text)

    @staticmethod
    def _name(digest: str) -> str:
        return f"{digest[:2]}/{digest}.json"
