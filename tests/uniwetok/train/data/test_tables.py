"""Parquet files and data sets of the Hub's layout as sources of images."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.uniwetok.train.data.conftest import png
from uniwetok.train import TrainingError
from uniwetok.train.data import tables
from uniwetok.train.data.config import DataConfig
from uniwetok.train.data.opening import open_images
from uniwetok.train.data.places import Columns
from uniwetok.train.data.schedule import Place
from uniwetok.train.data.stream import TrainingImages
from uwt_images.listing import UnreadableImage


def write(path: Path, columns: dict[str, list[Any]], group: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def as_the_hub_has_them(numbers: range) -> dict[str, list[Any]]:
    return {
        "image": [{"bytes": png(n), "path": f"{n}.png"} for n in numbers],
        "caption": [f"number {n}" for n in numbers],
        "label": [n % 3 for n in numbers],
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two files of ten and five rows, in groups of four."""
    root = tmp_path / "data"
    write(root / "train-00000-of-00002.parquet", as_the_hub_has_them(range(10)))
    write(root / "train-00001-of-00002.parquet", as_the_hub_has_them(range(10, 15)))
    return root


def levels(path: str | Path, **given: Any) -> list[int]:
    source = open_images(path, **given)
    return [source.read(index).getpixel((0, 0))[1] for index in range(len(source))]


def test_rows_are_numbered_over_files_and_groups(data: Path) -> None:
    source = pickle.loads(pickle.dumps(open_images(data)))
    assert source.parts.tolist() == [4, 4, 2, 4, 1]
    assert levels(data) == list(range(15))
    assert [source.label(index) for index in (0, 4, 11)] == [0, 1, 2]
    assert source.id(11).endswith("train-00001-of-00002.parquet/1")
    assert len({source.id(index) for index in range(15)}) == 15
    assert levels(data / "train-00001-of-00002.parquet") == list(range(10, 15))
    assert levels(f"{data}/train-{{00001..00001}}-of-00002.parquet") == list(range(10, 15))


def test_a_stream_reads_them_alike_with_any_workers(data: Path) -> None:
    def ids(workers: int, start: int) -> list[list[str]]:
        config = DataConfig(resolution=16, workers=workers, shuffle_shards=2)
        stream = TrainingImages(open_images(data), config, Place(batch_size=4, seed=0, start=start))
        return [batch.ids for batch in itertools.islice(stream, 6 - start)]

    assert ids(0, 0)[2:] == ids(2, 2)


def test_few_groups_are_kept_and_read_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_MOST_BYTES", 1)
    source = open_images(data)
    assert isinstance(source, tables.TableImages)
    for index in (0, 14, 1, 9):
        assert source.read(index).getpixel((0, 0))[1] == index
        assert len(source.table._kept) == 1


def test_files_that_lie_elsewhere_are_read_in_place(data: Path) -> None:
    import fsspec

    place = "memory://tables/train.parquet"
    with fsspec.open(place, "wb") as file:
        file.write((data / "train-00001-of-00002.parquet").read_bytes())
    source = pickle.loads(pickle.dumps(tables.TableImages([place], Columns())))
    assert [source.read(n).getpixel((0, 0))[1] for n in range(5)] == list(range(10, 15))


def test_bytes_and_paths_are_images_too(tmp_path: Path) -> None:
    write(tmp_path / "bytes.parquet", {"jpg": [png(3), None], "note": ["a", "b"]})
    source = open_images(tmp_path / "bytes.parquet")
    assert source.read(0).getpixel((0, 0))[1] == 3
    with pytest.raises(UnreadableImage, match=r"bytes.parquet/1: there is no image"):
        source.read(1)
    (tmp_path / "there.png").write_bytes(png(7))
    path = write(tmp_path / "paths.parquet", {"file": ["there.png", "gone.png"], "text": ["", ""]})
    source = open_images(path, columns=Columns(image="file"))
    assert source.read(0).getpixel((0, 0))[1] == 7
    with pytest.raises(UnreadableImage, match="No such file"):
        source.read(1)


def test_a_data_set_in_a_folder_is_found_as_datasets_finds_it(data: Path, tmp_path: Path) -> None:
    write(data / "test-00000-of-00001.parquet", as_the_hub_has_them(range(20, 22)))
    assert levels(f"hf:{data}") == list(range(15))
    assert levels(f"hf:{data}@test") == [20, 21]
    assert levels(f"hf:{data}", local=True) == list(range(15))
    with pytest.raises(TrainingError, match="has no split 'tset', but train, test"):
        open_images(f"hf:{data}@tset")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(png(1))
    with pytest.raises(TrainingError, match="is kept as imagefolder, and read from Parquet alone"):
        open_images(f"hf:{tmp_path / 'photos'}")
    with pytest.raises(TrainingError, match="write hf:REPO"):
        open_images("hf:")


def test_without_the_hub_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def unreachable(*_: object) -> None:
        raise ConnectionError("Couldn't reach 'owner/name' on the Hub\n(a traceback)")

    with pytest.raises(TrainingError, match="UWT_EVAL_OFFLINE is set; HF_HUB_OFFLINE=1 looks"):
        open_images("hf:owner/name:config@train")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets, "load_dataset_builder", unreachable)
    with pytest.raises(TrainingError) as caught:
        open_images("hf:owner/name:config@train")
    assert str(caught.value) == (
        "hf:owner/name:config@train: cannot be opened (Couldn't reach 'owner/name' on the Hub)"
    )


def test_what_is_no_table_of_images_is_refused(data: Path, tmp_path: Path) -> None:
    two = write(tmp_path / "two.parquet", {"a": [b"x"], "b": [b"y"]})
    with pytest.raises(TrainingError, match=r"which of its columns \(a, b\) is the image"):
        open_images(two)
    with pytest.raises(TrainingError, match="has no column 'c', only a, b"):
        open_images(two, columns=Columns(image="c"))
    with pytest.raises(TrainingError, match="give files of the same columns"):
        open_images(f"{tmp_path}/{{two,data/train-00000-of-00002}}.parquet")
    with pytest.raises(TrainingError, match="holds no row"):
        open_images(write(tmp_path / "empty.parquet", {"image": pa.array([], pa.binary())}))
    torn = tmp_path / "torn.parquet"
    torn.write_bytes((data / "train-00000-of-00002.parquet").read_bytes()[:-20])
    with pytest.raises(TrainingError, match="is not readable Parquet") as caught:
        open_images(torn)
    assert "\n" not in str(caught.value)
