"""Where a plug-in's weights lie: on disk, or in a repository of the hub."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, ClassVar

from harness.interfaces.errors import UserError

InPlace = Annotated[
    str | None,
    "Which file of the folder or repository, where it holds several; .safetensors may be left out.",
]
Revision = Annotated[str | None, "Branch, tag or commit of the repository."]

README = "README.md"
"""Says what licence the weights have."""
_SUFFIXES = ("", ".safetensors", ".pt", ".pth", ".bin", ".ckpt")


class Placed:
    """Mixed into plug-ins whose weights lie on disk or in a repository of the hub."""

    path: Path
    file: str | None
    revision: str | None
    _name: ClassVar[str]

    @functools.cached_property
    def _weights(self) -> Path:
        return self._placed(self.file)

    def _placed(self, file: str | None) -> Path:
        if self.revision is not None and self.path.exists():
            raise UserError(
                f"model {self._name!r}: revision={self.revision}, but {self.path} is on disk"
            )
        try:
            return weights_at(self.path, file, self.revision)
        except UserError as error:
            raise UserError(f"model {self._name!r}: {error}") from error

    @property
    def _origin(self) -> dict[str, str]:
        if self.path.exists():
            return {}
        # The hub's cache keeps each commit in a folder of its name.
        folder = self._weights if self.file is None else self._weights.parents[_depth(self.file)]
        return {"repository": str(self.path), "commit": folder.name}


def weights_at(place: Path, file: str | None, revision: str | None) -> Path:
    """Find weights on disk, or in a repository of the hub: no other file of it is fetched.

    Raises:
        UserError: the repository or the file cannot be had, or it must be named.
    """
    if place.is_file():
        return place
    if place.suffix in _SUFFIXES[1:]:
        raise UserError(f"{place}: there is no such file")
    if file is not None and (not Path(file).name or {"..", "/"} & {*Path(file).parts}):
        raise UserError(f"{place}: file={file} names no file in it")
    folder = place if place.is_dir() else _fetched(str(place), file, revision)
    if file is None:
        return folder
    try:
        for suffix in _SUFFIXES:
            if (folder / f"{file}{suffix}").is_file():
                return folder / f"{file}{suffix}"
    except OSError as error:
        raise UserError(f"{place}: file={file} can be no file: {error.strerror}") from error
    *others, last = (f"{file}{suffix}" for suffix in _SUFFIXES)
    raise UserError(f"{place}: holds no {', '.join(others)} or {last}")


def _fetched(name: str, file: str | None, revision: str | None) -> Path:
    from uniwetok.tensors import HEADS_CARD_FILE, HEADS_FILE, SHARDS
    from uniwetok.tokenizer.checkpoint import FOLDER_LAYOUTS
    from uwt_images.hub import AbsentError

    if file is not None:
        config = f"{Path(file).with_suffix('')}_config.json"
        return fetch(name, [*(file + suffix for suffix in _SUFFIXES), config], revision)
    layouts = [each for layout in FOLDER_LAYOUTS for each in layout]
    more = [SHARDS, HEADS_FILE, HEADS_CARD_FILE]
    hint = f"of a repository with other files, say which file: {name}?file=NAME"
    try:
        folder = fetch(name, [*layouts, *more], revision)
    except UserError as error:
        if isinstance(error.__cause__, AbsentError):
            raise UserError(f"{error}; {hint}") from error
        raise
    if not any((folder / weights).is_file() for weights, _ in FOLDER_LAYOUTS):
        names = ", ".join(weights for weights, _ in FOLDER_LAYOUTS)
        raise UserError(f"{name}: the repository holds none of {names}; {hint}")
    return folder


def fetch(name: str, wanted: list[str], revision: str | None) -> Path:
    """Fetch files of a repository, and what it says of itself; raise `UserError` if there is none.

    Returns:
        The folder that holds them, named by the commit.
    """
    from uwt_images.hub import HubError, snapshot

    try:
        return snapshot(name, [*wanted, README], revision)
    except HubError as error:
        raise UserError(str(error)) from error


def _depth(file: str) -> int:
    return len(Path(file).parts) - 1
