"""Mixtures hold each source by its weight, from wherever they are begun."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tests.uniwetok.train.data.conftest import MakeShards, png
from uniwetok.train import TrainingError
from uniwetok.train.data.config import DataConfig
from uniwetok.train.data.mixing import MixedOrder
from uniwetok.train.data.mixture import BLOCK, read_weights
from uniwetok.train.data.opening import open_images, open_sources
from uniwetok.train.data.order import EpochOrder
from uniwetok.train.data.places import read_places
from uniwetok.train.data.schedule import Place
from uniwetok.train.data.source import ImageSource
from uniwetok.train.data.stream import Batch, TrainingImages

PARTS = [np.array([7]), np.array([3, 4, 5]), np.array([100])]
MIXTURE = ("a@0.3", "b@0.2", "c@0.5")


def mixed(seed: int = 0) -> MixedOrder:
    return MixedOrder(PARTS, MIXTURE, seed=seed, shuffle_shards=2)


def test_a_block_holds_each_source_by_its_weight() -> None:
    order = mixed()
    assert order.taken(BLOCK).tolist() == [19661, 13107, 32768]
    # And any stretch of it, as draws do: within four deviations.
    taken = np.array(order.taken(5000)) / 5000
    assert np.allclose(taken, [0.3, 0.2, 0.5], atol=4 * 0.5 / 5000**0.5)
    progress = order.progress(BLOCK)
    assert progress["samples/b"] == 13107
    assert progress["epochs/a"] == 19661 / 7


def test_each_source_goes_through_its_own_epochs() -> None:
    order = mixed()
    seen: list[list[int]] = [[], [], []]
    for position in range(400):
        source, place = order.locate(position)
        assert place == len(seen[source]), "no place is left out or taken twice"
        seen[source].append(order.index(position))
    for images, source, first in ((7, 0, 0), (12, 1, 7), (100, 2, 19)):
        whole = sorted(range(first, first + images))
        for epoch in range(len(seen[source]) // images):
            assert sorted(seen[source][epoch * images : (epoch + 1) * images]) == whole


@settings(max_examples=20)
@given(st.integers(0, 3 * BLOCK), st.integers(0, 300))
def test_a_span_is_what_its_positions_are(start: int, length: int) -> None:
    order = mixed(seed=start % 5)
    images, epochs = order.span(start, start + length)
    assert images.tolist() == [order.index(at) for at in range(start, start + length)]
    assert epochs.tolist() == [order.epoch_of(at) for at in range(start, start + length)]


def test_another_source_does_not_move_the_order_of_one() -> None:
    def own(order: MixedOrder, source: int) -> list[int]:
        first = order.firsts[source]
        found = (at for at in itertools.count() if order.locate(at)[0] == source)
        return [order.index(at) - first for at in itertools.islice(found, 30)]

    assert own(mixed(), 2) == own(
        MixedOrder(PARTS[1:], ("b@9", "c@1"), seed=0, shuffle_shards=2), 1
    )
    assert own(mixed(), 2) != own(mixed(seed=1), 2)


@pytest.mark.parametrize("mixture", [(), ("only@0.2",)])
def test_one_source_comes_as_without_a_mixture(mixture: tuple[str, ...]) -> None:
    alone = EpochOrder(PARTS[1], seed=4, shuffle_shards=2)
    order = MixedOrder([PARTS[1]], mixture, seed=4, shuffle_shards=2)
    assert [order.index(at) for at in range(30)] == [alone.index(at) for at in range(30)]
    images, epochs = order.span(5, 29)
    assert images.tolist() == [alone.index(at) for at in range(5, 29)]
    assert epochs.tolist() == [at // 12 for at in range(5, 29)]


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        (("a",), "write NAME@WEIGHT"),
        (("a@1", "a@2"), "a is given twice"),
        (("a@0", "b@1"), "source a: weight 0 is not positive"),
        (("a@-1",), "not positive"),
        (("a@nan",), "not positive"),
        (("a@inf",), "sum to inf"),
        (("a@1e308", "b@1e308"), "mixture: the weights sum to inf, which is too much; lower them"),
        (("a@1e308", "b@1"), r"sum to 1e\+308"),
        (("a@1", "b@1e-6"), "less than one of 65,536"),
    ],
)
def test_impossible_weights_are_refused(mixture: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_weights(mixture)
    with pytest.raises(ValueError, match=message):
        DataConfig(mixture=mixture)


@pytest.fixture
def sources(tmp_path: Path, image_folder: Path, make_shards: MakeShards) -> ImageSource:
    """Ten images in a folder, fifteen in shards."""
    return open_sources(read_places([f"few={image_folder}@0.7", f"many={make_shards()}@0.3"]))


def config(**settings: int) -> DataConfig:
    settings = {"resolution": 16, "workers": 0, **settings}
    return DataConfig(mixture=("few@0.7", "many@0.3"), **settings)


def batches(source: ImageSource, data: DataConfig, steps: int, **place: int) -> list[Batch]:
    stream = TrainingImages(source, data, Place(**{"batch_size": 12, "seed": 5, **place}))
    return list(itertools.islice(stream, steps))


def test_the_stream_is_the_same_however_it_is_read(sources: ImageSource) -> None:
    whole = batches(sources, config(), 6)
    for resumed in (
        batches(sources, config(workers=2), 4, start=2),
        [
            Batch(
                *(np.concatenate([half.images.numpy() for half in halves]),),
                [name for half in halves for name in half.ids],
                None,
                0,
            )
            for halves in zip(
                *(batches(sources, config(), 4, start=2, rank=rank, world=2) for rank in (0, 1)),
                strict=True,
            )
        ],
    ):
        for batch, expected in zip(resumed, whole[2:], strict=True):
            assert batch.ids == expected.ids
            assert np.array_equal(np.asarray(batch.images), expected.images.numpy())


def test_progress_counts_what_was_read(sources: ImageSource) -> None:
    stream = TrainingImages(sources, config(), Place(batch_size=12, seed=5))
    read = Counter(name.partition("/")[0] for b in itertools.islice(stream, 9) for name in b.ids)
    progress = stream.progress(9)
    assert {name: progress[f"samples/{name}"] for name in read} == read
    assert progress["epochs/few"] == read["few"] / 10
    assert progress["epoch"] == 9 * 12 / 25


def test_the_next_image_of_the_same_source_stands_in(image_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for number in range(4):
        (other / f"{number}.png").write_bytes(png(number) if number else b"torn")
    source = open_sources(read_places([f"few={other}@0.7", f"many={image_folder}@0.3"]))
    read = batches(source, DataConfig(resolution=16, workers=0, mixture=("few@7", "many@3")), 4)
    names = [name for batch in read for name in batch.ids]
    assert not {"few/0.png"} & set(names)
    assert sum(batch.unreadable for batch in read) > 3
    assert 0.5 < sum(name.startswith("few/") for name in names) / len(names) < 0.9


def test_classes_of_one_name_are_one(tmp_path: Path) -> None:
    for place in ("x/cat", "x/dog", "y/bird", "y/dog"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "0.png").write_bytes(png(1))
    source = open_sources(read_places([f"x={tmp_path / 'x'}@1", f"y={tmp_path / 'y'}@1"]))
    labels = {source.id(index): source.label(index) for index in range(4)}
    assert labels == {"x/cat/0.png": 1, "x/dog/0.png": 2, "y/bird/0.png": 0, "y/dog/0.png": 2}


def test_an_empty_source_is_named(image_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match=r"source few: .*empty holds no image"):
        open_sources(read_places([f"few={tmp_path / 'empty'}@1", f"many={image_folder}@1"]))
    with pytest.raises(TrainingError, match="does not exist"):
        open_images(tmp_path / "none")
    with pytest.raises(TrainingError, match="source a: nothing of it"):
        MixedOrder([np.array([0]), np.array([3])], ("a@1", "b@1"), seed=0)
