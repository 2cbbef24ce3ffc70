"""Where images lie: folders, zip and tar archives, Hugging Face datasets on disk."""

from __future__ import annotations

import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from harness.interfaces.errors import DecodeError, UserError

IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".gif",
    ".ppm",
    ".pgm",
    ".jp2",
    ".avif",
)


class ImageSource(Protocol):
    """Named encoded images with random access; safe to read from several threads."""

    def ids(self) -> Sequence[str]:
        """All image ids, sorted and unique."""
        ...

    def read(self, image_id: str) -> bytes:
        """The encoded bytes; raise `DecodeError` where they cannot be read."""
        ...

    def container(self, image_id: str) -> tuple[Path, str]:
        """The file that holds the image, and the image's part in it ('' where it is the file)."""
        ...


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden


class FolderSource:
    """Every image below a folder, at any depth; ids are relative paths with forward slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        found = []
        visited = set()
        for folder, subfolders, files in os.walk(root, followlinks=True):
            place = os.path.realpath(folder)
            if place in visited:  # A link back to a folder above.
                subfolders.clear()
                continue
            visited.add(place)
            base = Path(folder).relative_to(root)
            found += [(base / name).as_posix() for name in files]
        self._ids = sorted(filter(_is_image, found))

    def ids(self) -> Sequence[str]:
        """Relative paths in sorted order."""
        return self._ids

    def read(self, image_id: str) -> bytes:
        """The file's bytes."""
        try:
            return (self.root / image_id).read_bytes()
        except OSError as error:
            raise DecodeError(f"cannot be read ({error.strerror})") from error

    def container(self, image_id: str) -> tuple[Path, str]:
        """The file itself."""
        return self.root / image_id, ""


class ZipSource:
    """Every image in a .zip archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(f"{path}: not a readable zip archive ({error})") from error
        self._ids = sorted(filter(_is_image, set(self._archive.namelist())))

    def ids(self) -> Sequence[str]:
        """Member names in sorted order."""
        return self._ids

    def read(self, image_id: str) -> bytes:
        """The member's bytes."""
        try:
            return self._archive.read(image_id)
        except (
            zipfile.BadZipFile,
            zlib.error,
            lzma.LZMAError,
            OSError,
            EOFError,
            ValueError,
            RuntimeError,
        ) as error:
            raise DecodeError(f"cannot be read from the archive ({error})") from error

    def container(self, image_id: str) -> tuple[Path, str]:
        """The archive and the member's name."""
        return self.path, image_id


class TarSource:
    """Every image in an uncompressed .tar archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with tarfile.open(path, "r:") as archive:
                self._places = {
                    member.name.removeprefix("./"): (member.offset_data, member.size)
                    for member in archive
                    if member.isfile() and _is_image(member.name.removeprefix("./"))
                }
        except (tarfile.TarError, OSError) as error:
            raise UserError(
                f"{path}: not a readable uncompressed tar archive ({error}); "
                "unpack a compressed one first"
            ) from error

    def ids(self) -> Sequence[str]:
        """Member names in sorted order."""
        return sorted(self._places)

    def read(self, image_id: str) -> bytes:
        """The member's bytes."""
        offset, size = self._places[image_id]
        with self.path.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
        if len(data) < size:
            raise DecodeError("cannot be read from the archive (it ends early)")
        return data

    def container(self, image_id: str) -> tuple[Path, str]:
        """The archive and the member's name."""
        return self.path, image_id


class HuggingFaceSource:
    """The image column of a dataset folder: `save_to_disk` output or parquet shards.

    Of several splits the first named validation, val or test is taken, else the only one. Shards
    belong to the split that their names begin with, as in `validation-00000-of-00014.parquet`.
    """

    def __init__(self, root: Path) -> None:
        import datasets

        self.root = root
        shards = self._shards()
        try:
            if shards:
                table: Any = datasets.Dataset.from_parquet(self._choose_split(shards))
            else:
                table = datasets.load_from_disk(str(root))
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{root}: not a readable Hugging Face dataset ({error})") from error
        if isinstance(table, Mapping):
            table = self._choose_split(table)
        columns = [
            name for name, kind in table.features.items() if isinstance(kind, datasets.Image)
        ]
        if len(columns) != 1:
            raise UserError(
                f"{root}: expected one image column, found {columns or 'none'} among "
                f"{list(table.features)}"
            )
        self.others = table.remove_columns(columns)
        """The columns beside the images, such as their labels."""
        self._column = columns[0]
        self._table = table.select_columns(columns).cast_column(
            columns[0], datasets.Image(decode=False)
        )
        files = [Path(item["filename"]) for item in table.cache_files]
        self._marker = max(files, key=lambda path: path.stat().st_mtime_ns) if files else root

    def _shards(self) -> dict[str, list[str]]:
        """Parquet files by split; those that name no split belong to one called 'data'."""
        shards: dict[str, list[str]] = {}
        for path in sorted(self.root.rglob("*.parquet")):
            split = re.match(r"(.+)-\d+-of-\d+$", path.stem)
            shards.setdefault(split[1] if split else "data", []).append(str(path))
        return shards

    def _choose_split(self, table: Mapping[str, Any]) -> Any:
        for name in ("validation", "val", "test"):
            if name in table:
                return table[name]
        if len(table) == 1:
            return next(iter(table.values()))
        raise UserError(
            f"{self.root}: several splits ({', '.join(table)}) and none is called validation, "
            "val or test; give the folder of one split"
        )

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
        try:
            return Path(cell["path"]).read_bytes()
        except OSError as error:
            raise DecodeError(f"cannot be read ({error.strerror})") from error

    def container(self, image_id: str) -> tuple[Path, str]:
        """The newest data file and the row."""
        return self._marker, image_id


def _is_hugging_face(root: Path) -> bool:
    markers = ("dataset_info.json", "dataset_dict.json", "state.json")
    return any((root / name).is_file() for name in markers) or any(root.rglob("*.parquet"))


def open_source(data: str, layout: str, subfolders: Sequence[str] = ()) -> ImageSource:
    """Open images by path; the first of `subfolders` that exists below a folder is taken instead.

    Raises:
        UserError: The path is missing, of an unknown kind, or holds no image.
    """
    path = Path(data).expanduser()
    expected = f"expected {layout}"
    if not path.exists():
        raise UserError(f"data {data!r} does not exist: {expected}")
    source: ImageSource
    if path.is_file():
        if path.suffix.lower() == ".zip":
            source = ZipSource(path)
        elif path.suffix.lower() == ".tar":
            source = TarSource(path)
        else:
            raise UserError(f"data {data!r} is neither a folder nor a .zip or .tar: {expected}")
    else:
        path = next((path / name for name in subfolders if (path / name).is_dir()), path)
        source = FolderSource(path)
        if not source.ids() and _is_hugging_face(path):
            source = HuggingFaceSource(path)
    if not source.ids():
        raise UserError(f"data {data!r} holds no image: {expected}")
    return source
