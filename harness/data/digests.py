"""SHA-256 of files, remembered by size and modification time so that each is read once."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

_CHUNK = 1 << 20


def sha256_file(path: Path) -> str:
    """SHA-256 (64 hex digits) of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class DigestCache:
    """Digests by (path, part, size, mtime); a changed file is read again, a lost cache costs time.

    Args:
        path: The SQLite file; by default in the settings' cache folder. Where it cannot be
            written, digests are remembered in memory only.
    """

    def __init__(self, path: Path | None = None) -> None:
        if path is None:
            from harness.data.settings import read_settings

            path = read_settings().cache / "digests.sqlite"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._connect(str(path))
        except (OSError, sqlite3.Error):
            self._connection = self._connect(":memory:")

    @staticmethod
    def _connect(target: str) -> sqlite3.Connection:
        connection = sqlite3.connect(target, timeout=30, check_same_thread=False)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS digests (path TEXT, part TEXT, size INTEGER, "
            "mtime_ns INTEGER, sha256 TEXT, PRIMARY KEY (path, part))"
        )
        return connection

    def known(self, path: Path) -> dict[str, str]:
        """Digests of a container's parts that still hold; '' is the file itself."""
        stat = path.stat()
        rows = self._connection.execute(
            "SELECT part, sha256 FROM digests WHERE path = ? AND size = ? AND mtime_ns = ?",
            (str(path.resolve()), stat.st_size, stat.st_mtime_ns),
        )
        return dict(rows.fetchall())

    def remember(self, entries: Iterable[tuple[Path, str, str]]) -> None:
        """Keep (file, part, digest) under each file's present size and time, in one transaction."""
        rows = []
        for path, part, digest in entries:
            stat = path.stat()
            rows.append((str(path.resolve()), part, stat.st_size, stat.st_mtime_ns, digest))
        try:
            with self._connection:
                self._connection.executemany(
                    "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?)", rows
                )
        except sqlite3.Error:
            self._connection = self._connect(":memory:")

    def of_file(self, path: Path, compute: Callable[[Path], str] = sha256_file) -> str:
        """The file's digest, computed only if it has changed since it was last asked for."""
        known = self.known(path).get("")
        if known is None:
            known = compute(path)
            self.remember([(path, "", known)])
        return known
