"""Where images lie: what is found in each kind of container, and what each refusal says."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harness.data.manifest import ImageSource, frozen_data
from harness.data.sources import (
    FolderSource,
    HuggingFaceSource,
    TarSource,
    ZipSource,
    notice_of,
    open_source,
)
from harness.interfaces.errors import DecodeError, UserError
from uniwetok.train.data.opening import open_images

LAYOUT = "a folder with val/CLASS/IMAGE.JPEG"

FILES = {
    "n01/b.JPEG": b"second",
    "n01/a.jpg": b"first",
    "n02/deep/er/c.PnG": b"third",
    "top.webp": b"fourth",
    "n01/notes.txt": b"no image",
    "n01/._a.jpg": b"a resource fork",
    ".hidden/d.png": b"hidden",
    "__MACOSX/n01/a.jpg": b"a resource fork",
    "n01/jpg": b"no suffix",
}
FOUND = ["n01/a.jpg", "n01/b.JPEG", "n02/deep/er/c.PnG", "top.webp"]


def make_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w", prefix: str = "") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def contents(source: ImageSource) -> dict[str, bytes]:
    return {image_id: source.read(image_id) for image_id in source.ids()}


def test_folder_holds_images_at_any_depth_in_any_case(tmp_path: Path) -> None:
    source = open_source(str(make_folder(tmp_path / "data", FILES)), LAYOUT)
    assert isinstance(source, FolderSource)
    assert contents(source) == {name: FILES[name] for name in FOUND}
    assert source.container("n01/a.jpg") == (str(tmp_path / "data" / "n01" / "a.jpg"), "")


def test_zip_holds_the_same_images_as_the_folder(tmp_path: Path) -> None:
    source = open_source(str(make_zip(tmp_path / "data.ZIP", FILES)), LAYOUT)
    assert isinstance(source, ZipSource)
    assert list(source.ids()) == FOUND
    assert contents(source) == {name: FILES[name] for name in FOUND}
    assert source.container("top.webp") == (str(tmp_path / "data.ZIP"), "top.webp")


@pytest.mark.parametrize("prefix", ["", "./"])
def test_tar_holds_the_same_images_as_the_folder(tmp_path: Path, prefix: str) -> None:
    source = open_source(str(make_tar(tmp_path / "data.tar", FILES, prefix=prefix)), LAYOUT)
    assert isinstance(source, TarSource)
    assert list(source.ids()) == FOUND
    assert contents(source) == {name: FILES[name] for name in FOUND}


def test_a_folder_of_shards_is_one_set_of_images(tmp_path: Path) -> None:
    sample = {"0001.jpg": b"a", "0001.cls": b"7", "0002.jpg": b"b", "0002.json": b"{}"}
    for name in ("pets-train-0000.tar", "pets-val-0000.tar", "pets-val-0001.tar"):
        make_tar(tmp_path / name, sample)
    source = open_source(str(tmp_path), LAYOUT, "validation")
    assert contents(source) == {
        "pets-val-0000.tar/0001.jpg": b"a",
        "pets-val-0000.tar/0002.jpg": b"b",
        "pets-val-0001.tar/0001.jpg": b"a",
        "pets-val-0001.tar/0002.jpg": b"b",
    }
    assert "of its splits train, val 'val' is read" in source.note
    assert source.container("pets-val-0001.tar/0001.jpg")[0] == str(tmp_path / "pets-val-0001.tar")
    (below := tmp_path / "more" / "a.tar").mkdir(parents=True)
    make_tar(below / "0.tar", {"x.png": b"c"})
    assert contents(open_source(str(tmp_path / "more"), LAYOUT)) == {"a.tar/0.tar/x.png": b"c"}


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    make_tar(tmp_path / "0.tar", {"x.png": b"c"})
    (tmp_path / "1.tar").write_bytes((tmp_path / "0.tar").read_bytes()[:700])
    with pytest.raises(UserError, match=r"1\.tar: not a readable uncompressed tar"):
        open_source(str(tmp_path), LAYOUT)


@pytest.mark.parametrize("make", [make_folder, make_zip, make_tar])
def test_sources_can_be_read_from_several_threads(make: object, tmp_path: Path) -> None:
    files = {f"{index:03d}.png": bytes([index]) * 5000 for index in range(200)}
    name = {make_folder: "d", make_zip: "d.zip", make_tar: "d.tar"}[make]  # type: ignore[index]
    source = open_source(str(make(tmp_path / name, files)), LAYOUT)  # type: ignore[operator]
    with ThreadPoolExecutor(8) as pool:
        read = dict(zip(source.ids(), pool.map(source.read, source.ids()), strict=True))
    assert read == files


SPLITS = {
    "train/n1/a.png": b"train",
    "train/n1/b.png": b"train too",
    "val/n1/a.png": b"validation",
    "test/a.png": b"test",
}


@pytest.mark.parametrize("below", ["", "ILSVRC/Data/CLS-LOC/"])
@pytest.mark.parametrize("make", [make_folder, make_zip, make_tar])
def test_the_tasks_split_is_taken_and_others_refused(
    make: object, below: str, tmp_path: Path
) -> None:
    name = {make_folder: "d", make_zip: "d.zip", make_tar: "d.tar"}[make]  # type: ignore[index]
    files = {below + name: data for name, data in SPLITS.items()}
    path = str(make(tmp_path / name, files))  # type: ignore[operator]
    source = open_source(path, LAYOUT, "validation")
    assert contents(source) == {"n1/a.png": b"validation"}
    assert source.note == f"{path}: of its splits test, train, val 'val' is read"
    assert contents(open_source(path, LAYOUT, "test")) == {"a.png": b"test"}
    advice = "give the folder or file" if make is make_folder else "unpack it and give the folder"
    with pytest.raises(
        UserError, match=rf"several splits \(test, train, val\) and none was asked for: {advice}"
    ):
        open_source(path, LAYOUT)


def test_the_folder_of_a_split_itself_holds_none(tmp_path: Path) -> None:
    root = make_folder(tmp_path, SPLITS)
    source = open_source(str(root / "train"), LAYOUT, "validation")
    assert (list(source.ids()), source.note) == (["n1/a.png", "n1/b.png"], "")


def test_training_sees_the_images_that_evaluation_sees(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", SPLITS | FILES)
    (root / "train" / "n0").symlink_to("n1")
    (root / "train" / "n1" / "gone.png").symlink_to("nowhere.png")
    source = open_images(root)
    assert [source.id(index) for index in range(len(source))] == list(
        open_source(str(root), LAYOUT, "train").ids()
    )


def test_a_place_is_listed_once_a_command(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", {"a.png": b"a"})
    with frozen_data():
        first = open_source(str(root), LAYOUT)
        make_folder(root, {"b.png": b"written while the command ran"})
        assert list(open_source(str(root), LAYOUT).ids()) == ["a.png"]
        assert open_source(str(root), LAYOUT) is first
    assert list(open_source(str(root), LAYOUT).ids()) == ["a.png", "b.png"]


def make_linked_zip(path: Path, files: dict[str, bytes], links: dict[str, str]) -> Path:
    make_zip(path, files)
    with zipfile.ZipFile(path, "a") as archive:
        for name, target in links.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(member, target)
    return path


def make_linked_tar(path: Path, files: dict[str, bytes], links: dict[str, str]) -> Path:
    make_tar(path, files)
    with tarfile.open(path, "a") as archive:
        for name, target in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return path


@pytest.mark.parametrize("make", [make_linked_zip, make_linked_tar])
def test_links_in_an_archive_count_as_where_it_is_unpacked(make: object, tmp_path: Path) -> None:
    files = {"n1/a.png": b"a", "n1/b.png": b"b", "notes.txt": b""}
    links = {
        "n0": "n1",
        "n2": "./n1/../n1",
        "n1/up": "..",
        "same.png": "n1/a.png",
        "gone.png": "n1/c.png",
        "outside.png": "../../etc/a.png",
        "round.png": "round.png",
    }
    unpacked = make_folder(tmp_path / "data", files)
    for name, target in links.items():
        (unpacked / name).symlink_to(target)
    name = {make_linked_zip: "d.zip", make_linked_tar: "d.tar"}[make]  # type: ignore[index]
    source = open_source(str(make(tmp_path / name, files, links)), LAYOUT)  # type: ignore[operator]
    assert list(source.ids()) == list(open_source(str(unpacked), LAYOUT).ids())
    for image_id in source.ids():
        if image_id in ("gone.png", "outside.png", "round.png"):
            with pytest.raises(DecodeError, match="a link to nowhere"):
                source.read(image_id)
        else:
            assert source.read(image_id) == (unpacked / image_id).read_bytes()


@pytest.mark.parametrize("make", [make_linked_zip, make_linked_tar])
@pytest.mark.parametrize("links", [{}, {"same.png": "n1/a.png"}], ids=["files", "links"])
def test_names_that_lead_out_of_an_archive_are_told(
    make: object, links: dict[str, str], tmp_path: Path
) -> None:
    """No program unpacks them as they are called; what is no picture is not missed."""
    files = {"../a.png": b"a", "../../etc/b.png": b"b", "../notes.txt": b"", "n1/../../c.png": b"c"}
    name = {make_linked_zip: "d.zip", make_linked_tar: "d.tar"}[make]  # type: ignore[index]
    place = make(tmp_path / name, {"n1/a.png": b"a", **files}, links)  # type: ignore[operator]
    source = open_source(str(place), LAYOUT)
    assert set(source.ids()) == {"n1/a.png", *links}
    told = "3 images are left out, whose names lead out of the archive, such as ../a.png: pack"
    assert told in source.note
    alone = make(tmp_path / f"alone-{name}", files, {})  # type: ignore[operator]
    with pytest.raises(UserError, match=r"holds no image.*3 images are left out"):
        open_source(str(alone), LAYOUT)


def test_hard_links_in_a_tar_are_files(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "d.tar", {"n1/a.png": b"a"})
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("n2/b.png")
        member.type, member.linkname = tarfile.LNKTYPE, "n1/a.png"
        archive.addfile(member)
    assert contents(open_source(str(path), LAYOUT)) == {"n1/a.png": b"a", "n2/b.png": b"a"}


def test_members_too_large_for_a_picture_are_named_without_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uwt_images.listing.LARGEST_IMAGE", 100)
    files = {"bomb.png": bytes(1000), "a.png": b"a"}
    for path in (
        make_folder(tmp_path / "d", files),
        make_zip(tmp_path / "d.zip", files),
        make_tar(tmp_path / "d.tar", files),
    ):
        source = open_source(str(path), LAYOUT)
        assert source.read("a.png") == b"a"
        with pytest.raises(DecodeError, match="1,000 bytes, a picture has at most 100"):
            source.read("bomb.png")


def test_folders_are_entered_through_links(tmp_path: Path) -> None:
    make_folder(tmp_path / "elsewhere", {"a.png": b"linked"})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "n01").symlink_to(tmp_path / "elsewhere")
    assert contents(FolderSource(tmp_path / "data")) == {"n01/a.png": b"linked"}


def test_links_in_a_circle_list_each_image_once(tmp_path: Path) -> None:
    make_folder(tmp_path / "data", {"a.png": b"a"})
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    assert list(FolderSource(tmp_path / "data").ids()) == ["a.png"]


def test_other_numbers_of_images_than_the_benchmarks_are_told(tmp_path: Path) -> None:
    source = FolderSource(make_folder(tmp_path, {"a.png": b"a"}))
    assert notice_of(source, "mine", 5000) == "mine holds 1 image, the benchmark has 5,000"
    make_folder(tmp_path, {f"{index}.png": b"a" for index in range(1999)})
    source = FolderSource(tmp_path)
    assert notice_of(source, "mine", 5000) == "mine holds 2,000 images, the benchmark has 5,000"
    assert notice_of(source, "mine", 2000) == ""


def test_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "data", {"a.png": b"a"})
    monkeypatch.setenv("HOME", str(tmp_path))
    assert list(open_source("~/data", LAYOUT).ids()) == ["a.png"]


def test_missing_path_shows_the_layout(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"'.*nowhere' does not exist: expected {LAYOUT}"):
        open_source(str(tmp_path / "nowhere"), LAYOUT)


@pytest.mark.parametrize("files", [{}, {"notes.txt": b""}, {"__MACOSX/a.png": b""}], ids=str)
@pytest.mark.parametrize("make", [make_folder, make_zip, make_tar])
def test_no_image_shows_the_layout(make: object, files: dict[str, bytes], tmp_path: Path) -> None:
    name = {make_folder: "d", make_zip: "d.zip", make_tar: "d.tar"}[make]  # type: ignore[index]
    path = make(tmp_path / name, files)  # type: ignore[operator]
    path.mkdir(exist_ok=True) if make is make_folder else None
    with pytest.raises(UserError, match=f"holds no image: expected {LAYOUT}"):
        open_source(str(path), LAYOUT)


@pytest.mark.parametrize("name", ["images.rar", "image.png", "images.tar.gz", "images"])
def test_other_kinds_of_files_show_the_layout(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(
        UserError, match=rf"neither a folder nor a \.zip, \.tar or \.parquet: expected {LAYOUT}"
    ):
        open_source(str(tmp_path / name), LAYOUT)


def test_compressed_tar_is_to_be_unpacked(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "data.tar", FILES, "w:gz")
    with pytest.raises(UserError, match=r"data\.tar: .*unpack a compressed one first"):
        open_source(str(path), LAYOUT)


@pytest.mark.parametrize("kept", [0, 30, -40])
def test_corrupt_zip_is_named(kept: int, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "data.zip", FILES)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"data\.zip: not a readable zip archive"):
        open_source(str(path), LAYOUT)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_zip_member_is_a_decode_error(compression: int, tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a.png", bytes(range(256)) * 8)
        archive.writestr("b.png", b"sound")
    data = bytearray(path.read_bytes())
    data[35:60] = b"\xff" * 25
    path.write_bytes(data)
    source = ZipSource(path)
    with pytest.raises(DecodeError, match="cannot be read from the archive"):
        source.read("a.png")
    assert source.read("b.png") == b"sound"


def test_tar_that_got_shorter_is_a_decode_error(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "data.tar", {"a.png": b"x" * 4000, "b.png": b"y" * 4000})
    source = TarSource(path)
    path.write_bytes(path.read_bytes()[:6000])
    assert source.read("a.png") == b"x" * 4000
    with pytest.raises(DecodeError, match="ends early"):
        source.read("b.png")


@pytest.mark.parametrize("damage", ["flipped", "zeroed", "cut"])
def test_tar_that_lost_members_is_named(damage: str, tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", {f"{i}.png": bytes([i + 1]) * 700 for i in range(3)})
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        start = archive.getmembers()[1].offset
    if damage == "flipped":
        data[start + 150] ^= 1
    elif damage == "zeroed":
        data[start : start + 512] = bytes(512)
    else:
        del data[start:]
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.tar: not a readable .*(damaged at byte|is cut)"):
        open_source(str(path), LAYOUT)


def test_backslashes_in_a_zip_part_folders(tmp_path: Path) -> None:
    files = {"train\\n\\a.png": b"a", "val\\n\\b.png": b"b"}
    source = ZipSource(make_zip(tmp_path / "a.zip", files), "validation")
    assert contents(source) == {"n/b.png": b"b"}


def test_file_that_went_away_is_a_decode_error(tmp_path: Path) -> None:
    source = FolderSource(make_folder(tmp_path / "data", {"a.png": b"a"}))
    (tmp_path / "data" / "a.png").unlink()
    with pytest.raises(DecodeError, match="cannot be read"):
        source.read("a.png")


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Converted parquet files stay in the test's own folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    datasets.disable_progress_bars()


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (level, level, level)).save(buffer, format="png")
    return buffer.getvalue()


def table_of(*levels: int, column: str = "image") -> object:
    import datasets

    features = datasets.Features({column: datasets.Image(), "label": datasets.Value("int64")})
    rows = {column: [{"bytes": png(level), "path": None} for level in levels], "label": levels}
    return datasets.Dataset.from_dict(rows, features=features)


def levels_of(source: ImageSource) -> list[int]:
    return [
        Image.open(io.BytesIO(data)).getpixel((0, 0))[0]  # type: ignore[index]
        for data in contents(source).values()
    ]


@pytest.mark.usefixtures("hub_cache")
def test_dataset_saved_to_disk_keeps_its_row_order(tmp_path: Path) -> None:
    table_of(30, 10, 20).save_to_disk(str(tmp_path / "data"))  # type: ignore[attr-defined]
    source = open_source(str(tmp_path / "data"), LAYOUT)
    assert isinstance(source, HuggingFaceSource)
    assert list(source.ids()) == ["00000000", "00000001", "00000002"]
    assert levels_of(source) == [30, 10, 20]
    path, part = source.container("00000001")
    assert Path(path).is_file()
    assert part == "00000001"


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize("split", ["validation", "val", "dev"])
def test_dataset_dict_offers_the_tasks_split(split: str, tmp_path: Path) -> None:
    import datasets

    tables = {"train": table_of(1), split: table_of(2, 3), "test": table_of(4)}
    datasets.DatasetDict(tables).save_to_disk(str(tmp_path / "data"))
    source = open_source(str(tmp_path / "data"), LAYOUT, "validation")
    assert levels_of(source) == [2, 3]
    assert f"{split!r} is read" in source.note


@pytest.mark.usefixtures("hub_cache")
def test_dataset_dict_offers_its_only_split_and_refuses_to_guess(tmp_path: Path) -> None:
    import datasets

    datasets.DatasetDict({"all": table_of(7)}).save_to_disk(str(tmp_path / "one"))
    assert levels_of(open_source(str(tmp_path / "one"), LAYOUT, "validation")) == [7]
    two = {"train": table_of(1), "test": table_of(2)}
    datasets.DatasetDict(two).save_to_disk(str(tmp_path / "two"))
    with pytest.raises(UserError, match=r"several splits \(test, train\) and not one"):
        open_source(str(tmp_path / "two"), LAYOUT, "validation")


@pytest.mark.usefixtures("hub_cache")
def test_replaced_parquet_is_read_anew_whatever_its_time(tmp_path: Path) -> None:
    path = tmp_path / "pq" / "a.parquet"
    path.parent.mkdir()
    table_of(0, 1).to_parquet(str(path))  # type: ignore[attr-defined]
    os.utime(path, (1_600_000_000, 1_600_000_000))
    before = HuggingFaceSource(path.parent, [path.name])
    assert levels_of(before) == [0, 1]
    path.unlink()
    table_of(7, 8, 9).to_parquet(str(path))  # type: ignore[attr-defined]
    os.utime(path, (1_600_000_000, 1_600_000_000))
    after = HuggingFaceSource(path.parent, [path.name])
    assert levels_of(after) == [7, 8, 9]
    assert after.container("00000000") != before.container("00000000")


@pytest.mark.usefixtures("hub_cache")
def test_parquet_is_read_where_no_cache_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UWT_EVAL_CACHE", "/dev/null/cache")
    table_of(3).to_parquet(str(tmp_path / "a.parquet"))  # type: ignore[attr-defined]
    assert levels_of(HuggingFaceSource(tmp_path, ["a.parquet"])) == [3]


@pytest.mark.usefixtures("hub_cache")
def test_parquet_shards_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    table_of(2).to_parquet(str(folder / "part-00001.parquet"))  # type: ignore[attr-defined]
    table_of(0, 1).to_parquet(str(folder / "part-00000.parquet"))  # type: ignore[attr-defined]
    assert levels_of(open_source(str(folder), LAYOUT)) == [0, 1, 2]


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize(
    "form",
    [
        "{}-00000-of-00001.parquet",
        "data/{}-00000-of-00001-b42a775f407cee45.parquet",
        "default/{}/0000.parquet",
        "{}.parquet",
    ],
)
def test_parquet_shards_of_other_splits_are_left_out(form: str, tmp_path: Path) -> None:
    for split, level in (("train", 1), ("validation", 2), ("test", 3)):
        path = tmp_path / form.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        table_of(level).to_parquet(str(path))  # type: ignore[attr-defined]
    assert levels_of(open_source(str(tmp_path), LAYOUT, "validation")) == [2]
    with pytest.raises(UserError, match=r"several splits .* give the folder or file of one"):
        open_source(str(tmp_path), LAYOUT)
    one = open_source(str(tmp_path / form.format("test")), LAYOUT, "validation")
    assert (levels_of(one), one.note) == ([3], "")


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize("writer", ["pandas", "pyarrow"])
@pytest.mark.parametrize("form", ["bytes", "bytes and path", "bytes and no path", "large bytes"])
def test_parquet_that_knows_nothing_of_hugging_face_is_read(
    form: str, writer: str, tmp_path: Path
) -> None:
    for split, levels in (("train", [1]), ("val", [2, 3])):
        path = tmp_path / "pq" / split / "0.parquet"
        path.parent.mkdir(parents=True)
        cells: list[object] = [png(level) for level in levels]
        if "path" in form:
            name = None if "no path" in form else "a.png"
            cells = [{"bytes": cell, "path": name} for cell in cells]
        columns = {"image": cells, "label": levels}
        if writer == "pandas":
            pd.DataFrame(columns).to_parquet(path)
        else:
            kind = pa.large_binary() if form == "large bytes" else None
            pq.write_table(pa.table({**columns, "image": pa.array(cells, kind)}), path)
    source = open_source(str(tmp_path / "pq"), LAYOUT, "validation")
    assert levels_of(source) == [2, 3]
    assert isinstance(source, HuggingFaceSource)
    assert list(source.files()) == (["a.png"] * 2 if form == "bytes and path" else ["", ""])
    assert list(source.others["label"]) == [2, 3]


@pytest.mark.usefixtures("hub_cache")
def test_declared_image_column_stands_beside_other_bytes(tmp_path: Path) -> None:
    both = table_of(1).add_column("mask", [b"no image"])  # type: ignore[attr-defined]
    both.to_parquet(str(tmp_path / "a.parquet"))
    assert levels_of(open_source(str(tmp_path), LAYOUT)) == [1]


@pytest.mark.usefixtures("hub_cache")
def test_reading_parquet_draws_no_bars(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import datasets

    table_of(1).to_parquet(str(tmp_path / "a.parquet"))  # type: ignore[attr-defined]
    datasets.enable_progress_bars()
    open_source(str(tmp_path), LAYOUT)
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("hub_cache")
def test_dataset_without_one_image_column_is_refused(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"expected one .* found none among \['text'\]: .*bytes"):
        open_source(str(tmp_path / "none"), LAYOUT)
    both = table_of(1).add_column("second", [{"bytes": png(2), "path": None}])  # type: ignore[attr-defined]
    both.cast_column("second", datasets.Image()).save_to_disk(str(tmp_path / "two"))
    with pytest.raises(UserError, match=r"found \['image', 'second'\]"):
        open_source(str(tmp_path / "two"), LAYOUT)


@pytest.mark.usefixtures("hub_cache")
def test_row_without_an_image_is_a_decode_error(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({"image": datasets.Image()})
    rows = {"image": [{"bytes": png(5), "path": None}, None]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "data"))
    source = open_source(str(tmp_path / "data"), LAYOUT)
    assert source.read("00000000") == png(5)
    with pytest.raises(DecodeError, match="the row holds no image"):
        source.read("00000001")


@pytest.mark.usefixtures("hub_cache")
def test_broken_dataset_folder_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path / "data", {"dataset_info.json": b"{", "state.json": b"{"})
    with pytest.raises(UserError, match="not a readable Hugging Face dataset"):
        open_source(str(tmp_path / "data"), LAYOUT)
    make_folder(tmp_path / "parquet", {"a.parquet": b"PAR1 not really"})
    with pytest.raises(UserError, match="not a readable Hugging Face dataset"):
        open_source(str(tmp_path / "parquet"), LAYOUT)


def parquet_on_disk(root: Path, **rows: int) -> Path:
    """A data set of the hub's layout, so many images a split."""
    for split, count in rows.items():
        images = []
        for level in range(count):
            sink = io.BytesIO()
            Image.new("RGB", (8, 8), (level, 0, len(split))).save(sink, "PNG")
            images.append({"bytes": sink.getvalue(), "path": f"{level}.png"})
        (root / "data").mkdir(parents=True, exist_ok=True)
        table = pa.table({"image": images, "label": list(range(count))})
        pq.write_table(table, root / "data" / f"{split}-00000-of-00001.parquet")
    return root


