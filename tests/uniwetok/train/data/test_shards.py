from __future__ import annotations

import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from webdataset import WebDataset

from tests.uniwetok.train.data.conftest import MakeShards, png
from uniwetok.train import TrainingError
from uniwetok.train.data import shard_index as index_module
from uniwetok.train.data.opening import open_images
from uniwetok.train.data.shard_index import read_index, shard_index
from uniwetok.train.data.source import ImageSource
from uwt_images.listing import UnreadableImage


def numbers(source: ImageSource) -> list[int]:
    return [source.read(index).getpixel((0, 0))[1] for index in range(len(source))]  # type: ignore[index,misc]


def write_tar(path: Path, members: dict[str, bytes], kind: int = tarfile.USTAR_FORMAT) -> None:
    with tarfile.open(path, "w", format=kind) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_reads_what_webdataset_writes(make_shards: MakeShards) -> None:
    root = make_shards()
    source = open_images(root)
    assert list(source.parts) == [5, 5, 5]
    assert numbers(source) == list(range(15))
    assert source.id(7) == "00001.tar/000000007"
    assert source.label(7) is None
    assert source.notices == ()


def test_agrees_with_webdatasets_own_reader(make_shards: MakeShards) -> None:
    root = make_shards(labels=True)
    source = open_images(root)
    shards = sorted(map(str, root.glob("*.tar")))
    samples = list(WebDataset(shards, shardshuffle=False, empty_check=False).decode("pil"))
    assert len(samples) == len(source) == 15
    for index, sample in enumerate(samples):
        assert source.id(index).split("/")[1] == sample["__key__"]
        assert source.label(index) == sample["cls"]
        assert np.array_equal(np.asarray(source.read(index)), np.asarray(sample["png"]))


def test_one_tar_and_brace_patterns(make_shards: MakeShards) -> None:
    root = make_shards()
    assert numbers(open_images(root / "00001.tar")) == list(range(5, 10))
    assert numbers(open_images(f"{root}/{{00001..00002}}.tar")) == list(range(5, 15))
    with pytest.raises(TrainingError, match=r"names 9 shards, of which 6 do not .*00003\.tar"):
        open_images(f"{root}/{{00000..00008}}.tar")


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(
    "name", ["a.png", "./d/a.PNG", f"{'long' * 20}/{'x' * 60}.png", "日本.png"]
)
def test_every_way_of_writing_names(tmp_path: Path, kind: int, name: str) -> None:
    key = name.removeprefix("./").split(".")[0]
    members = {name: png(1), f"{key}.json": b"{}", "z.png": png(2)}
    write_tar(tmp_path / "x.tar", members, kind)
    source = open_images(tmp_path)
    assert [source.id(index) for index in range(2)] == [f"x.tar/{key}", "x.tar/z"]
    assert numbers(source) == [1, 2]


def test_the_quick_way_lists_what_tarfile_lists(make_shards: MakeShards) -> None:
    path = make_shards() / "00000.tar"
    with path.open("rb") as file:
        quick = list(index_module._plain_members(file, path.stat().st_size))
        assert quick == list(index_module._all_members(file))


def test_samples_are_grouped_by_key(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "x.tar",
        {"a.jpg": png(1), "a.png": png(2), "a.cls": b"7\n", "b.cls": b"dog", "b.webp": png(3)}
        | {"._a.jpg": b"", "c.txt": b"no image", "d.mask.png": png(9)},
    )
    source = open_images(tmp_path)
    assert [source.id(index) for index in range(len(source))] == ["x.tar/a", "x.tar/b"]
    assert [source.label(0), source.label(1)] == [7, None]


