"""Downloads of published files: resumed where they were cut, believed only with their digest."""

from __future__ import annotations

import functools
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
from filelock import FileLock

from harness.data.digests import sha256_file
from uwt_images.hub import answer_within

if TYPE_CHECKING:
    from harness.interfaces import OnProgress

_PATIENCE = 5.0
"""Seconds in which a server has to answer at all, and then to go on."""
_CHUNK = 1 << 16
_CUT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class FetchError(Exception):
    """A file cannot be had; the message is the reason, in one line."""


def reached(url: str) -> str:
    """Why the server of an address cannot be reached within seconds; '' where it can."""
    parts = urlsplit(url)
    proxy = requests.utils.get_environ_proxies(url).get(parts.scheme)
    target = urlsplit(proxy) if proxy else parts
    port = target.port or (80 if target.scheme == "http" else 443)
    return _answers(target.hostname or "", port)


@functools.cache  # Asked for several files of one server, which is away for a whole command.
def _answers(host: str, port: int) -> str:
    def ask() -> str:
        try:
            socket.create_connection((host, port), _PATIENCE).close()
        except (OSError, OverflowError, UnicodeError) as error:
            return f"{host} cannot be reached ({error})"
        return ""

    return answer_within(_PATIENCE, ask, f"{host} has not answered in {_PATIENCE:.0f} seconds")


@dataclass(frozen=True, slots=True)
class Published:
    """A file and where it is to be had."""

    url: str
    sha256: str
    size: int


def download(file: Published, target: Path, on_progress: OnProgress) -> None:
    """Download a file; one process does it while others of the machine wait.

    Raises:
        FetchError: It cannot be had, or is another than the published one.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{target.name}.lock")):
            if not target.is_file():  # Else another process has just brought it.
                _bring(file, target, on_progress)
    except OSError as error:  # Those of requests are of this kind too.
        raise FetchError(f"{file.url} ({type(error).__name__}: {error})") from error


def _bring(file: Published, target: Path, on_progress: OnProgress) -> None:
    part = target.with_name(f"{target.name}.part")
    known = 0
    while True:
        try:
            _continue(file, part, on_progress)
            break
        except _CUT:
            there = part.stat().st_size if part.is_file() else 0
            if there <= known:  # Of a server that gives nothing more, no third try.
                raise
            known = there
    digest = sha256_file(part)
    if digest != file.sha256:
        part.unlink()
        raise FetchError(
            f"what {file.url} gives is not the published file (its SHA-256 is {digest[:12]}…, "
            f"expected {file.sha256[:12]}…)"
        )
    part.replace(target)


def _continue(file: Published, part: Path, on_progress: OnProgress) -> None:
    """Bring what is missing of a part of the file; of a server that cannot, all of it."""
    there = part.stat().st_size if part.is_file() else 0
    if there >= file.size:
        there = 0
    asked = {"Range": f"bytes={there}-"} if there else {}
    with requests.get(file.url, headers=asked, stream=True, timeout=_PATIENCE) as answer:
        answer.raise_for_status()
        if answer.status_code != requests.codes.partial_content:
            there = 0
        with part.open("ab" if there else "wb") as kept:
            on_progress(there, file.size)
            for chunk in answer.iter_content(_CHUNK):
                kept.write(chunk)
                there += len(chunk)
                if there > file.size:  # What comes may have no end.
                    break
                on_progress(there, file.size)
