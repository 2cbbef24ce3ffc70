"""Where images lie: what is found in each kind of container, and what each refusal says."""

from __future__ import annotations

import io
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from harness.data.sources import (
    FolderSource,
    HuggingFaceSource,
    ImageSource,
    TarSource,
    ZipSource,
    open_source,
)
from harness.interfaces.errors import DecodeError, UserError

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
    assert source.container("n01/a.jpg") == (tmp_path / "data" / "n01" / "a.jpg", "")


def test_zip_holds_the_same_images_as_the_folder(tmp_path: Path) -> None:
    source = open_source(str(make_zip(tmp_path / "data.ZIP", FILES)), LAYOUT)
    assert isinstance(source, ZipSource)
    assert list(source.ids()) == FOUND
    assert contents(source) == {name: FILES[name] for name in FOUND}
    assert source.container("top.webp") == (tmp_path / "data.ZIP", "top.webp")


@pytest.mark.parametrize("prefix", ["", "./"])
def test_tar_holds_the_same_images_as_the_folder(tmp_path: Path, prefix: str) -> None:
    source = open_source(str(make_tar(tmp_path / "data.tar", FILES, prefix=prefix)), LAYOUT)
    assert isinstance(source, TarSource)
    assert list(source.ids()) == FOUND
    assert contents(source) == {name: FILES[name] for name in FOUND}


@pytest.mark.parametrize("make", [make_folder, make_zip, make_tar])
def test_sources_can_be_read_from_several_threads(make: object, tmp_path: Path) -> None:
    files = {f"{index:03d}.png": bytes([index]) * 5000 for index in range(200)}
    name = {make_folder: "d", make_zip: "d.zip", make_tar: "d.tar"}[make]  # type: ignore[index]
    source = open_source(str(make(tmp_path / name, files)), LAYOUT)  # type: ignore[operator]
    with ThreadPoolExecutor(8) as pool:
        read = dict(zip(source.ids(), pool.map(source.read, source.ids()), strict=True))
    assert read == files


def test_first_subfolder_that_exists_is_taken(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", {"val/a.png": b"val", "train/b.png": b"train"})
    assert list(open_source(str(root), LAYOUT, ("val",)).ids()) == ["a.png"]
    assert list(open_source(str(root), LAYOUT, ("val2017",)).ids()) == ["train/b.png", "val/a.png"]
    assert list(open_source(str(root / "val"), LAYOUT, ("val",)).ids()) == ["a.png"]


def test_folders_are_entered_through_links(tmp_path: Path) -> None:
    make_folder(tmp_path / "elsewhere", {"a.png": b"linked"})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "n01").symlink_to(tmp_path / "elsewhere")
    assert contents(FolderSource(tmp_path / "data")) == {"n01/a.png": b"linked"}


def test_links_in_a_circle_list_each_image_once(tmp_path: Path) -> None:
    make_folder(tmp_path / "data", {"a.png": b"a"})
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    assert list(FolderSource(tmp_path / "data").ids()) == ["a.png"]


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
        UserError, match=rf"neither a folder nor a \.zip or \.tar: expected {LAYOUT}"
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
    assert path.is_file()
    assert part == "00000001"


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize("split", ["validation", "val", "test"])
def test_dataset_dict_offers_its_evaluation_split(split: str, tmp_path: Path) -> None:
    import datasets

    tables = {"train": table_of(1), split: table_of(2, 3)}
    datasets.DatasetDict(tables).save_to_disk(str(tmp_path / "data"))
    assert levels_of(open_source(str(tmp_path / "data"), LAYOUT)) == [2, 3]


@pytest.mark.usefixtures("hub_cache")
def test_dataset_dict_offers_its_only_split_and_refuses_to_guess(tmp_path: Path) -> None:
    import datasets

    datasets.DatasetDict({"all": table_of(7)}).save_to_disk(str(tmp_path / "one"))
    assert levels_of(open_source(str(tmp_path / "one"), LAYOUT)) == [7]
    two = {"part1": table_of(1), "part2": table_of(2)}
    datasets.DatasetDict(two).save_to_disk(str(tmp_path / "two"))
    with pytest.raises(UserError, match=r"several splits \(part1, part2\)"):
        open_source(str(tmp_path / "two"), LAYOUT)


@pytest.mark.usefixtures("hub_cache")
def test_parquet_shards_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    table_of(2).to_parquet(str(folder / "part-00001.parquet"))  # type: ignore[attr-defined]
    table_of(0, 1).to_parquet(str(folder / "part-00000.parquet"))  # type: ignore[attr-defined]
    assert levels_of(open_source(str(folder), LAYOUT)) == [0, 1, 2]


@pytest.mark.usefixtures("hub_cache")
def test_parquet_shards_of_other_splits_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for split, level in (("train", 1), ("validation", 2), ("test", 3)):
        table = table_of(level)
        table.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))  # type: ignore[attr-defined]
    assert levels_of(open_source(str(tmp_path), LAYOUT)) == [2]


@pytest.mark.usefixtures("hub_cache")
def test_dataset_without_one_image_column_is_refused(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(str(tmp_path / "none"))
    with pytest.raises(UserError, match="expected one image column, found none among"):
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