def test_the_end_of_a_truncated_shard_is_left_out(make_shards: MakeShards) -> None:
    path = make_shards() / "00001.tar"
    whole = read_index(path)
    offset, size = whole.place(3)
    os.truncate(path, offset + size // 2)
    source = open_images(path.parent)
    assert numbers(source) == [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14]
    assert len(source.notices) == 1
    assert "00001.tar: it ends within 000000008.png; 3 images before are used" in source.notices[0]


def test_a_shard_cut_anywhere_keeps_what_is_whole(make_shards: MakeShards) -> None:
    path = make_shards(1) / "00000.tar"
    content, whole = path.read_bytes(), read_index(path)
    ends = [sum(whole.place(row)) for row in range(5)]
    for length in range(0, len(content), 301):
        path.write_bytes(content[:length])
        index = read_index(path)
        assert len(index) == sum(end <= length for end in ends)
        # Only a cut between members, or among the empty blocks at the end, leaves no trace.
        assert index.damage or length % 512 == 0 or not any(content[length:])


def test_a_damaged_header_ends_a_shard(make_shards: MakeShards) -> None:
    path = make_shards() / "00000.tar"
    content = bytearray(path.read_bytes())
    offset, _ = read_index(path).place(2)
    content[offset - 500] ^= 0xFF
    path.write_bytes(content)
    source = open_images(path)
    assert numbers(source) == [0, 1]
    assert "no tar header at byte" in source.notices[0]


def test_a_damaged_header_ends_a_shard_with_long_names(tmp_path: Path) -> None:
    path = tmp_path / "00000.tar"
    names = [f"{'folder/' * 20}0.png", "1.png", "2.png"]
    write_tar(path, {name: png(number) for number, name in enumerate(names)}, tarfile.GNU_FORMAT)
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        offset = archive.getmembers()[2].offset_data
    content[offset - 500] ^= 0xFF
    path.write_bytes(content)
    index = read_index(path)
    assert len(index) == 2
    assert "no header of a member" in index.damage


def test_a_damaged_image_is_named(make_shards: MakeShards) -> None:
    path = make_shards() / "00000.tar"
    offset, size = read_index(path).place(2)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(size))
    with pytest.raises(UnreadableImage, match=r"00000\.tar: 000000002: not a readable image"):
        open_images(path).read(2)


def test_nothing_readable(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"<html>404</html>" * 100)
    (tmp_path / "b.tar").write_bytes(b"")
    message = (
        r"hold no image: looked for members KEY\.jpg.*1 damaged, first .*a\.tar: no tar header"
    )
    with pytest.raises(TrainingError, match=message):
        open_images(tmp_path)


def test_headers_are_read_once(make_shards: MakeShards, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_shards()
    expected = numbers(open_images(root))
    shard_index.cache_clear()
    monkeypatch.setattr(index_module, "read_index", lambda path: pytest.fail("read again"))
    assert numbers(open_images(root)) == expected


def test_a_changed_shard_is_listed_anew(make_shards: MakeShards, tmp_path: Path) -> None:
    path = make_shards() / "00000.tar"
    source = open_images(path)
    write_tar(path, {"other.png": png(77)})
    assert numbers(open_images(path)) == [77]
    shard_index.cache_clear()
    for kept in (tmp_path / "cache" / "shards").iterdir():
        kept.unlink()
    with pytest.raises(TrainingError, match=r"00000\.tar was changed during the run"):
        source.read(0)


def test_a_damaged_or_unwritable_cache_is_no_matter(
    make_shards: MakeShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_shards()
    open_images(root)
    kept = list((tmp_path / "cache" / "shards").iterdir())
    assert [path.suffix for path in kept] == [".npy"] * 3
    kept[0].write_bytes(b"half a file")
    shard_index.cache_clear()
    assert numbers(open_images(root)) == list(range(15))
    (tmp_path / "file").touch()
    monkeypatch.setenv("UWT_EVAL_CACHE", str(tmp_path / "file"))
    shard_index.cache_clear()
    assert numbers(open_images(root)) == list(range(15))


def test_progress_and_pickling(make_shards: MakeShards) -> None:
    seen: list[tuple[int, int]] = []
    source = open_images(make_shards(), on_progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert numbers(pickle.loads(pickle.dumps(source))) == list(range(15))
