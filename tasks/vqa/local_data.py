"""Local copies of a suite's data set: what lmms-eval is told instead of the hub's name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.interfaces.errors import UserError
from uwt_images.listing import ListingError, list_files
from uwt_images.splits import choose_split, kind_of, pick

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
    note: str = field(default="", compare=False)
    """What the user must know of the choice of a split."""
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
    try:
        for folder in [*below, chosen]:
            if (folder / "dataset_dict.json").is_file():
                return _of_dictionary(folder, split)
            if saved := _saved(folder):
                name, note = pick(saved, split, f"--data {folder}")
                return _of_files(folder / name, sorted((folder / name).glob("*.arrow")), note=note)
        for suffixes in ((".parquet",), (".jsonl", ".json")):
            found = list_files(chosen, suffixes)
            if questions := [name for name in found if "images" not in name]:
                in_subset = [name for name in questions if subset in name.split("/")] or questions
                split_files = choose_split(in_subset, split, f"--data {chosen}")
                return _of_files(
                    chosen,
                    [chosen / name for name in split_files.names],
                    [chosen / name for name in found if "images" in name],
                    split_files.note,
                )
    except ListingError as error:
        raise UserError(str(error)) from error
    raise UserError(f"--data {place}: no copy of {names[0]} is there; expected {FORMS}")


def _of_dictionary(folder: Path, split: str) -> LocalCopy:
    try:
        there = json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
    except (ValueError, KeyError) as error:
        raise UserError(f"--data {folder}: its dataset_dict.json cannot be read") from error
    name, note = pick(there, split, f"--data {folder}")
    files = [folder / file for file in list_files(folder, (".arrow",))]
    other = "" if name == split else name
    return LocalCopy(path=str(folder), split=other, note=note, sizes=_sizes(files))


def _saved(folder: Path) -> list[str]:
    """The folder itself or the splits below it, where `save_to_disk` wrote one alone."""
    return (
        [""]
        if (folder / "state.json").is_file()
        else sorted(
            path.parent.name for path in folder.glob("*/state.json") if kind_of(path.parent.name)
        )
    )


def _of_files(
    root: Path, files: Sequence[Path], images: Sequence[Path] = (), note: str = ""
) -> LocalCopy:
    builder = {".jsonl": "json"}.get(files[0].suffix, files[0].suffix.lstrip(".")) if files else ""
    if builder not in {"json", "parquet", "arrow"}:
        raise UserError(f"--data {root}: not understood; expected {FORMS}")
    return LocalCopy(
        path=builder,
        files=tuple(map(str, files)),
        images=tuple(map(str, images)),
        root=str(root),
        note=note,
        sizes=_sizes([*files, *images]),
    )


def _sizes(files: Iterable[Path]) -> tuple[tuple[str, int, int], ...]:
    stats = [(path.name, path.stat()) for path in files]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
