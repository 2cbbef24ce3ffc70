from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.uniwetok.train.data.conftest import MakeShards
from uniwetok.train import TrainingError
from uniwetok.train.data.config import DataConfig
from uniwetok.train.data.folder import FolderImages
from uniwetok.train.data.opening import open_images
from uniwetok.train.data.schedule import Place
from uniwetok.train.data.source import ImageSource
from uniwetok.train.data.stream import Batch, TrainingImages
from uwt_images.listing import list_files

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def config(**changes: object) -> DataConfig:
    return DataConfig(**{"resolution": 16, "workers": 0} | changes)  # type: ignore[arg-type]


def batches(source: ImageSource, data: DataConfig, steps: int, **where: int) -> list[Batch]:
    settings = {"batch_size": 4, "seed": 5} | where
    return list(itertools.islice(TrainingImages(source, data, Place(**settings)), steps))


def assert_same(left: list[Batch], right: list[Batch]) -> None:
    assert [batch.ids for batch in left] == [batch.ids for batch in right]
    for one, other in zip(left, right, strict=True):
        assert torch.equal(one.images, other.images)
        assert one.unreadable == other.unreadable
        assert (one.labels is None) == (other.labels is None)
        if one.labels is not None and other.labels is not None:
            assert torch.equal(one.labels, other.labels)


def test_a_batch(image_folder: Path) -> None:
    source = open_images(image_folder)
    (batch,) = batches(source, config(), 1)
    assert batch.images.shape == (4, 3, 16, 16)
    assert batch.images.dtype == torch.float32
    # The green channel names the image, its folder the class.
    green = ((batch.images[:, 1, 0, 0] + 1) * 127.5).round().int().tolist()
    assert [f"class_{number % 3}/{number:03d}.png" for number in green] == batch.ids
    assert batch.labels is not None
    assert batch.labels.dtype == torch.int64
    assert batch.labels.tolist() == [number % 3 for number in green]
    assert batch.unreadable == 0


def test_images_become_floats_where_they_are_wanted(image_folder: Path) -> None:
    place = Place(batch_size=4, seed=5)
    stream = TrainingImages(open_images(image_folder), config(), place, device="meta")
    batch = next(iter(stream))
    assert (batch.images.device.type, batch.images.dtype) == ("meta", torch.float32)


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 2])
def test_a_gpu_gets_the_same_images(image_folder: Path, workers: int) -> None:
    source, place = open_images(image_folder), Place(batch_size=4, seed=5)
    here = TrainingImages(source, config(), place)
    there = TrainingImages(source, config(workers=workers), place, device="cuda")
    for one, other in itertools.islice(zip(here, there, strict=True), 20):
        assert other.images.is_cuda
        assert torch.equal(one.images, other.images.cpu())
        assert one.ids == other.ids


def test_no_labels_without_classes(image_folder: Path) -> None:
    (batch,) = batches(open_images(image_folder / "class_0"), config(), 1)
    assert batch.labels is None


@pytest.mark.parametrize("buckets", [(), ((16, 16), (8, 16), (24, 8))])
@pytest.mark.parametrize("kind", ["folder", "shards"])
def test_workers_and_the_starting_step_change_nothing(
    image_folder: Path, make_shards: MakeShards, kind: str, buckets: tuple[tuple[int, int], ...]
) -> None:
    source = open_images(image_folder if kind == "folder" else make_shards(labels=True))
    whole = batches(source, config(buckets=buckets, shuffle_shards=2), 9)
    decoded_aside = config(buckets=buckets, shuffle_shards=2, workers=2)
    assert_same(batches(source, decoded_aside, 9), whole)
    assert_same(batches(source, decoded_aside, 4, start=5), whole[5:])
    assert len({batch.images.shape for batch in whole}) == max(1, len(buckets))


