"""The digest cache: each file read once, a changed one again, and no cache is no error."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.baselines.hub import Source
from harness.data import digests
from harness.data.digests import DigestCache, sha256_file, verified_sha256, weights_sha256
from harness.data.settings import Settings


class CountingDigest:
    """SHA-256 of a file, and how often it was computed."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, path: Path) -> str:
        self.calls += 1
        return sha256_file(path)


@pytest.fixture
def compute() -> CountingDigest:
    return CountingDigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"one")
    return path


pytestmark = pytest.mark.usefixtures("settled")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch, settled: None) -> None:
    """No time has passed."""
    monkeypatch.setattr(digests, "time", SimpleNamespace(time_ns=lambda: 0))


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_sha256_of_files_around_the_chunk_size(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / "file").write_bytes(data)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_unchanged_file_is_read_once(file: Path, compute: CountingDigest) -> None:
    first = DigestCache().of_file(file, compute)
    assert DigestCache().of_file(file, compute) == first == hashlib.sha256(b"one").hexdigest()
    assert compute.calls == 1


def test_changed_file_of_the_same_size_is_read_again(file: Path, compute: CountingDigest) -> None:
    DigestCache().of_file(file, compute)
    stat = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert DigestCache().of_file(file, compute) == hashlib.sha256(b"two").hexdigest()
    assert compute.calls == 2


def test_changed_size_at_the_same_time_is_read_again(file: Path, compute: CountingDigest) -> None:
    DigestCache().of_file(file, compute)
    stat = file.stat()
    file.write_bytes(b"longer")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert DigestCache().of_file(file, compute) == hashlib.sha256(b"longer").hexdigest()


def replace(file: Path, content: bytes, stat: os.stat_result) -> None:
    """Move another file with the very times to its place, as `mv` and archivers do."""
    other = file.with_name("other")
    other.write_bytes(content)
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(file)


def overwrite(file: Path, content: bytes, stat: os.stat_result) -> None:
    """Write in place, and set the time back."""
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("change", [replace, overwrite])
def test_other_content_of_the_same_size_and_time_is_read_again(
    file: Path, compute: CountingDigest, change: Any
) -> None:
    DigestCache().of_file(file, compute)
    change(file, b"two", file.stat())
    assert DigestCache().of_file(file, compute) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.usefixtures("at_once")
def test_what_has_just_been_written_is_not_remembered(file: Path, compute: CountingDigest) -> None:
    for _ in range(2):
        DigestCache().of_file(file, compute)
        DigestCache().remember([(file, "a.png", "1" * 64)])
    assert compute.calls == 2
    assert DigestCache().known(file) == {}
    assert verified_sha256(file) == hashlib.sha256(b"one").hexdigest()
    file.write_bytes(b"two")
    assert verified_sha256(file) == hashlib.sha256(b"two").hexdigest()


def test_what_changes_while_it_is_read_is_not_remembered(file: Path) -> None:
    def written_to(path: Path) -> str:
        digest = sha256_file(path)
        path.write_bytes(b"two")
        return digest

    DigestCache().of_file(file, written_to)
    assert DigestCache().of_file(file) == hashlib.sha256(b"two").hexdigest()


def test_a_published_file_is_read_by_every_process(
    file: Path, compute: CountingDigest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    DigestCache().of_file(file)
    with sqlite3.connect(Settings().cache / "digests.sqlite") as planted:
        planted.execute("UPDATE stamped SET sha256 = ?", ("0" * 64,))
    assert DigestCache().of_file(file) == "0" * 64
    monkeypatch.setattr(digests, "sha256_file", compute)
    for _ in range(2):
        assert verified_sha256(file) == hashlib.sha256(b"one").hexdigest()
        assert weights_sha256(file) == hashlib.sha256(b"one").hexdigest()
    assert compute.calls == 1


def test_a_link_and_its_file_share_a_digest(
    file: Path, compute: CountingDigest, tmp_path: Path
) -> None:
    link = tmp_path / "link.pth"
    link.symlink_to(file)
    assert DigestCache().of_file(file, compute) == DigestCache().of_file(link, compute)
    assert compute.calls == 1


def test_parts_of_a_container_are_remembered_apart(file: Path) -> None:
    cache = DigestCache()
    assert cache.known(file) == {}
    cache.remember([(file, "a.png", "1" * 64), (file, "b.png", "2" * 64)])
    assert DigestCache().known(file) == {"a.png": "1" * 64, "b.png": "2" * 64}
    file.write_bytes(b"another archive")
    assert DigestCache().known(file) == {}


def test_cache_that_cannot_be_made_is_in_memory(
    file: Path, compute: CountingDigest, tmp_path: Path
) -> None:
    cache = DigestCache(file / "below-a-file" / "digests.sqlite")
    assert cache.of_file(file, compute) == cache.of_file(file, compute)
    assert compute.calls == 1


def test_cache_file_that_is_no_database_is_left_alone(
    file: Path, compute: CountingDigest, tmp_path: Path
) -> None:
    path = tmp_path / "digests.sqlite"
    path.write_bytes(b"not a database" * 100)
    cache = DigestCache(path)
    assert cache.of_file(file, compute) == cache.of_file(file, compute)
    assert compute.calls == 1
    assert path.read_bytes() == b"not a database" * 100


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_damaged_cache_costs_time_alone(
    file: Path, compute: CountingDigest, tmp_path: Path, place: float
) -> None:
    path = tmp_path / "digests.sqlite"
    DigestCache(path).of_file(file)
    data = bytearray(path.read_bytes())
    start = int(place * len(data))
    data[start : start + 512] = bytes(512 * [255])
    path.write_bytes(data)
    assert DigestCache(path).of_file(file, compute) == hashlib.sha256(b"one").hexdigest()


def test_cache_that_turns_read_only_goes_on_in_memory(
    file: Path, compute: CountingDigest, tmp_path: Path
) -> None:
    path = tmp_path / "digests.sqlite"
    cache = DigestCache(path)
    path.unlink()
    path.mkdir()
    cache.of_file(file, compute)
    cache.of_file(file, compute)
    assert cache.of_file(file, compute) == hashlib.sha256(b"one").hexdigest()


def test_cache_lies_in_the_configured_folder(file: Path) -> None:
    DigestCache().of_file(file)
    assert (Settings().cache / "digests.sqlite").is_file()


def test_of_large_weights_the_row_of_the_cache_is_believed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_READ_ANEW", 2)
    DigestCache().of_file(file)
    with sqlite3.connect(Settings().cache / "digests.sqlite") as planted:
        planted.execute("UPDATE stamped SET sha256 = ?", ("0" * 64,))
    assert weights_sha256(file) == "0" * 64


def test_a_planted_row_names_no_weights_of_a_model(file: Path) -> None:
    weights = file.with_suffix(".safetensors")
    weights.write_bytes(b"three")
    source = Source(name="a/model", folder=weights.parent, revision="")
    first = source.digest()
    DigestCache().of_file(weights)
    with sqlite3.connect(Settings().cache / "digests.sqlite") as planted:
        planted.execute("UPDATE stamped SET sha256 = ?", ("0" * 64,))
    assert source.digest() == first
