"""Local copies of a suite's data set: what lmms-eval is told instead of the hub's name."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.interfaces.errors import UserError
from harness.interfaces.types import digest_of
from tasks.vqa.lmms_files import leaves
from tasks.vqa.suites import SUITES
from uwt_images.listing import IMAGE_SUFFIXES, ListingError, list_files, state_of
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
    pictures: str = field(default="", repr=False)
    """A digest of the pictures that lie apart from the files and are named in them."""

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
    """The copy at `place`, or what there has one of the suite's names or its hub data set's.

    What is named after another suite is never taken for this one.

    Args:
        place: What the user gave.
        names: The suite's, and lmms-eval's for it.
        subset: The data set's configuration, where it has several; may be empty.
        split: The split whose questions are asked.

    Raises:
        UserError: There is no such place, no copy, or another suite's.
    """
    if not place.exists():
        raise UserError(f"--data {place}: there is no such file or folder")
    chosen = _named_after(place, names)
    own = {names[0], *map(_suite_named, names), None}
    if chosen == place:
        _refuse_others(place, names[0], own)
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
                _refuse_named(chosen, questions, names[0], own)
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


def _letters(name: str) -> str:
    """A name without case and marks: the hub's SEED-Bench is our seedbench."""
    return re.sub("[-_]", "", name.casefold())


_SUITE_OF = {
    _letters(name): suite.name
    for suite in SUITES.values()
    for name in (suite.name, suite.hub.rpartition("/")[2])
}
_ENDINGS = ("", ".jsonl", ".json", ".parquet")
_PICTURE = re.compile(
    rf'"(?:[^"\\]|\\.)+(?:{"|".join(map(re.escape, sorted(IMAGE_SUFFIXES)))})"', re.IGNORECASE
)
"""A JSON string that ends as the name of a picture does."""
_SPLIT_AFTER = re.compile("(val|validation|test|testdev|train|img)$")


def _suite_named(name: str) -> str | None:
    """The suite that a file or folder is named after, its split's name left out."""
    path = Path(name)
    letters = _letters(path.stem if path.suffix in _ENDINGS else path.name)
    return _SUITE_OF.get(letters) or _SUITE_OF.get(_SPLIT_AFTER.sub("", letters))


def _named_after(place: Path, names: Sequence[str]) -> Path:
    """What in `place` has one of the suite's names, a folder first; else `place` itself."""
    own = {_letters(name) for name in names}
    own |= {letters for letters, suite in _SUITE_OF.items() if suite == names[0]}
    entries = sorted(place.iterdir()) if place.is_dir() else []
    for ending in _ENDINGS:
        for path in entries:
            whole = path.name.removesuffix(ending) if path.suffix == ending or not ending else ""
            if _letters(whole) in own and path.is_dir() == (not ending):
                return path
    return place


def _refuse_others(place: Path, name: str, own: Collection[str | None]) -> None:
    """Refuse a place that is named after another suite, or holds what is."""
    if _suite_named(place.name) not in own:
        raise UserError(f"--data {place}: named after another suite, it is no copy of {name}")
    if place.is_dir():
        entries = [path for path in place.iterdir() if path.is_dir() or path.suffix in _ENDINGS]
        _refuse_named(place, [path.name for path in entries], name, own)


def _refuse_named(
    place: Path, files: Iterable[str], name: str, own: Collection[str | None]
) -> None:
    others = sorted(
        file for file in files if any(_suite_named(part) not in own for part in Path(file).parts)
    )
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        there = ", ".join(others[:3]) + more
        raise UserError(f"--data {place}: there is no copy of {name} in it, which has {there}")


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
        pictures=_named_pictures(root, files),
    )


def _sizes(files: Iterable[Path]) -> tuple[tuple[str, int, int], ...]:
    stats = [(path.name, path.stat()) for path in files]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _named_pictures(root: Path, files: Iterable[Path]) -> str:
    """SHA-256 of the states of the pictures that files name; '' where there are none.

    One that was replaced, lost or found again makes another job; replies of the others are kept.
    """
    stamps = []
    for name in sorted({name for file in files for name in _names_in(file)}):
        try:
            stat = (root / name).stat()
        except (OSError, ValueError):
            continue
        stamps.append((name, state_of(stat)))
    return digest_of(stamps) if stamps else ""


def _names_in(file: Path) -> Iterator[str]:
    """Whatever is written there as the path of a picture."""
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        with contextlib.suppress(OSError, ValueError), pq.ParquetFile(file) as table:
            columns = [table.schema.column(place).path for place in range(len(table.schema))]
            paths = [column for column in columns if column.endswith(".path")]
            for group in table.iter_batches(columns=paths) if paths else ():
                yield from leaves(group.to_pylist(), str)
    elif file.suffix in (".json", ".jsonl"):
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                for found in _PICTURE.findall(line):
                    with contextlib.suppress(ValueError):
                        yield json.loads(found)
