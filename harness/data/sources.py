"""Where images lie: folders, zip and tar archives, shards, tables, Hugging Face datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from harness.data.archives import TAR, ShardSource, TarSource, ZipSource
from harness.data.images import read_image
from harness.data.manifest import ImageSource, opened
from harness.data.tables import HuggingFaceSource, is_saved_to_disk
from harness.interfaces.errors import UserError, counted
from harness.interfaces.extras import need
from uwt_images.hub import DATA_PREFIX, HubError, data_files
from uwt_images.listing import IMAGE_SUFFIXES, ListingError, list_files, suffix_of
from uwt_images.splits import choose_split

_PARQUET = ".parquet"


class DataSource(ImageSource, Protocol):
    """Images at a place that a user named."""

    note: str
    """What the user must know of how the place was read; may be empty."""


class FolderSource:
    """Images below a folder; ids are relative paths with forward slashes.

    Args:
        root: The folder.
        ids: The images that count, in sorted order; all at any depth where None.
        note: What the user must know.
    """

    def __init__(self, root: Path, ids: Sequence[str] | None = None, note: str = "") -> None:
        self.root = root
        self._place = str(root)  # A Path for each of a million files takes seconds.
        self.note = note
        self._ids = list_files(root) if ids is None else ids

    def ids(self) -> Sequence[str]:
        """Relative paths in sorted order."""
        return self._ids

    def read(self, image_id: str) -> bytes:
        """The file's bytes."""
        return read_image(f"{self._place}/{image_id}")

    def container(self, image_id: str) -> tuple[str, str]:
        """The file itself."""
        return f"{self._place}/{image_id}", ""


def open_source(data: str, layout: str, split: str | None = None) -> DataSource:
    """Open images by path.

    Args:
        data: A folder, of .tar shards too, a .zip, .tar or .parquet, or hf:REPO[:CONFIG][@SPLIT]
            on the Hugging Face hub.
        layout: How the data are expected to lie, for errors.
        split: The split that is taken where several lie there, such as 'validation'.

    Raises:
        UserError: The path is missing, of an unknown kind, holds no image, or several splits and
            not the one that is asked for.
    """
    known = opened()
    key = (data, split)
    if key in known:
        before: DataSource = known[key]
        return before
    try:
        if data.startswith(DATA_PREFIX):
            need(f"data {data!r}", "datasets")
            files = data_files(data, split or "validation", local=True)
            source: DataSource = HuggingFaceSource(data, files=[Path(each) for each in files])
        else:
            source = _open(Path(data).expanduser(), f"data {data!r}", layout, split)
    except (ListingError, HubError) as error:
        raise UserError(str(error)) from error
    if not source.ids():
        why = f"; {source.note}" if source.note else ""
        raise UserError(f"data {data!r} holds no image: expected {layout}{why}")
    known[key] = source
    return source


def _open(path: Path, what: str, layout: str, split: str | None) -> DataSource:
    if not path.exists():
        raise UserError(f"{what} does not exist: expected {layout}")
    if path.is_dir():
        names = list_files(path, (*IMAGE_SUFFIXES, _PARQUET, TAR))
        images = [name for name in names if suffix_of(name) in IMAGE_SUFFIXES]
        tables = [name for name in names if suffix_of(name) == _PARQUET]
        if not images and (tables or is_saved_to_disk(path)):
            return HuggingFaceSource(path, tables, split)
        if not images and names:
            return ShardSource(path, names, split)
        chosen = choose_split(images, split, str(path))
        ids = [name.removeprefix(chosen.root) for name in chosen.names]
        return FolderSource(path / chosen.root, ids, chosen.note)
    if path.is_file() and path.suffix.lower() == ".zip":
        return ZipSource(path, split)
    if path.is_file() and path.suffix.lower() == TAR:
        return TarSource(path, split)
    if path.is_file() and path.suffix.lower() == _PARQUET:
        return HuggingFaceSource(path, files=[path])
    raise UserError(
        f"{what} is neither a folder nor a .zip, .tar or .parquet: expected {layout}, "
        "or hf:REPO on the hub"
    )


def notice_of(source: DataSource, data: str, images: int | None) -> str:
    """What a user must know of images that stand for a benchmark with so many."""
    notices = [source.note] if source.note else []
    found = len(source.ids())
    if images is not None and found != images:
        notices.append(f"{data} holds {counted(found, 'image')}, the benchmark has {images:,}")
    return "; ".join(notices)
