"""Which files count: links, special files, and folders that our own runs left."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from uwt_images import listing
from uwt_images.listing import ListingError, UnreadableImage, list_files, read_image_file


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_linked_class_folders_count_as_torchvision_counts_them(tmp_path: Path) -> None:
    touch(tmp_path, *(f"n1/{index}.png" for index in range(3)))
    (tmp_path / "n0").symlink_to("n1")
    (tmp_path / "n2").symlink_to("n1")
    names = list_files(tmp_path)
    assert [str(tmp_path / name) for name in names] == [
        path for path, _ in ImageFolder(str(tmp_path)).samples
    ]
    assert len(names) == 9


def test_only_a_link_to_its_own_ancestor_is_skipped(tmp_path: Path) -> None:
    touch(tmp_path, "a/deep/x.png", "b/y.png")
    (tmp_path / "a/deep/up").symlink_to("..")
    (tmp_path / "b/root").symlink_to(tmp_path)
    (tmp_path / "a/side").symlink_to(tmp_path / "b")
    # Under a/side, b is entered again; its link to the root is the way back, and is not.
    assert list_files(tmp_path) == ["a/deep/x.png", "a/side/y.png", "b/y.png"]


def test_what_counts(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "b.JPG",
        "deep/er/a.webp",
        ".hidden/x.png",
        "._b.jpg",
        "__MACOSX/b.jpg",
        "lost+found/c.png",
        "b.txt",
        "folder.png/inside.png",
    )
    (tmp_path / "file.png").symlink_to("b.JPG")
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone.png")
    assert list_files(tmp_path) == [
        "b.JPG",
        "deep/er/a.webp",
        "file.png",
        "folder.png/inside.png",
        "nowhere.png",
    ]


@pytest.mark.parametrize("marker", ["run.json", "record.json"])
def test_pictures_that_a_run_left_are_no_data(tmp_path: Path, marker: str) -> None:
    touch(tmp_path, "photos/a.png", "runs/recon-webp/grid.png", "runs/recon-webp/pictures/0.png")
    (tmp_path / "runs/recon-webp" / marker).write_text('{\n  "run_id": "recon-webp"\n}')
    assert list_files(tmp_path) == ["photos/a.png"]
    assert list_files(tmp_path / "runs/recon-webp/pictures") == ["0.png"]
    with pytest.raises(ListingError, match=r"recon-webp is the folder of a run, not of data"):
        list_files(tmp_path / "runs/recon-webp")


def test_pictures_that_a_training_left_are_no_data(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a.png", "out/config.json", "out/log.jsonl", "out/grid.png")
    assert list_files(tmp_path) == ["photos/a.png"]


def test_a_strangers_record_is_no_run(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "record.json", "config.json")
    (tmp_path / "run.json").mkdir()
    assert list_files(tmp_path) == ["a.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list any folder")
def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/b.png")
    (tmp_path / "a").chmod(0)
    with pytest.raises(ListingError, match=r"a/: cannot be listed \(Permission denied\)"):
        list_files(tmp_path)
    (tmp_path / "a").chmod(0o700)


def test_special_files_are_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    assert list_files(tmp_path) == ["fifo.png", "zero.png"]
    for name in list_files(tmp_path):
        with pytest.raises(UnreadableImage, match="not a regular file"):
            read_image_file(tmp_path / name)


def test_too_large_a_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(listing.LARGEST_IMAGE + 1)  # Sparse: no byte of it is on the disk.
    with pytest.raises(UnreadableImage, match="1,073,741,825 bytes, a picture has at most"):
        read_image_file(tmp_path / "a.png")
    with pytest.raises(UnreadableImage, match="No such file"):
        read_image_file(tmp_path / "gone.png")
    with pytest.raises(UnreadableImage, match="null"):
        read_image_file(tmp_path / "a\0.png")


def test_reading_takes_no_more_memory_than_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bytes(100_000))
    tracemalloc.start()
    try:
        assert read_image_file(tmp_path / "a.png") == bytes(100_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_fifo_called_as_a_runs_file_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    for name in ("run.json", "record.json"):
        os.mkfifo(tmp_path / name)
    assert list_files(tmp_path) == ["a.png"]
