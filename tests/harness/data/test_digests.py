"""The digest cache: each file read once, a changed one again, and no cache is no error."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from harness.data.digests import DigestCache, sha256_file
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


def test_a_link_and_its_file_share_a_digest(
    file: Path, compute: CountingDigest, tmp_path: Path
) -> None:
    link = tmp_path / "link.pth"
    link.symlink_to(file)
    assert DigestCache().of_file(file, compute) == DigestCache().of_file(link, compute)
    assert compute.calls == 1


def test_parts_of_a_container_are_remembered_apart(file: Path) -> None:
    DigestCache().remember([(file, "a.png", "1" * 64), (file, "b.png", "2" * 64)])
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
