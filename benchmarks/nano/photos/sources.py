"""Which package holds which photographs: `sources.toml`, read and checked."""

from __future__ import annotations

import fnmatch
import tomllib
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("sources.toml")


@dataclass(frozen=True, kw_only=True)
class Source:
    """One Debian package and the photographs in it, chosen by looking at every one of them."""

    package: str
    """Name of the Debian package."""
    version: str
    """Pinned version, with its epoch."""
    file: str
    """Name of the .deb file."""
    sha256: str
    """SHA-256 of the .deb file."""
    licence: str
    """What the package states for these files where no entry of its own names a file."""
    author: str
    """Whom the package names for these files where no entry of its own names a file."""
    photos: tuple[str, ...]
    """Patterns (`*` crosses folders) of photographs; inside an .rcc file after a `!`."""
    drop: tuple[str, ...] = ()
    """Patterns taken out again: drawings, paintings, renders, screenshots, unclear rights."""
    wallpaper: bool = False
    """Large photographs, of which details are cut at a finer scale as well."""

    def holds(self, path: str) -> bool:
        """Whether a path inside the package is one of the photographs."""
        return _any(path, self.photos) and not _any(path, self.drop)


def _any(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(path, f"*{pattern}") for pattern in patterns)


def load_sources(table: Path = TABLE) -> list[Source]:
    """Every source, in the order in which duplicates are resolved (the first one stays)."""
    entries = tomllib.loads(table.read_text(encoding="utf-8"))["source"]
    return [
        Source(
            **{
                **entry,
                "photos": tuple(entry["photos"]),
                "drop": tuple(entry.get("drop", ())),
            }
        )
        for entry in entries
    ]
