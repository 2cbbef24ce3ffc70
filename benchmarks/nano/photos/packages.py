"""Get Debian packages and read them, with nothing but the standard library (and apt to fetch)."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.nano.photos.errors import PhotosError
from benchmarks.nano.photos.rcc import rcc_files
from benchmarks.nano.photos.sources import Source


def package_file(source: Source, folder: Path) -> Path:
    """The verified .deb in `folder`, fetched with apt where it is not there yet.

    Raise `PhotosError` where it cannot be had or is another file than the pinned one.
    """
    path = folder / source.file
    if not path.exists():
        _fetch(source, folder)
    if not path.exists():
        raise PhotosError(
            f"{source.package} {source.version} could not be fetched: apt here offers another "
            f"version or none; put {source.file} (SHA-256 {source.sha256}), from a Debian 12 "
            f"mirror or the Debian snapshot archive, into {folder}"
        )
    if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != source.sha256:
        raise PhotosError(
            f"{path} has SHA-256 {found}, expected {source.sha256}: delete it and run again"
        )
    return path


def _fetch(source: Source, folder: Path) -> None:
    if shutil.which("apt-get") is None:
        raise PhotosError(
            f"{source.file} is not in {folder} and there is no apt-get to fetch it: run this on "
            "Debian 12 (a container does), or put the file there by hand "
            f"(SHA-256 {source.sha256}); sources.toml lists all files"
        )
    subprocess.run(
        ["apt-get", "download", f"{source.package}={source.version}"],
        cwd=folder,
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def members(package: Path) -> Iterator[tuple[str, bytes]]:
    """(path, content) of every file of a .deb; files in an `.rcc` come as `FILE.rcc!PATH`."""
    with tarfile.open(fileobj=io.BytesIO(_data_archive(package)), mode="r:*") as archive:
        for member in archive:
            handle = archive.extractfile(member) if member.isfile() else None
            if handle is None:
                continue
            path, content = member.name.removeprefix("./"), handle.read()
            yield path, content
            if path.endswith(".rcc"):
                for inner, inner_content in rcc_files(content):
                    yield f"{path}!{inner}", inner_content


def _data_archive(package: Path) -> bytes:
    """The `data.tar.*` of a .deb, which is an ar archive of three members."""
    content = package.read_bytes()
    if content[:8] != b"!<arch>\n":
        raise PhotosError(f"{package} is no Debian package: delete it and run again")
    at = 8
    while at < len(content):
        name, size = content[at : at + 16].decode().strip(" /"), int(content[at + 48 : at + 58])
        if name.startswith("data.tar"):
            return content[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    raise PhotosError(f"{package} has no data archive: delete it and run again")
