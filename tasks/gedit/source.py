"""GEdit-Bench's data: the published data set, or a local copy of it in one of several forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

from harness.data.images import read_image
from harness.data.settings import read_settings
from harness.data.tables import arrow_cache
from harness.interfaces.errors import DecodeError, UserError
from harness.interfaces.extras import library
from tasks.gedit.edits import LANGUAGES, LAYOUT, LIST, REPOSITORY, Edit, checked_edit
from tasks.shared.jsonl import read_objects
from uwt_images.listing import ListingError, list_files
from uwt_images.splits import choose_split, pick

JUDGED, GIVEN = "input_image", "input_image_raw"
"""Columns: the original that edits are compared with, and the one that a model is given."""
_COLUMNS = ("task_type", "instruction_language", "key", "instruction", "Intersection_exist")
_SPLIT = "train"


class GEditSource:
    """The edits of one language, and their images by id: an `ImageSource`.

    Args:
        table: A copy of the data.
        language: 'en' or 'cn'.
        where: Names the copy in errors.

    Raises:
        UserError: A row is not as it should be, or no row is of that language.
    """

    def __init__(self, table: HuggingFaceTable | FolderTable, language: str, where: str) -> None:
        self._table = table
        self.edits: dict[str, Edit] = {}
        others = set()
        for row, texts in enumerate(table.texts()):
            cells = {name: texts.get(name) for name in _COLUMNS}
            edit = checked_edit(cells, f"{where}, row {row + 1}", row)
            if edit.language != language:
                others.add(edit.language)
            elif edit.id in self.edits:
                raise UserError(
                    f"{where}: rows {self.edits[edit.id].row + 1} and {row + 1} are "
                    f"both {edit.id!r}: remove one"
                )
            else:
                self.edits[edit.id] = edit
        if not self.edits:
            found = f"only {', '.join(sorted(others))}" if others else "no row"
            raise UserError(f"{where} holds {found}, nothing of language {language!r}")

    def part(self, names: Sequence[str]) -> GEditSource:
        """The same with these edits alone."""
        part = copy(self)
        part.edits = {name: self.edits[name] for name in names}
        return part

    def ids(self) -> Sequence[str]:
        """Both images of every edit, as 'COLUMN:ID'."""
        return [f"{column}:{name}" for name in self.edits for column in (JUDGED, GIVEN)]

    def container(self, image_id: str) -> tuple[str, str]:
        """The file that holds the image, and the image's part in it."""
        column, _, name = image_id.partition(":")
        path, part = self._table.place(self.edits[name].row, column)
        return str(path), part

    def read(self, image_id: str) -> bytes:
        """The encoded bytes; raise `DecodeError` where they cannot be read."""
        column, _, name = image_id.partition(":")
        return self._table.read(self.edits[name].row, column)


class HuggingFaceTable:
    """The published data set, as the package `datasets` reads it.

    Args:
        table: A split with the published columns.
        where: Names it in errors.
    """

    def __init__(self, table: Any, where: str) -> None:
        import datasets

        columns = (*_COLUMNS, JUDGED, GIVEN)
        if missing := [name for name in columns if name not in table.column_names]:
            raise UserError(f"{where} lacks the columns {', '.join(missing)}: expected {LAYOUT}")
        table = table.select_columns(list(columns))
        for column in (JUDGED, GIVEN):
            table = table.cast_column(column, datasets.Image(decode=False))
        self._table = table
        files = [Path(item["filename"]) for item in table.cache_files]
        self._file = max(files, key=lambda path: path.stat().st_mtime_ns) if files else Path(where)

    def texts(self) -> Sequence[Mapping[str, Any]]:
        """Every row without its images."""
        rows: list[dict[str, Any]] = self._table.remove_columns([JUDGED, GIVEN]).to_list()
        return rows

    def place(self, row: int, column: str) -> tuple[Path, str]:
        """The newest data file, and row and column."""
        return self._file, f"{row}/{column}"

    def read(self, row: int, column: str) -> bytes:
        """The cell's encoded bytes."""
        cell = self._table[row][column]
        if cell is None or (cell["bytes"] is None and not cell["path"]):
            raise DecodeError(f"the row has no {column}")
        if cell["bytes"] is not None:
            return bytes(cell["bytes"])
        return read_image(Path(cell["path"]))


class FolderTable:
    """A list in JSON lines with the published columns, whose images are paths beside it.

    Args:
        path: The list.
    """

    def __init__(self, path: Path) -> None:
        self._root = path.parent
        self._rows = []
        for where, row in read_objects(path):
            row.setdefault(GIVEN, row.get(JUDGED))
            for column in (JUDGED, GIVEN):
                if not isinstance(row[column], str) or not row[column]:
                    raise UserError(f"{where}: {column!r} is {row[column]!r}, expected a path")
            self._rows.append(row)

    def texts(self) -> Sequence[Mapping[str, Any]]:
        """Every row."""
        return self._rows

    def place(self, row: int, column: str) -> tuple[Path, str]:
        """The image's own file."""
        return self._root / self._rows[row][column], ""

    def read(self, row: int, column: str) -> bytes:
        """The file's bytes."""
        return read_image(self.place(row, column)[0])


def open_gedit(data: str | None, language: str) -> GEditSource:
    """The edits of one language at `data`, at the configured place, or from the hub.

    Raises:
        UserError: The data cannot be found or read, or is something else.
    """
    assert language in LANGUAGES
    place = data or read_settings().gedit
    if place is None:
        return GEditSource(HuggingFaceTable(_from_hub(), REPOSITORY), language, REPOSITORY)
    path = Path(place).expanduser()
    if not path.exists():
        raise UserError(f"data {place!r} does not exist: expected {LAYOUT}")
    list_file = path / LIST if path.is_dir() else path
    if list_file.suffix == ".jsonl" and list_file.is_file():
        return GEditSource(FolderTable(list_file), language, str(list_file))
    return GEditSource(HuggingFaceTable(_from_disk(path), str(path)), language, str(path))


def _from_disk(path: Path) -> Any:
    datasets = library("datasets", f"data {str(path)!r}")
    datasets.disable_progress_bars()
    try:
        names = [path.name] if path.is_file() else list_files(path, (".parquet",))
        if names and names[0].endswith(".parquet"):
            folder = path.parent if path.is_file() else path
            # The published data set is one split, and that is called train.
            chosen = choose_split(names, _SPLIT, str(path)).names
            files = [folder / name for name in chosen]
            return datasets.load_dataset(
                "parquet",
                data_files=list(map(str, files)),
                split=_SPLIT,
                cache_dir=arrow_cache(files),
            )
        table = datasets.load_from_disk(str(path))
        if isinstance(table, datasets.DatasetDict):
            table = table[pick(list(table), _SPLIT, str(path))[0]]
    except ListingError as error:
        raise UserError(str(error)) from error
    except Exception as error:  # The package raises nearly anything for what is no data set.
        raise UserError(
            f"data {str(path)!r} cannot be read ({error}): expected {LAYOUT}"
        ) from error
    return table


def _from_hub() -> Any:
    datasets = library("datasets", f"data set {REPOSITORY}")
    advice = "fetch it elsewhere, then give --data or set UWT_EVAL_GEDIT"
    if read_settings().offline:
        raise UserError(f"no data given, and UWT_EVAL_OFFLINE is set: {advice} ({LAYOUT})")
    try:
        return datasets.load_dataset(REPOSITORY, split=_SPLIT)
    except Exception as error:
        raise UserError(
            f"the data set {REPOSITORY} could not be fetched ({type(error).__name__}): {advice}"
        ) from error