def test_a_data_set_by_its_name(tmp_path: Path) -> None:
    root = parquet_on_disk(tmp_path / "set", train=3, validation=5, test=2)
    named = open_source(f"hf:{root}", LAYOUT)
    assert [
        len(open_source(f"hf:{root}@{split}", LAYOUT).ids()) for split in ("train", "test")
    ] == [
        *(3, 2),
    ]
    by_path = open_source(str(root), LAYOUT, "validation")
    assert list(named.ids()) == list(by_path.ids())
    assert [named.read(each) for each in named.ids()] == [by_path.read(e) for e in by_path.ids()]


def test_a_name_without_a_data_set_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = parquet_on_disk(tmp_path / "set", train=3, test=2)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "a.png")
    for place, reason in (
        (f"hf:{root}@tset", "no split 'tset', but train, test"),
        (f"hf:{root}", "no split 'validation'"),
        (f"hf:{tmp_path / 'photos'}", "read from Parquet alone"),
        ("hf:", "write hf:REPO"),
        ("hf:owner/name@val", "UWT_EVAL_OFFLINE is set"),
        ("hf:no name", "no OWNER/NAME"),
    ):
        with pytest.raises(UserError, match=reason):
            open_source(place, LAYOUT)
    monkeypatch.delenv("UWT_EVAL_OFFLINE")
    monkeypatch.setattr("uwt_images.hub._unreachable", lambda *_: "the hub cannot be reached")
    with pytest.raises(UserError, match="hub cannot be reached; HF_HUB_OFFLINE=1"):
        open_source("hf:owner/name@val", LAYOUT)
