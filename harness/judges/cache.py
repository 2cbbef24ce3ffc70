"""Replies that were paid for, a file each under the digest of the request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.data.store import Store
from harness.interfaces.types import digest_of
from harness.judges.answers import Shape, storable

_SEAL = "sha256"


class ReplyCache:
    """Keeps replies whole or not at all, across runs and processes.

    Each has the digest of its content and its request beside it; those kept before there were
    digests have none, and are read as they are.

    Args:
        root: The folder of the files.
    """

    def __init__(self, root: Path) -> None:
        self._store = Store(root)

    def read(self, digest: str, shape: Shape) -> dict[str, Any] | None:
        """The kept reply; None where there is none, or none as it was written."""
        try:
            content = json.loads((self._store.root / self._name(digest)).read_bytes())
            seal = content.pop(_SEAL, None)
            if seal is not None and seal != self._seal(digest, content):
                return None
            content = storable(content)
            if content.keys() == {"answer"}:
                shape.check(content["answer"])
            elif content.keys() != {"refusal"}:
                return None
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None
        return content

    def write(self, digest: str, reply: dict[str, Any]) -> None:
        """Keep a reply; on the disk when this returns."""
        text = json.dumps({**reply, _SEAL: self._seal(digest, reply)}, ensure_ascii=True)
        self._store.write_text(self._name(digest), text)

    @staticmethod
    def _seal(digest: str, reply: dict[str, Any]) -> str:
        # As a text: an answer may hold NaN, of which there is no canonical JSON.
        return digest_of([digest, json.dumps(reply, ensure_ascii=True, sort_keys=True)])

    @staticmethod
    def _name(digest: str) -> str:
        return f"{digest[:2]}/{digest}.json"
