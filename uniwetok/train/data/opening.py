"""Opening a path as a source of images."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from braceexpand import braceexpand

from uniwetok.train import TrainingError
from uniwetok.train.data.folder import SKIPPED, FolderImages
from uniwetok.train.data.mixed import MixedImages, open_each
from uniwetok.train.data.places import Columns, DataPlace
from uniwetok.train.data.shards import OnProgress, ShardImages
from uniwetok.train.data.source import ImageSource
from uniwetok.train.data.tables import TableImages
from uwt_images.hub import DATA_PREFIX, HubError, data_files
from uwt_images.listing import IMAGE_SUFFIXES, ListingError, list_files, suffix_of
from uwt_images.splits import choose_split

LAYOUTS = (
    "give a folder of images (with or without class sub-folders), a folder of WebDataset .tar "
    "shards, one .tar, a pattern such as shards/{00000..00009}.tar, Parquet files alike, or "
    "hf:REPO[:CONFIG][@SPLIT]"
)


TABLE_SUFFIX = ".parquet"
_MOST_SHARDS = 1_000_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(-?\w+)\.\.(-?\w+)(?:\.\.(-?\d+))?")


def open_sources(places: Sequence[DataPlace], *, local: bool = False) -> ImageSource:
    """Open one source, or several as one.

    Args:
        places: of the sources, at least one; of several each has a name.
        local: download what is on the Hub first, for whoever reads all of it in any case.

    Raises:
        TrainingError: one cannot be opened, or is empty; the message names it.
    """

    def open_one(place: DataPlace) -> ImageSource:
        return open_images(place.place, columns=place.columns, local=local)

    return open_each(places, open_one, MixedImages)


def hub_files(place: str, split: str, *, local: bool) -> list[str]:
    """Give the files of a data set on the Hub, see `data_files`; raise `TrainingError`."""
    try:
        return data_files(place, split, local=local)
    except HubError as error:
        raise TrainingError(str(error)) from error


def open_images(
    path: str | Path,
    *,
    split: str = "train",
    on_progress: OnProgress | None = None,
    columns: Columns = Columns(),  # noqa: B008 (frozen)
    local: bool = False,
) -> ImageSource:
    """Open a folder of images, WebDataset shards or Parquet files, or a data set on the Hub.

    Shards and Parquet files are named by their folder, by name or by brace pattern.

    Args:
        path: where the images are.
        split: the one to take where a folder or data set holds several.
        on_progress: takes the number of shards listed and the number of all, as listing goes on.
        columns: of Parquet files.
        local: download what is on the Hub first.

    Raises:
        TrainingError: there is no such path, or it holds no image, images and shards at once, or
            several splits but not that one; the message says what was looked for.
    """
    if str(path).startswith(DATA_PREFIX):
        return TableImages(hub_files(str(path), split, local=local), columns)
    place = Path(path).expanduser()
    suffix = place.suffix.lower()
    if place.is_file() and suffix == ".tar":
        return ShardImages([place], on_progress)
    if place.is_file() and suffix == TABLE_SUFFIX:
        return TableImages([str(place)], columns)
    if place.is_dir():
        return _open_folder(place, split, on_progress, columns)
    if place.exists():
        raise TrainingError(f"{path} is neither a folder nor a .tar: {LAYOUTS}")
    if "{" in str(path) and suffix == TABLE_SUFFIX:
        return TableImages([str(each) for each in _expand(place)], columns)
    if "{" in str(path):
        return ShardImages(_expand(place), on_progress)
    raise TrainingError(f"{path} does not exist: {LAYOUTS}")


def _open_folder(
    root: Path, split: str, on_progress: OnProgress | None, columns: Columns
) -> ImageSource:
    try:
        # Beside images and shards lie tables of what is known of them.
        names = list_files(root, (*IMAGE_SUFFIXES, ".tar")) or list_files(root, (TABLE_SUFFIX,))
        chosen = choose_split(names, split, str(root))
    except ListingError as error:
        raise TrainingError(str(error)) from error
    found: dict[str, list[str]] = {".tar": [], TABLE_SUFFIX: [], "": []}
    for name in chosen.names:
        if PurePosixPath(name).name not in SKIPPED:
            suffix = suffix_of(name)
            found[suffix if suffix in found else ""].append(name.removeprefix(chosen.root))
    shards, tables, images = found.values()
    if images and shards:
        raise TrainingError(
            f"{root} holds both {len(images)} images (such as {images[0]}) and "
            f"{len(shards)} tar shards (such as {shards[0]}): give a folder of one kind"
        )
    root /= chosen.root
    notices = (chosen.note,) if chosen.note else ()
    if shards:
        return ShardImages([root / name for name in shards], on_progress, notices)
    if images:
        return FolderImages(root, images, notices)
    if tables:
        return TableImages([str(root / name) for name in tables], columns, notices)
    raise TrainingError(
        f"{root} holds no image: looked at any depth for files {', '.join(IMAGE_SUFFIXES)} and for "
        f".tar shards and .parquet files; {LAYOUTS}"
    )


def _expand(pattern: Path) -> list[Path]:
    most = _count(str(pattern))
    if most > _MOST_SHARDS:
        raise TrainingError(
            f"{pattern} names up to {most:,} shards, more than {_MOST_SHARDS:,}: narrow the pattern"
        )
    try:
        paths = [Path(text) for text in braceexpand(str(pattern))]
    except ValueError as error:
        raise TrainingError(f"{pattern} is not a brace pattern ({error}): {LAYOUTS}") from error
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise TrainingError(
            f"{pattern} names {len(paths)} shards, of which {len(missing)} do not exist, first "
            f"{missing[0]}; download them or narrow the pattern"
        )
    return paths


def _count(pattern: str) -> int:
    """Names that a brace pattern stands for at most; expanding it takes memory for each."""
    count = 1
    while found := _BRACES.search(pattern):
        several = found[1].count(",") + 1
        if bounds := _RANGE.fullmatch(found[1]):
            low, high = bounds[1], bounds[2]
            try:
                several = abs(int(high) - int(low)) // max(abs(int(bounds[3] or 1)), 1) + 1
            except ValueError:
                several = len(string.printable)  # A range of letters.
        count *= several
        # An inner pair is counted before the one around it, as if each stood for all names.
        pattern = pattern[: found.start()] + pattern[found.end() :]
    return count
