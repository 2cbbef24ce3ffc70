"""Images in a column of a table: a Hugging Face dataset by `save_to_disk`, or parquet files."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.data.digests import DigestCache
from harness.data.images import read_image
from harness.data.settings import read_settings
from harness.interfaces.errors import DecodeError, UserError
from harness.interfaces.extras import need
from harness.interfaces.types import digest_of
from uwt_images.listing import ListingError
from uwt_images.splits import choose_split, pick

_MARKERS = ("dataset_info.json", "dataset_dict.json", "state.json")
"""What `save_to_disk` writes."""


def is_saved_to_disk(root: Path) -> bool:
    """Whether `save_to_disk` wrote the folder."""
    return any((root / name).is_file() for name in _MARKERS)


def arrow_cache(files: Iterable[Path]) -> str:
    """The folder for what `datasets` makes of files with these bytes.

    Its own cache knows files by path and time alone: one that was replaced would pass for the one
    before. Where our cache cannot be written, the folder is gone when the process ends.

    Raises:
        OSError: A file cannot be read.
    """
    digests, contents = DigestCache(), []
    for path in files:
        if path.exists() and not path.is_file():  # Opening a FIFO waits for ever.
            raise OSError(f"{path} is no regular file")
        contents.append(digests.of_file(path))
    folder = read_settings().cache / "arrow" / digest_of(contents)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return str(folder)
    except OSError:
        temporary = tempfile.mkdtemp(prefix="uwt-eval-arrow-")
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        return temporary


def _image_columns(table: Any) -> list[str]:
    """Columns that are declared to hold images; where none is, those of bytes or `{bytes, path}`.

    pandas and pyarrow write encoded images to parquet without a word of what the bytes are.
    """
    import datasets

    declared = [name for name, kind in table.features.items() if isinstance(kind, datasets.Image)]
    schema = table.features.arrow_schema
    return declared or [field.name for field in schema if _holds_bytes(field.type)]


def _holds_bytes(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


class HuggingFaceSource:
    """The image column of a dataset, of one split where it holds several.

    Args:
        root: Folder of the dataset, its one file, or its name on the hub.
        shards: Its parquet files, relative to it and in order; empty for `save_to_disk` output.
        split: The split that is meant.
        files: Parquet files, wherever they lie, of which every row counts; instead of shards.
    """

    def __init__(
        self,
        root: Path | str,
        shards: Sequence[str] = (),
        split: str | None = None,
        *,
        files: Sequence[Path] = (),
    ) -> None:
        need(f"data {str(root)!r}", "datasets")
        import datasets

        datasets.disable_progress_bars()  # Ours are drawn; its own would ignore --quiet.
        self.root = root
        self.note = ""
        try:
            if shards:
                chosen = choose_split(shards, split, str(root))
                self.note = chosen.note
                files = [Path(root) / name for name in chosen.names]
            if files:
                table: Any = datasets.Dataset.from_parquet(
                    list(map(str, files)), cache_dir=arrow_cache(files)
                )
            else:
                table = datasets.load_from_disk(str(root))
                if isinstance(table, Mapping):
                    name, self.note = pick(list(table), split, str(root))
                    table = table[name]
        except ListingError:
            raise
        except Exception as error:
            raise UserError(f"{root}: not a readable Hugging Face dataset ({error})") from error
        columns = _image_columns(table)
        if len(columns) != 1:
            raise UserError(
                f"{root}: expected one image column, found {columns or 'none'} among "
                f"{list(table.features)}: store the encoded files (PNG, JPEG …) in one column, as "
                "`datasets.Image`, as bytes, or as a struct of bytes and path, and drop any other"
            )
        self.others = table.remove_columns(columns)
        """The columns beside the images, such as their labels."""
        self._column = columns[0]
        self._table = table.select_columns(columns).cast_column(
            columns[0], datasets.Image(decode=False)
        )
        stored = [Path(item["filename"]) for item in table.cache_files]
        self._marker = max(stored, key=lambda path: path.stat().st_mtime_ns) if stored else root

    def ids(self) -> Sequence[str]:
        """Row numbers, zero-padded so that they sort in row order."""
        return [f"{row:08d}" for row in range(len(self._table))]

    def files(self) -> Sequence[str]:
        """Names of the files that the rows were made of, in order; '' where that is not known."""
        import pyarrow.compute as pc

        if self._table._indices is not None:  # The stored rows are in another order.
            return [""] * len(self._table)
        names = pc.struct_field(self._table.data.column(self._column), "path").to_pylist()
        return [name or "" for name in names]

    def read(self, image_id: str) -> bytes:
        """The row's encoded bytes."""
        cell = self._table[int(image_id)][self._column]
        if cell is None:
            raise DecodeError("the row holds no image")
        if cell["bytes"] is not None:
            return bytes(cell["bytes"])
        return read_image(Path(cell["path"]))

    def container(self, image_id: str) -> tuple[str, str]:
        """The newest data file and the row."""
        return str(self._marker), image_id
