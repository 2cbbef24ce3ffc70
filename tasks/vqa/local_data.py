"""Local copies of a suite's data set: what lmms-eval is told instead of the hub's name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.interfaces.errors import UserError

FORMS = "a folder that `save_to_disk` wrote, parquet files, or a .json or .jsonl file beside images"


@dataclass(frozen=True, kw_only=True)
class LocalCopy:
    """A local copy as the `datasets` library opens it."""

    path: str
    """Folder of `save_to_disk`, or the name of a builder: parquet, json, arrow."""
    files: tuple[str, ...] = ()
    """What the builder reads; empty for `save_to_disk`."""
    images: tuple[str, ...] = ()
    """Parquet files of pictures by id, where they lie apart from the questions, as GQA's."""
    root: str = ""
    """Folder that relative image paths start from."""
    split: str = ""
    """The split, where `save_to_disk` wrote it under another name than the task's."""
    sizes: tuple[tuple[str, int, int], ...] = field(default=(), repr=False)
    """Name, bytes and time of every file: another copy is another job."""

    def overrides(self, split: str) -> dict[str, Any]:
        """What replaces a task file's own data set."""
        kwargs: dict[str, Any] = (
            {"data_files": {split: list(self.files)}} if self.files else {"load_from_disk": True}
        )
        changed = {"test_split": self.split} if self.split else {}
        return {
            "dataset_path": self.path,
            "dataset_name": None,
            "dataset_kwargs": kwargs,
            **changed,
        }


def find_copy(place: Path, names: Sequence[str], subset: str, split: str) -> LocalCopy:
    """The copy at `place`, or in a folder there that has one of the suite's names.

    Args:
        place: What the user gave.
        names: The suite's, and lmms-eval's for it.
        subset: The data set's configuration, where it has several; may be empty.
        split: The split whose questions are asked.

    Raises:
        UserError: There is no such place, or no copy.
    """
    if not place.exists():
        raise UserError(f"--data {place}: there is no such file or folder")
    inside = [place / f"{name}{ending}" for name in names for ending in ("", ".jsonl", ".json")]
    chosen = next((path for path in inside if path.exists()), place)
    if chosen.is_file():
        return _of_files(chosen.parent, [chosen])
    below = [chosen / subset] if subset else []
    for folder in [*below, chosen, chosen / split]:
        if (folder / "dataset_dict.json").is_file():
            return _of_dictionary(folder, split)
        if (folder / "state.json").is_file():
            return _of_files(folder, sorted(folder.glob("*.arrow")))
    for patterns in (("*.parquet",), ("*.jsonl", "*.json")):
        found = _under(chosen, patterns)
        images = [path for path in found if "images" in path.relative_to(chosen).as_posix()]
        if questions := [path for path in found if path not in images]:
            in_subset = [path for path in questions if subset in path.parts] or questions
            in_split = [path for path in in_subset if _is_of(path, split)] or in_subset
            return _of_files(chosen, in_split, images)
    raise UserError(f"--data {place}: no copy of {names[0]} is there; expected {FORMS}")


def _of_dictionary(folder: Path, split: str) -> LocalCopy:
    try:
        there = json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
    except (ValueError, KeyError) as error:
        raise UserError(f"--data {folder}: its dataset_dict.json cannot be read") from error
    if split not in there and len(there) != 1:
        raise UserError(f"--data {folder}: no split {split!r} is there, only {', '.join(there)}")
    other = "" if split in there else there[0]
    return LocalCopy(path=str(folder), split=other, sizes=_sizes(_under(folder, ("*.arrow",))))


def _of_files(root: Path, files: Sequence[Path], images: Sequence[Path] = ()) -> LocalCopy:
    builder = {".jsonl": "json"}.get(files[0].suffix, files[0].suffix.lstrip(".")) if files else ""
    if builder not in {"json", "parquet", "arrow"}:
        raise UserError(f"--data {root}: not understood; expected {FORMS}")
    return LocalCopy(
        path=builder,
        files=tuple(map(str, files)),
        images=tuple(map(str, images)),
        root=str(root),
        sizes=_sizes([*files, *images]),
    )


def _is_of(path: Path, split: str) -> bool:
    """Whether a file is of that split, as the hub names files or folders."""
    return path.name.startswith(f"{split}-") or split in (path.stem, path.parent.name)


def _under(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted(path for pattern in patterns for path in folder.rglob(pattern) if path.is_file())


def _sizes(files: Iterable[Path]) -> tuple[tuple[str, int, int], ...]:
    stats = [(path.name, path.stat()) for path in files]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