def test_ranks_share_the_batch_of_one_process(image_folder: Path) -> None:
    source = open_images(image_folder)
    alone = batches(source, config(), 6)
    ranks = [batches(source, config(), 6, rank=rank, world=2) for rank in range(2)]
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
        assert [name for part in parts for name in part.ids] == whole.ids


@pytest.mark.parametrize("buckets", [(), ((16, 16), (8, 16))])
def test_an_epoch_uses_every_image_once(
    image_folder: Path, buckets: tuple[tuple[int, int], ...]
) -> None:
    source = open_images(image_folder)
    names: list[str] = []
    streams = [
        iter(
            TrainingImages(
                source, config(buckets=buckets), Place(batch_size=4, seed=1, rank=r, world=2)
            )
        )
        for r in range(2)
    ]
    while len(names) < 30:
        names += [name for stream in streams for name in next(stream).ids]
    for epoch in range(3):
        assert len(set(names[10 * epoch : 10 * (epoch + 1)])) == 10


def test_a_source_smaller_than_a_batch_comes_again(image_folder: Path) -> None:
    (batch,) = batches(open_images(image_folder), config(), 1, batch_size=25)
    assert sorted(Counter(batch.ids).values()) == [2] * 5 + [3] * 5
    # Another epoch is another crop.
    crops = {
        (name, bytes(image.numpy())) for name, image in zip(batch.ids, batch.images, strict=True)
    }
    assert len(crops) > 10


def test_seeds_differ_and_center_crops_repeat(image_folder: Path) -> None:
    source = open_images(image_folder)
    first, second = (batches(source, config(), 1, seed=seed)[0] for seed in (0, 1))
    assert first.ids != second.ids
    (twice,) = batches(source, config(crop="center"), 1, batch_size=20)
    rows = sorted(range(20), key=lambda row: twice.ids[row])
    assert torch.equal(twice.images[rows[::2]], twice.images[rows[1::2]])


