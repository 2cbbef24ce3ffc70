"""Records of several sources, and captions of Parquet files, as one stream."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.uniwetok.mllm import toys
from tests.uniwetok.train.mllm.test_stream import flat
from tests.uniwetok.train.mllm.tiny import RULE, builder, write_data
from uniwetok.train import TrainingError
from uniwetok.train.data.places import read_places
from uniwetok.train.data.schedule import Place
from uniwetok.train.mllm.config import SequenceData
from uniwetok.train.mllm.data.index import index_samples
from uniwetok.train.mllm.data.opening import open_record_sources, open_records
from uniwetok.train.mllm.data.records import RecordError, TextImage
from uniwetok.train.mllm.data.source import RecordSource, read_image
from uniwetok.train.mllm.data.stream import PackedStream

DATA = SequenceData(
    row_tokens=160, image_area=128 * 128, workers=0, mixture=("web@0.75", "own@0.25")
)


def write_captions(path: Path, count: int = 5) -> Path:
    images, captions = [], []
    for number in range(count):
        file = io.BytesIO()
        Image.new("RGB", (64, 96), (number, 100, 200)).save(file, "PNG")
        images.append({"bytes": file.getvalue(), "path": None})
        captions.append(f"Number {number}")
    pq.write_table(pa.table({"url": captions, "img": images, "caption": captions}), path)
    return path


@pytest.fixture
def source(tmp_path: Path) -> RecordSource:
    web, own = write_captions(tmp_path / "web.parquet"), write_data(tmp_path)
    return open_record_sources(read_places([f"web={web}@0.75", f"own={own}@0.25"]))


def test_a_row_of_a_table_is_a_caption_and_its_image(tmp_path: Path) -> None:
    table = open_records(write_captions(tmp_path / "web.parquet"))
    record = table.record(3)
    assert isinstance(record, TextImage)
    assert record.text == "Number 3"
    assert read_image(table, 3, record.image.name).getpixel((0, 0)) == (3, 100, 200)
    assert table.where(3) == (str(tmp_path / "web.parquet"), 4)
    assert len({table.image_key(row, "img") for row in range(5)}) == 5
    assert len(open_records(f"hf:{tmp_path}")) == len(open_records(tmp_path)) == 5
    path = tmp_path / "none.parquet"
    pq.write_table(pa.table({"image": [b""], "caption": pa.array([None], pa.string())}), path)
    with pytest.raises(RecordError, match="text: is missing or null"):
        open_records(path).record(0)


def test_rows_of_a_mixture_follow_from_their_number(source: RecordSource, tmp_path: Path) -> None:
    index = index_samples(source, builder(), DATA, RULE, tmp_path / "index")

    def stream(**place: int) -> PackedStream:
        where = Place(**{"batch_size": 2, "seed": 5} | place)
        return PackedStream(source, index, DATA, builder(), toys.image_tokenizer(), where)

    whole = flat(itertools.islice(stream(), 6))
    assert flat(itertools.islice(stream(start=4), 2)) == whole[8:]
    halves = [flat(itertools.islice(stream(rank=rank, world=2), 6)) for rank in (0, 1)]
    assert [row for pair in zip(*halves, strict=True) for row in pair] == whole
    progress = stream().progress(200)
    share = progress["samples/web"] / (progress["samples/web"] + progress["samples/own"])
    assert share == pytest.approx(0.75, abs=0.05)
    assert progress["epochs/web"] == progress["samples/web"] / 5


def test_a_source_without_a_usable_sample_is_named(source: RecordSource, tmp_path: Path) -> None:
    index = index_samples(source, builder(), DATA, RULE, tmp_path / "index")
    index.tokens[:5] = 0
    with pytest.raises(TrainingError, match="source web: nothing of it can be trained on"):
        PackedStream(
            source,
            index,
            DATA,
            builder(),
            toys.image_tokenizer(),
            Place(batch_size=2, seed=5),
        )
