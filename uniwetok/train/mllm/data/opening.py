"""Opening a path as a source of records, or several as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uniwetok.train import TrainingError
from uniwetok.train.data.mixed import open_each
from uniwetok.train.data.opening import TABLE_SUFFIX, hub_files
from uniwetok.train.data.places import Columns, DataPlace
from uniwetok.train.mllm.data.mixed import MixedRecords
from uniwetok.train.mllm.data.shard_records import ShardRecords
from uniwetok.train.mllm.data.source import JsonlRecords, RecordSource
from uniwetok.train.mllm.data.table_records import TableRecords
from uwt_images.hub import DATA_PREFIX
from uwt_images.listing import ListingError
from uwt_images.splits import choose_split

FORMATS = (
    "give a .jsonl, a WebDataset .tar, a .parquet, a folder of one of these, or "
    "hf:REPO[:CONFIG][@SPLIT]"
)


def open_record_sources(places: Sequence[DataPlace], images: Path | None = None) -> RecordSource:
    """Open one source, or several as one.

    Args:
        places: of the sources, at least one; of several each has a name.
        images: folder that JSON lines name images relative to; that of their file if None.

    Raises:
        TrainingError: one cannot be opened, or is empty; the message names it.
    """

    def open_one(place: DataPlace) -> RecordSource:
        return open_records(place.place, images, place.columns)

    return open_each(places, open_one, MixedRecords)


def open_records(
    path: str | Path,
    images: str | Path | None = None,
    columns: Columns = Columns(),  # noqa: B008 (frozen)
) -> RecordSource:
    """Open records by the path of a file or folder, or a data set on the Hub, which is downloaded.

    Args:
        path: of a ``.jsonl``, a ``.tar``, a ``.parquet``, a folder of either, or ``hf:REPO``.
        images: folder that JSON lines name images relative to; that of their file if None.
        columns: of Parquet files.

    Raises:
        TrainingError: there is no such path, or nothing in it can be read.
    """
    if str(path).startswith(DATA_PREFIX):
        # All is read before the first step, for lengths and codes.
        return TableRecords(hub_files(str(path), "train", local=True), columns)
    place = Path(path).expanduser()
    root = None if images is None else Path(images).expanduser()
    if root is not None and not root.is_dir():
        raise TrainingError(f"{images} is no folder: give the one that images are named in")
    if place.is_file():
        return _open_files([place], root, columns)
    if place.is_dir():
        for suffix in (".jsonl", ".tar", TABLE_SUFFIX):
            names = sorted(found.name for found in place.glob(f"*{suffix}"))
            try:
                chosen = choose_split(names, "train", str(place))
            except ListingError as error:
                raise TrainingError(str(error)) from error
            if chosen.names:
                source = _open_files([place / name for name in chosen.names], root, columns)
                source.notices = (chosen.note,) if chosen.note else ()
                return source
        raise TrainingError(f"{path} holds neither .jsonl nor .tar nor .parquet files: {FORMATS}")
    raise TrainingError(f"{path} does not exist: {FORMATS}")


def _open_files(paths: Sequence[Path], images: Path | None, columns: Columns) -> RecordSource:
    if paths[0].suffix == TABLE_SUFFIX:
        return TableRecords([str(path) for path in paths], columns)
    if paths[0].suffix == ".tar":
        return ShardRecords(paths)
    if paths[0].suffix in (".jsonl", ".json"):
        return JsonlRecords(paths, images)
    raise TrainingError(f"{paths[0]} is neither .jsonl nor .tar nor .parquet: {FORMATS}")
