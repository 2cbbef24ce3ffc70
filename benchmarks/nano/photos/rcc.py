"""Reader of Qt's compiled resource archives (`.rcc`), in which some packages keep their pictures.

Layout (all integers big-endian): `qres`, version, offsets of tree, data and names, and from
version 3 on the flags of the whole file. The tree is an array of nodes; node 0 is the root folder.
A node is: name offset (u32), flags (u16), then for a folder child count and first child (u32
each), for a file country and language (u16 each) and data offset (u32); from version 2 on a
modification time (u64) follows. A name is its length (u16), a hash (u32) and UTF-16 text.
File data is its stored length (u32) and the bytes, compressed as the node's flags say.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator

_ZLIB, _FOLDER, _ZSTD = 1, 2, 4


def rcc_files(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (path inside, content) of every file, in tree order; raise `ValueError` if no rcc."""
    if archive[:4] != b"qres":
        raise ValueError("not a Qt resource archive (no 'qres' at its start)")
    version, tree, data, names = struct.unpack_from(">4I", archive, 4)
    node_size = 22 if version >= 2 else 14

    def name(offset: int) -> str:
        (length,) = struct.unpack_from(">H", archive, names + offset)
        start = names + offset + 6
        return archive[start : start + 2 * length].decode("utf-16-be")

    def walk(node: int, folder: str) -> Iterator[tuple[str, bytes]]:
        at = tree + node * node_size
        name_offset, flags = struct.unpack_from(">IH", archive, at)
        path = f"{folder}{name(name_offset)}" if node else ""
        if flags & _FOLDER:
            count, first = struct.unpack_from(">2I", archive, at + 6)
            for child in range(first, first + count):
                yield from walk(child, f"{path}/" if path else "")
        else:
            (offset,) = struct.unpack_from(">I", archive, at + 10)
            (length,) = struct.unpack_from(">I", archive, data + offset)
            start = data + offset + 4
            yield path, _decompress(archive[start : start + length], flags)

    yield from walk(0, "")


def _decompress(stored: bytes, flags: int) -> bytes:
    if flags & _ZLIB:  # qCompress: the plain length stands before the zlib stream
        return zlib.decompress(stored[4:])
    if flags & _ZSTD:
        if shutil.which("zstd") is None:
            raise ValueError("the archive is compressed with Zstandard: install the zstd program")
        return subprocess.run(["zstd", "-dc"], input=stored, capture_output=True, check=True).stdout
    return stored
