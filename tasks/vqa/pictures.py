"""Pictures of a suite that are opened when a question is asked, and not before.

lmms-eval decodes whole rows in several places where it needs their texts only; there one picture
that cannot be opened would end the run, and every other one costs time.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uwt_images.decoding import load_image
from uwt_images.listing import IMAGE_SUFFIXES, UnreadableImage, read_image_file, suffix_of

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image as Picture

_ORIENTATION = 0x0112
"""Exif's tag of how a picture is turned."""


def picture_of(path: Path) -> Picture:
    """Decode a picture's file; raise `UnreadableImage` with its path where that fails."""
    try:
        return load_image(read_image_file(path))
    except UnreadableImage as error:
        raise UnreadableImage(f"{path}: {error}") from error


class PendingPicture:
    """A stored picture with the one method of Pillow's that lmms-eval's task files call.

    Args:
        stored: Bytes or path, as the `datasets` library stores pictures.
        root: Folder that relative paths start from; empty for the working directory.
    """

    def __init__(self, stored: Mapping[str, Any], root: str) -> None:
        self._stored = stored
        self._root = root

    def convert(self, mode: str) -> Picture:
        """Open the picture, turn it as the `datasets` library does, and convert it.

        Raises:
            UnreadableImage: It is not there, or no whole picture.
        """
        from PIL import ImageOps

        data = self._stored.get("bytes")
        path = Path(self._root) / (self._stored.get("path") or "")
        picture = picture_of(path) if data is None else load_image(data)
        return ImageOps.exif_transpose(picture).convert(mode)


def pending(
    columns: Sequence[str], root: str = "", by_id: Callable[[], Mapping[str, Any]] | None = None
) -> Callable[[Dataset], Dataset]:
    """A `process_docs` for lmms-eval: its rows then hold pictures that are still to be opened.

    Args:
        columns: Columns that hold pictures; a text there is a path.
        root: Folder that relative paths start from.
        by_id: Gives the stored pictures by `imageId`, where they lie apart from the questions.
    """

    def prepare(dataset: Dataset) -> Dataset:
        from datasets import Image, List, Sequence, Value

        for name in set(columns) & set(dataset.column_names):
            many = isinstance(dataset.features[name], List | Sequence)
            kind = dataset.features[name].feature if many else dataset.features[name]
            if isinstance(kind, Image) or kind == Value("string"):
                still = Image(decode=False)
                dataset = dataset.cast_column(name, List(still) if many else still)
        apart = by_id() if by_id is not None and "image" not in dataset.column_names else None

        def wrapped(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
            for name in set(columns) & set(batch):
                batch[name] = [_wrapped(stored, root) for stored in batch[name]]
            if apart is not None:
                batch["image"] = [_wrapped(apart[name], root) for name in batch["imageId"]]
            return batch

        return dataset.with_transform(wrapped)

    return prepare


def _wrapped(stored: Any, root: str) -> Any:
    if isinstance(stored, list):
        return [_wrapped(item, root) for item in stored]
    return PendingPicture(stored, root) if isinstance(stored, Mapping) else stored


def opened_late(root: str = "") -> Callable[[Dataset], Dataset]:
    """As `pending`, for any data set: its pictures are Pillow's, decoded when first looked at.

    Task files may do anything with them. One that is no picture at all fails when it is converted.

    Args:
        root: Folder that paths start from; a text there that names a file is a picture.
    """

    def prepare(dataset: Dataset) -> Dataset:
        from datasets import Image, List, Sequence, Value

        columns = []
        for name, kind in dataset.features.items():
            many = isinstance(kind, List | Sequence)
            inner = kind.feature if many else kind
            paths = root and inner == Value("string") and _is_file(root, dataset[0][name])
            if isinstance(inner, Image) or paths:
                columns.append(name)
                still = Image(decode=False)
                dataset = dataset.cast_column(name, List(still) if many else still)

        def wrapped(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
            for name in set(columns) & set(batch):
                batch[name] = [_late(stored, root) for stored in batch[name]]
            return batch

        return dataset.with_transform(wrapped) if columns else dataset

    return prepare


def _is_file(root: str, value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and _is_file(root, value[0])
    return (
        isinstance(value, str)
        and suffix_of(value) in IMAGE_SUFFIXES
        and (Path(root) / value).is_file()
    )


def _late(stored: Any, root: str) -> Any:
    """A stored picture whose header alone is read; turned at once where it says so."""
    from PIL import Image, ImageOps

    if isinstance(stored, list):
        return [_late(item, root) for item in stored]
    if not isinstance(stored, Mapping):
        return stored
    try:
        data = stored.get("bytes") or read_image_file(Path(root) / (stored.get("path") or ""))
        opened = Image.open(io.BytesIO(data))
        turned = opened.getexif().get(_ORIENTATION, 1) != 1
        return ImageOps.exif_transpose(opened) if turned else opened
    except Exception:
        return PendingPicture(stored, root)


class PicturesById(Mapping[str, Any]):
    """Stored pictures of a data set of their own, looked up by their `id` column."""

    def __init__(self, dataset: Dataset) -> None:
        from datasets import Image

        self._rows = dataset.cast_column("image", Image(decode=False))
        self._places = {name: place for place, name in enumerate(dataset["id"])}

    def __getitem__(self, name: str) -> Any:
        return self._rows[self._places[name]]["image"]

    def __iter__(self) -> Any:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
