"""Which images, in which order, with which content: what the dataset digest stands for."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from PIL import Image

from harness.data.manifest import UNREADABLE, choose, dataset_digest, image_sizes, list_samples
from harness.data.sources import FolderSource, ZipSource
from harness.interfaces.errors import UserError

IDS = st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=40).map(sorted)


class CountingFolder(FolderSource):
    """A folder that counts how many images were read."""

    reads = 0

    def read(self, image_id: str) -> bytes:
        self.reads += 1
        return super().read(image_id)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    for index in range(12):
        (root / f"{index:02d}.png").write_bytes(b"image %02d" % index)
    return root


@given(ids=IDS, small=st.integers(1, 40), more=st.integers(0, 40))
def test_a_smaller_choice_lies_in_a_larger_one_in_order(
    ids: list[str], small: int, more: int
) -> None:
    chosen, larger = choose(ids, small), choose(ids, small + more)
    assert len(chosen) == min(small, len(ids))
    assert set(chosen) <= set(larger)
    assert chosen == [image_id for image_id in ids if image_id in set(chosen)]


@given(ids=IDS)
def test_no_limit_or_a_large_one_takes_all(ids: list[str]) -> None:
    assert choose(ids, None) == choose(ids, len(ids)) == choose(ids, 1000) == ids


def test_choice_does_not_depend_on_what_else_there_is() -> None:
    ids = [f"{index:03d}" for index in range(100)]
    chosen = set(choose(ids, 10))
    without_one_left_out = [i for i in ids if i in chosen or i != min(set(ids) - chosen)]
    assert set(choose(without_one_left_out, 10)) == chosen


def test_choice_spreads_over_classes() -> None:
    ids = [f"n{label:03d}/{image:02d}.JPEG" for label in range(100) for image in range(50)]
    classes = {image_id.split("/")[0] for image_id in choose(ids, 500)}
    assert len(classes) > 95


def test_samples_are_numbered_in_order_and_known_by_content(folder: Path) -> None:
    samples = list_samples(FolderSource(folder), None)
    assert [sample.id for sample in samples] == [f"{index:02d}.png" for index in range(12)]
    assert [sample.index for sample in samples] == list(range(12))
    assert samples[3].sha256 == hashlib.sha256(b"image 03").hexdigest()


def test_limited_samples_are_numbered_from_zero_without_gaps(folder: Path) -> None:
    five = list_samples(FolderSource(folder), 5)
    nine = list_samples(FolderSource(folder), 9)
    assert [sample.index for sample in five] == list(range(5))
    assert {sample.id for sample in five} < {sample.id for sample in nine}


@pytest.mark.usefixtures("settled")
def test_unchanged_images_are_read_once(folder: Path) -> None:
    list_samples(CountingFolder(folder), 5)
    again = CountingFolder(folder)
    first = list_samples(again, None)
    assert again.reads == 7
    once_more = CountingFolder(folder)
    assert list_samples(once_more, None) == first
    assert once_more.reads == 0


@pytest.mark.usefixtures("settled")
def test_sizes_are_read_off_headers_once(folder: Path) -> None:
    ids = [path.name for path in sorted(folder.iterdir())][:3]
    Image.new("RGB", (30, 20)).save(folder / ids[0])
    Image.new("L", (7, 5)).save(folder / ids[1])
    expected = [(30, 20), (7, 5), None]  # The third is no image, and looked at again.
    assert image_sizes(CountingFolder(folder), ids) == expected
    again = CountingFolder(folder)
    assert image_sizes(again, ids) == expected
    assert again.reads == 1
    Image.new("RGB", (31, 20)).save(folder / ids[0])
    assert image_sizes(CountingFolder(folder), ids) == [(31, 20), (7, 5), None]
    assert [sample.sha256 for sample in list_samples(FolderSource(folder), None)][:2] == [
        hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ids[:2]
    ]


def test_changed_content_of_the_same_size_changes_the_digest(folder: Path) -> None:
    before = dataset_digest(list_samples(FolderSource(folder), None))
    assert dataset_digest(list_samples(FolderSource(folder), None)) == before
    path = folder / "04.png"
    stat = path.stat()
    path.write_bytes(b"IMAGE 04")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert dataset_digest(list_samples(FolderSource(folder), None)) != before


def test_digest_covers_ids_and_order_but_not_place_or_container(
    folder: Path, tmp_path: Path
) -> None:
    samples = list_samples(FolderSource(folder), None)
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    zipped = list_samples(ZipSource(tmp_path / "data.zip"), None)
    moved = folder.rename(tmp_path / "moved")
    assert dataset_digest(zipped) == dataset_digest(samples)
    assert dataset_digest(list_samples(FolderSource(moved), None)) == dataset_digest(samples)
    (moved / "04.png").rename(moved / "04b.png")
    assert dataset_digest(list_samples(FolderSource(moved), None)) != dataset_digest(samples)
    assert dataset_digest(samples[::-1]) != dataset_digest(samples)


@pytest.mark.usefixtures("settled")
def test_unreadable_image_is_listed_and_asked_for_again(folder: Path) -> None:
    class Flaky(FolderSource):
        """A folder on a network drive that lost one file for a while."""

        def read(self, image_id: str) -> bytes:
            if image_id == "04.png":
                (self.root / image_id).rename(self.root / "away")
                try:
                    return super().read(image_id)
                finally:
                    (self.root / "away").rename(self.root / image_id)
            return super().read(image_id)

    samples = list_samples(Flaky(folder), None)
    assert [sample.sha256 for sample in samples].count(UNREADABLE) == 1
    assert samples[4].sha256 == UNREADABLE
    mended = list_samples(FolderSource(folder), None)
    assert mended[4].sha256 == hashlib.sha256(b"image 04").hexdigest()


def test_link_to_nowhere_is_listed_as_unreadable(folder: Path) -> None:
    (folder / "99.png").symlink_to(folder / "gone.png")
    samples = list_samples(FolderSource(folder), None)
    assert samples[-1].id == "99.png"
    assert samples[-1].sha256 == UNREADABLE


def test_damaged_zip_member_is_listed_as_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"x" * 100)
        archive.writestr("b.png", b"y" * 100)
    data = bytearray(path.read_bytes())
    data[60:70] = b"?" * 10
    path.write_bytes(data)
    samples = list_samples(ZipSource(path), None)
    assert [sample.sha256 == UNREADABLE for sample in samples] == [True, False]


@pytest.mark.usefixtures("settled")
def test_progress_counts_only_what_is_read(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    list_samples(FolderSource(folder), 5)
    list_samples(FolderSource(folder), None, lambda done, total: seen.append((done, total)))
    assert seen == [(done, 7) for done in range(1, 8)]


def test_a_name_that_is_no_text_is_named(folder: Path) -> None:
    image = next(each for each in folder.rglob("*") if each.is_file())
    name = os.fsdecode(b"caf\xe9" + os.fsencode(image.suffix))
    try:
        image.rename(image.with_name(name))
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(UserError, match=r"caf.*name is not UTF-8") as caught:
        list_samples(FolderSource(folder), None)
    assert str(caught.value).startswith(str(image.parent))
