"""The files of our own packages, and answers that they alone decide."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from platformdirs import user_cache_path

from harness.interfaces.errors import PACKAGES, digest_of
from harness.interfaces.registry import others

HOME = Path(__file__).resolve().parents[2]
"""The folder that holds them side by side, in a checkout as when installed."""
_OURS = (".py", ".toml", ".safetensors")


class OwnFile(NamedTuple):
    """A file of code, of settings or of weights."""

    path: str
    size: int
    changed: int
    """When it was written, moved or linked, in nanoseconds."""


def own_files() -> Iterator[OwnFile]:
    """Our code, protocols and weights that come with it; some hundred files, seen in 3 ms."""
    for package in PACKAGES:
        yield from _below(f"{HOME}/{package}")


def _below(folder: str) -> Iterator[OwnFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from _below(entry.path)
            elif entry.name.endswith(_OURS):
                stat = entry.stat()
                yield OwnFile(entry.path, stat.st_size, max(stat.st_mtime_ns, stat.st_ctime_ns))


usual_cache = functools.partial(user_cache_path, "uwt-eval", appauthor=False)
"""The folder of files that can be made again, where no setting names another."""


def _cache_folder() -> Path:
    """As `Settings.cache` says; without pydantic."""
    stated = os.environ.get("UWT_EVAL_CACHE")
    return Path(stated) if stated else usual_cache()


@functools.cache
def _kept(path: Path) -> tuple[str, dict[str, Any]]:
    """What tells this state of our files apart, and the answers that are kept of it."""
    state = digest_of([sys.version, *own_files()])
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(path.read_bytes()) if path.is_file() else {}
        if found["seal"] == digest_of([state, found["answers"]]):
            return state, dict(found["answers"])
    return state, {}


def remembered(name: str, compute: Callable[[], Any]) -> Any:
    """A JSON value that our code alone decides: kept until any of our files is another.

    Listing what is installed imports every module of ours. Where others offer something too, it is
    computed each time: what theirs depends on is not known.
    """
    if others():
        return json.loads(json.dumps(compute()))
    path = _cache_folder() / "answers.json"
    state, kept = _kept(path)
    if name not in kept:
        kept[name] = json.loads(json.dumps(compute()))
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.{os.getpid()}")
            text = json.dumps({"seal": digest_of([state, kept]), "answers": kept})
            try:
                partial.write_text(text, encoding="utf-8")
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
    return kept[name]
