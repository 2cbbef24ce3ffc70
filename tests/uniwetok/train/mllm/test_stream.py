"""Rows of sequences: lengths are known before, and no place, cache or worker changes a row."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from tests.damage import flips
from tests.uniwetok.mllm import toys
from tests.uniwetok.train.mllm.tiny import (
    RULE,
    builder,
    records,
    write_data,
    write_images,
    write_lines,
)
from uniwetok.mllm.layout import NO_TARGET
from uniwetok.train import TrainingError
from uniwetok.train.data.schedule import Place
from uniwetok.train.mllm.config import SequenceData
from uniwetok.train.mllm.data.codes import build_image_codes
from uniwetok.train.mllm.data.index import SampleIndex, _kept, index_samples
from uniwetok.train.mllm.data.layout import Draws, most_tokens, segments
from uniwetok.train.mllm.data.opening import open_records
from uniwetok.train.mllm.data.records import parse_record
from uniwetok.train.mllm.data.source import RecordSource
from uniwetok.train.mllm.data.stream import PackedRows, PackedStream

DATA = SequenceData(row_tokens=160, image_area=128 * 128, workers=0, describe_share=0.3)


def opened(path: Path, config: SequenceData = DATA) -> tuple[RecordSource, SampleIndex]:
    source = open_records(path)
    return source, index_samples(source, builder(), config, RULE, path.parent / "index")


def rows(path: Path, count: int, config: SequenceData = DATA, **place: int) -> Iterator[PackedRows]:
    source, index = opened(path, config)
    where = Place(**{"batch_size": 2, "seed": 5} | place)
    images = toys.image_tokenizer()
    return itertools.islice(PackedStream(source, index, config, builder(), images, where), count)


def flat(steps: Iterator[PackedRows]) -> list[list[int]]:
    return [row.batch.ids[0].tolist() for step in steps for row in step.rows]


def test_lengths_are_those_of_the_sequences(tmp_path: Path) -> None:
    for value in records(write_images(tmp_path)):
        record = parse_record(value)
        grids = [(2 + number, 3) for number in range(len(record.pictures))]
        codes = [toys.codes(*grid) for grid in grids]
        lengths = [
            len(builder().build(segments(record, codes, draws)))
            for draws in (Draws(), Draws(describe=True))
        ]
        assert most_tokens(record, grids, builder(), describes=True) == max(lengths)
        assert most_tokens(record, grids, builder(), describes=False) == lengths[0]


def test_what_is_drawn_changes_the_layout(tmp_path: Path) -> None:
    values = records(write_images(tmp_path))
    caption, edit = parse_record(values[0]), parse_record(values[5])
    codes = [toys.codes(2, 2, seed) for seed in range(3)]
    lay = builder()

    def said(record: object, draws: Draws) -> str:
        return str(lay.tokenizer.decode(lay.build(segments(record, codes, draws)).ids))  # type: ignore[arg-type]

    assert "A red square" in said(caption, Draws())
    assert "A red square" not in said(caption, Draws(drop_text=True))
    assert said(edit, Draws()).count("<|vision_start|>") == 3
    assert said(edit, Draws(drop_sources=True)).count("<|vision_start|>") == 1
    assert "Join" not in said(edit, Draws(drop_text=True))
    described = lay.build(segments(caption, codes, Draws(describe=True)))
    assert not described.generated.any()
    assert (described.text_targets != NO_TARGET).any()


def test_shares_are_drawn_as_often_as_asked() -> None:
    config = SequenceData(condition_dropout=0.1, source_dropout=0.2, describe_share=0.3)
    draws = [Draws.at(config, 0, 0, index) for index in range(2000)]
    for name, share in (("drop_text", 0.1), ("drop_sources", 0.2), ("describe", 0.3)):
        assert sum(getattr(draw, name) for draw in draws) / 2000 == pytest.approx(share, abs=0.03)
    assert draws[7] == Draws.at(config, 0, 0, 7)


def test_processes_and_later_starts_see_the_same_rows(tmp_path: Path) -> None:
    path = write_data(tmp_path)
    whole = flat(rows(path, 6))
    assert flat(rows(path, 3, start=3)) == whole[6:]
    halves = [flat(rows(path, 6, rank=rank, world=2)) for rank in (0, 1)]
    assert [row for pair in zip(*halves, strict=True) for row in pair] == whole
    with_workers = dataclasses.replace(DATA, workers=1)
    assert flat(rows(path, 6, with_workers)) == whole
    assert flat(rows(path, 1, seed=6)) != whole[:2]
    assert all(len(row) <= 160 for row in whole)


def test_cached_codes_are_those_encoded_on_the_way(tmp_path: Path) -> None:
    path = write_data(tmp_path)
    source, index = opened(path)
    tokenizer = toys.image_tokenizer()
    folder = tmp_path / "codes"
    folder.mkdir()
    cache = build_image_codes(folder, source, index, tokenizer, Accelerator(cpu=True), DATA)
    stream = PackedStream(source, index, DATA, builder(), cache, Place(batch_size=2, seed=5))
    for cached, fresh in zip(itertools.islice(stream, 6), rows(path, 6), strict=True):
        for one, other in zip(cached.rows, fresh.rows, strict=True):
            assert torch.equal(one.batch.codes, other.batch.codes)
            assert torch.equal(one.batch.ids, other.batch.ids)
            assert one.batch.codes.numel()
    # What is there is not made again, and not mixed with another tokenizer's.
    done: list[tuple[int, int]] = []
    report = lambda *at: done.append(at)  # noqa: E731
    build_image_codes(folder, source, index, tokenizer, Accelerator(cpu=True), DATA, report)
    assert not done
    with torch.no_grad():
        tokenizer.encoder.conv_out.bias.add_(1)
    with pytest.raises(TrainingError, match="another tokenizer"):
        build_image_codes(folder, source, index, tokenizer, Accelerator(cpu=True), DATA)


@pytest.mark.usefixtures("old_files")
def test_the_index_is_kept_until_the_data_change(tmp_path: Path) -> None:
    path = write_data(tmp_path)
    calls: list[int] = []

    def look() -> SampleIndex:
        source = open_records(path)
        return index_samples(
            source, builder(), DATA, RULE, tmp_path / "index", lambda done, _: calls.append(done)
        )

    first, again = look(), look()
    assert calls == [8]
    assert (first.tokens == again.tokens).all()
    assert first.image_sizes(5) == again.image_sizes(5)
    Image.new("RGB", (64, 64)).save(tmp_path / "images" / "1.png")
    assert look().image_sizes(5) != first.image_sizes(5)
    write_lines(path, records(write_images(tmp_path))[:3])
    assert len(look()) == 3


def test_the_index_of_files_just_written_is_not_trusted(tmp_path: Path) -> None:
    assert opened(write_data(tmp_path))[1].stamp == ""


def test_a_flipped_bit_of_the_index_is_found(tmp_path: Path) -> None:
    _, index = opened(write_data(tmp_path))
    file, found = tmp_path / "index" / "samples.index", 0
    for _ in flips(file, 500):
        kept = _kept(file)
        if kept is None:
            found += 1
            continue
        for name, value in vars(index).items():
            assert np.array_equal(getattr(kept, name), value), name
    assert found > 300


def test_long_samples_are_left_out_or_refused(tmp_path: Path) -> None:
    path = write_data(tmp_path)
    _, index = opened(path)
    limit = sorted(index.tokens.tolist())[-2]
    usable, notices = index.usable(dataclasses.replace(DATA, row_tokens=limit))
    assert len(usable) == 7
    assert notices == [
        f"1 of 8 samples are longer than the limit of data.row_tokens={limit} (the longest has "
        f"{index.tokens.max()}) and are left out"
    ]
    refusing = dataclasses.replace(DATA, row_tokens=limit, over_long="refuse")
    with pytest.raises(TrainingError, match=f"the limit of data.row_tokens={limit}"):
        index.usable(refusing)
    with pytest.raises(TrainingError, match="no sample can be used: 8 of 8"):
        index.usable(dataclasses.replace(DATA, row_tokens=16))


def test_malformed_and_unwanted_records_are_refused(tmp_path: Path) -> None:
    values = records(write_images(tmp_path))
    path = write_lines(tmp_path / "data.jsonl", [values[0], {"kind": "chat"}, {"kind": "edit"}])
    with pytest.raises(TrainingError, match=r"data.jsonl:2: messages: .*\(2 of 3 records"):
        opened(path)
    path = write_lines(tmp_path / "data.jsonl", values)
    captions = dataclasses.replace(DATA, kinds=("text-image",))
    with pytest.raises(TrainingError, match=r"data\.jsonl:3: kind: 'interleaved' is not"):
        opened(path, captions)


def test_unreadable_images_are_counted(tmp_path: Path) -> None:
    path = write_data(tmp_path)
    (tmp_path / "images" / "3.png").unlink()
    source, index = opened(path)
    usable, notices = index.usable(DATA)
    assert len(usable) == 7
    assert "1 of 8 samples have unreadable images" in notices[0]
    # An image that breaks after it was looked at.
    (tmp_path / "images" / "1.png").write_bytes(b"x" * 100)
    tolerant = dataclasses.replace(DATA, corrupt_limit=1.0, row_tokens=400)
    place, images = Place(batch_size=1, seed=5), toys.image_tokenizer()
    stream = PackedStream(source, index, tolerant, builder(), images, place)
    steps = list(itertools.islice(stream, 2))
    assert sum(step.unreadable for step in steps) > 0
    strict = dataclasses.replace(stream, config=dataclasses.replace(tolerant, corrupt_limit=0.0))
    with pytest.raises(TrainingError, match=r"data\.corrupt_limit=0\.0; last"):
        list(itertools.islice(strict, 8))
