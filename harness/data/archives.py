"""Images in zip and tar archives, read in place."""

from __future__ import annotations

import lzma
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.interfaces.errors import DecodeError, UserError
from uwt_images.listing import (
    IMAGE_SUFFIXES,
    Entry,
    Place,
    UnreadableImage,
    check_size,
    check_tar_end,
    is_hidden,
    suffix_of,
    walk,
)
from uwt_images.splits import choose_split

TAR = ".tar"
_UNPACK = "unpack it and give the folder of one"
_MOST_LINKS = 40
"""Links on one path, as the kernel counts them."""


class ZipSource:
    """Every image in a .zip archive, of one split where it holds several."""

    def __init__(self, path: Path, split: str | None = None) -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
            members = {
                _normal(member.filename.replace("\\", "/")): member  # As Windows programs write.
                for member in self._archive.infolist()
            }
            links = {
                name: posixpath.join(posixpath.dirname(name), self._target(member))
                for name, member in members.items()
                if stat.S_ISLNK(member.external_attr >> 16)
            }
        except (zipfile.BadZipFile, OSError, *_DAMAGE) as error:
            raise UserError(f"{path}: not a readable zip archive ({error})") from error
        files = [name for name in members if name not in links and not members[name].is_dir()]
        found = _follow(files, links)
        chosen = choose_split(list(found), split, str(path), _UNPACK)
        self.note = _notes(chosen.note, files)
        self._members = {
            name.removeprefix(chosen.root): members.get(found[name] or "") for name in chosen.names
        }

    def _target(self, link: zipfile.ZipInfo) -> str:
        return self._archive.read(link).decode(errors="surrogateescape") if _is_short(link) else ""

    def ids(self) -> Sequence[str]:
        """Member names in sorted order."""
        return list(self._members)

    def read(self, image_id: str) -> bytes:
        """The member's bytes."""
        member = self._members[image_id]
        if member is None:
            raise DecodeError("cannot be read from the archive (a link to nowhere)")
        try:
            check_size(member.file_size)
            return self._archive.read(member)
        except UnreadableImage as error:
            raise DecodeError(str(error)) from error
        except (zipfile.BadZipFile, OSError, *_DAMAGE) as error:
            raise DecodeError(f"cannot be read from the archive ({error})") from error

    def container(self, image_id: str) -> tuple[str, str]:
        """The archive and the member's name."""
        member = self._members[image_id]
        return str(self.path), member.filename if member else image_id


_DAMAGE = (zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError)
"""Errors that damaged members raise, beside the archive's own."""


def _is_short(link: zipfile.ZipInfo) -> bool:
    return link.file_size <= 4096


class TarSource:
    """Every image in an uncompressed .tar archive, of one split where it holds several."""

    def __init__(self, path: Path, split: str | None = None) -> None:
        self.path = path
        places: dict[str, tuple[int, int]] = {}
        links: dict[str, str] = {}
        try:
            with tarfile.open(path, "r:") as archive:
                for member in archive:
                    name = _normal(member.name)
                    if member.isreg():
                        # A sparse member's bytes do not lie side by side.
                        size = -1 if member.issparse() else member.size
                        places[name] = (member.offset_data, size)
                    elif member.issym():
                        links[name] = posixpath.join(posixpath.dirname(name), member.linkname)
                    elif member.islnk():
                        links[name] = member.linkname
                check_tar_end(archive)
        except (tarfile.TarError, OSError, ValueError) as error:
            raise UserError(
                f"{path}: not a readable uncompressed tar archive ({error}); "
                "unpack a compressed one first"
            ) from error
        found = _follow(places, links)
        chosen = choose_split(list(found), split, str(path), _UNPACK)
        self.note = _notes(chosen.note, places)
        self._places = {
            name.removeprefix(chosen.root): places.get(found[name] or "") for name in chosen.names
        }

    def ids(self) -> Sequence[str]:
        """Member names in sorted order."""
        return list(self._places)

    def read(self, image_id: str) -> bytes:
        """The member's bytes."""
        place = self._places[image_id]
        if place is None:
            raise DecodeError("cannot be read from the archive (a link to nowhere)")
        offset, size = place
        if size < 0:
            raise DecodeError("cannot be read from the archive (a sparse file)")
        try:
            check_size(size)
            with self.path.open("rb") as file:
                file.seek(offset)
                data = file.read(size)
        except UnreadableImage as error:
            raise DecodeError(str(error)) from error
        except (OSError, ValueError) as error:
            raise DecodeError(f"cannot be read from the archive ({error})") from error
        if len(data) < size:
            raise DecodeError("cannot be read from the archive (it ends early)")
        return data

    def container(self, image_id: str) -> tuple[str, str]:
        """The archive and where in it the member lies."""
        place = self._places[image_id]
        return str(self.path), image_id if place is None else f"{place[0]}+{place[1]}"