@pytest.mark.parametrize("workers", [0, 1])
def test_iterating_leaves_torchs_random_state_alone(image_folder: Path, workers: int) -> None:
    before = torch.get_rng_state()
    batches(open_images(image_folder), config(workers=workers), 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_next_image_stands_in_for_an_unreadable_one(image_folder: Path) -> None:
    source = open_images(image_folder)
    whole = batches(source, config(crop="center"), 5, batch_size=2)
    names = [name for batch in whole for name in batch.ids]
    for name in (names[3], names[4], names[9]):
        (image_folder / name).write_bytes(b"damaged")
    changed = batches(source, config(crop="center"), 5, batch_size=2)
    expected = [*names[:3], names[5], names[5], *names[5:9], names[0]]
    assert [name for batch in changed for name in batch.ids] == expected
    # Reading position 3 fails twice, position 4 once, the last one once.
    assert [batch.unreadable for batch in changed] == [0, 2, 1, 0, 1]
    assert_same(batches(source, config(crop="center", workers=2), 5, batch_size=2), changed)


def test_a_stand_in_is_not_cut_as_in_its_own_place(image_folder: Path) -> None:
    source = open_images(image_folder)
    (whole,) = batches(source, config(), 1, batch_size=10)
    for name in whole.ids[:9]:
        (image_folder / name).write_bytes(b"damaged")
    (changed,) = batches(source, config(), 1, batch_size=10)
    assert changed.ids == [whole.ids[9]] * 10
    assert torch.equal(changed.images[9], whole.images[9])
    assert len({bytes(image.numpy()) for image in changed.images}) > 1


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_unreadable_images_stop_training(image_folder: Path, workers: int) -> None:
    bad = image_folder / "class_1" / "004.png"
    bad.write_bytes(b"damaged")
    source = open_images(image_folder)
    stream = TrainingImages(source, config(workers=workers), Place(batch_size=10, seed=0))
    seen = []
    with pytest.raises(TrainingError, match=r"10 of 110 images .*corrupt_limit=0\.01; first .*004"):
        seen += stream
    tolerant = config(workers=workers, corrupt_limit=0.1)
    assert len(batches(source, tolerant, 20, batch_size=10)) == 20


def test_nothing_readable_stops_training(image_folder: Path) -> None:
    for path in image_folder.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(TrainingError, match=r"10 images in a row .* of 10 in all; first .*class_"):
        batches(open_images(image_folder), config(corrupt_limit=1.0), 1)


def test_a_draft_is_decoded_small_and_looks_the_same(tmp_path: Path) -> None:
    smooth = Image.linear_gradient("L").resize((700, 500))
    Image.merge("RGB", (smooth, smooth.rotate(180), smooth)).save(tmp_path / "a.jpg", quality=95)
    smooth.convert("RGB").save(tmp_path / "b.png")
    source = open_images(tmp_path)
    assert source.read(0).size == (700, 500)
    assert source.read(0, (100, 140)).size == (175, 125), (
        "a quarter, which covers it; an eighth not"
    )
    assert source.read(1, (64, 64)).size == (700, 500), "formats without drafts are decoded whole"
    whole, draft = (
        batches(source, config(draft=draft), 1, batch_size=2)[0] for draft in (False, True)
    )
    assert whole.ids == draft.ids
    jpeg = whole.ids.index("a.jpg")
    assert 0 < (whole.images[jpeg] - draft.images[jpeg]).abs().mean() < 0.02
    assert torch.equal(whole.images[1 - jpeg], draft.images[1 - jpeg])


class Faulty(FolderImages):
    """A source with a bug or a crash in place of an image."""

    def __init__(self, root: Path, fault: str) -> None:
        super().__init__(root, list_files(root))
        self.fault = fault

    def read(self, index: int, covering: tuple[int, int] | None = None) -> Image.Image:
        if self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ZeroDivisionError("a bug")


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_of_workers_are_one_line(image_folder: Path, workers: int) -> None:
    with pytest.raises(TrainingError) as caught:
        batches(Faulty(image_folder, "bug"), config(workers=workers), 1)
    assert str(caught.value) == "the images of step 0 could not be read: ZeroDivisionError: a bug"
    assert "Traceback" in caught.value.__notes__[0]


def test_a_killed_worker_is_one_error(image_folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"decodes images failed .* lower workers=1"):
        batches(Faulty(image_folder, "kill"), config(workers=1), 1)


def test_a_worker_that_dies_is_told_where_its_batch_is_asked_for(image_folder: Path) -> None:
    place = Place(batch_size=4, seed=0)
    stream = iter(TrainingImages(open_images(image_folder), config(workers=1), place))
    next(stream)
    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    time.sleep(1)  # Here a step would be under way.
    # What it had read before may still come.
    with pytest.raises(TrainingError, match=r"decodes images failed .* lower workers=1"):
        list(itertools.islice(stream, 10))


@pytest.mark.parametrize("workers", [1, 2])
def test_where_shared_memory_ends_training_says_so(
    image_folder: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensor: torch.Tensor) -> None:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch>")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(TrainingError, match=r"unable to allocate shared .* lower workers"):
        batches(open_images(image_folder), config(workers=workers), 1)


def test_who_needs_no_more_leaves_no_worker_behind(image_folder: Path) -> None:
    place = Place(batch_size=4, seed=0)
    others = set(multiprocessing.active_children()), set(threading.enumerate())
    stream = iter(TrainingImages(open_images(image_folder), config(workers=1), place))
    next(stream)
    assert set(multiprocessing.active_children()) - others[0]
    del stream
    deadline = time.monotonic() + 30
    while set(threading.enumerate()) - others[1]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not set(multiprocessing.active_children()) - others[0]


def test_a_batch_must_divide(image_folder: Path) -> None:
    with pytest.raises(TrainingError, match="nearest that does: 8 or 12"):
        TrainingImages(open_images(image_folder), config(), Place(batch_size=10, seed=0, world=4))