class ShardSource:
    """Every image in the .tar shards of a folder, as WebDataset has them; ids begin with the shard.

    Args:
        root: The folder.
        names: The shards' paths below it, sorted.
        split: The split that is taken where the names tell several apart.
    """

    def __init__(self, root: Path, names: Sequence[str], split: str | None = None) -> None:
        chosen = choose_split(names, split, str(root))
        self._shards = {name: TarSource(root / name, split) for name in chosen.names}
        notes = (chosen.note, *(shard.note for shard in self._shards.values()))
        self.note = "; ".join(filter(None, dict.fromkeys(notes)))

    def ids(self) -> Sequence[str]:
        """Shard and member of every image, in the shards' order."""
        return [
            f"{name}/{member}" for name, shard in self._shards.items() for member in shard.ids()
        ]

    def read(self, image_id: str) -> bytes:
        """The member's bytes."""
        shard, member = self._found(image_id)
        return shard.read(member)

    def container(self, image_id: str) -> tuple[str, str]:
        """The shard and where in it the member lies."""
        shard, member = self._found(image_id)
        return shard.container(member)

    def _found(self, image_id: str) -> tuple[TarSource, str]:
        name, _, member = image_id.partition("/")
        while name not in self._shards:  # A shard in a folder below.
            step, _, member = member.partition("/")
            name = f"{name}/{step}"
        return self._shards[name], member


def _normal(name: str) -> str:
    return posixpath.normpath(name).lstrip("/")


def _notes(of_split: str, files: Iterable[str]) -> str:
    """What the user must know of an archive: its split, and images that no folder of it holds."""
    outside = [
        name for name in files if name.startswith("../") and suffix_of(name) in IMAGE_SUFFIXES
    ]
    left_out = (
        f"{len(outside)} images are left out, whose names lead out of the archive, such as "
        f"{outside[0]}: pack them anew without ../"
        if outside
        else ""
    )
    return "; ".join(filter(None, [of_split, left_out]))


def _follow(files: Iterable[str], links: Mapping[str, str]) -> dict[str, str | None]:
    """The images that would lie in a folder where the archive is unpacked, in sorted order.

    Args:
        files: Paths of the archive's files.
        links: By path, where each link leads.

    Returns:
        the file of each image's path, None where a link leads nowhere.
    """
    if not links:
        images = [name for name in files if suffix_of(name) in IMAGE_SUFFIXES]
        return {name: name for name in sorted(images) if not any(map(is_hidden, name.split("/")))}
    tree = _Tree(files, links)
    names = walk(tree.entries, "", IMAGE_SUFFIXES)
    resolved = ((name, tree.resolve(name)) for name in names)
    return {name: target if target in tree.files else None for name, target in resolved}


class _Tree:
    """The folders of an archive, with its links."""

    def __init__(self, files: Iterable[str], links: Mapping[str, str]) -> None:
        self.files = set(files) - set(links)
        self._links = links
        self._folders: dict[str, dict[str, None]] = {"": {}}
        for path in (*self.files, *links):
            while path:
                path, _, name = path.rpartition("/")
                self._folders.setdefault(path, {})[name] = None

    def entries(self, _: str, place: Place) -> Iterable[Entry]:
        """List a folder of the archive for `walk`."""
        folder = str(place)
        for name in self._folders[folder]:
            target = self.resolve(f"{folder}/{name}".lstrip("/"))
            yield name, target if target in self._folders else None

    def resolve(self, path: str) -> str | None:
        """The path without links; None where they lead in a circle or out of the archive."""
        ahead, here, followed = path.split("/")[::-1], "", 0
        while ahead:
            step = ahead.pop()
            here = posixpath.normpath(f"{here}/{step}").lstrip("/").removeprefix(".")
            if here in self._links:
                followed += 1
                target = posixpath.normpath(self._links[here])
                if followed > _MOST_LINKS or target.startswith(("/", "..")):
                    return None
                ahead += target.split("/")[::-1]
                here = ""
        return here
