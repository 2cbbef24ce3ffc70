"""Sets pass a device in lanes that overlap: rows in order, bounded memory, stopped at once."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from harness.interfaces import Columns, ImagePairs
from harness.interfaces.errors import DecodeError, UserError
from harness.metrics import feature_cache
from harness.metrics.extractors import FeatureExtractor
from harness.sets import observe
from harness.sets.observe import BLOCK, observe_pairs, observe_set

DEVICE = "paced"
PATIENCE = 60


class Numbers:
    """Images that show their number; one cannot be read."""

    class_sorted = False

    def __init__(self, count: int, *, broken: int = -1, label: str = "numbers") -> None:
        self.label = label
        self.digest = f"{label} {count} {broken}"
        self.ids: Sequence[str] = [f"{number:04}" for number in range(count)]
        self.broken = broken
        self.loaded: list[int] = []
        self.seen = threading.Condition()

    def load(self, index: int) -> np.ndarray:
        with self.seen:
            self.loaded.append(index)
            self.seen.notify_all()
        if index == self.broken:
            raise DecodeError("broken")
        return np.full((4, 5 + index // 3 % 2, 3), index % 256, np.uint8)

    def wait_for(self, count: int) -> bool:
        """Wait until so many images were asked for."""
        with self.seen:
            return self.seen.wait_for(lambda: len(self.loaded) >= count, PATIENCE)


class MeanLevel:
    """The device's network: what it is asked meanwhile is counted."""

    scaling = "byte"

    def __init__(self, images: Numbers | None = None) -> None:
        self._images = images
        self._alone = threading.Lock()

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        return images.double().mean((1, 2, 3), keepdim=True)

    def extract(self, prepared: torch.Tensor) -> Mapping[str, torch.Tensor]:
        assert self._alone.acquire(blocking=False), "two lanes had the device"
        try:
            if self._images is not None:
                assert self._images.wait_for(2 * BLOCK), "nothing is read beside the network"
            return {"level": prepared.flatten(1).float()}
        finally:
            self._alone.release()


class Level(FeatureExtractor):
    """The mean level of an image."""

    output = "level"
    identity = {"version": 1}  # noqa: RUF012
    network: MeanLevel

    def build(self) -> Any:
        return self.network


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of one core beside the device."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(feature_cache, "_machine", lambda device: {"device": device})


def level(network: MeanLevel) -> Level:
    kind = type("Level", (Level,), {"network": network, "__module__": __name__})
    extractor: Level = kind({}, DEVICE)
    return extractor


def test_images_are_read_while_the_device_works() -> None:
    images = Numbers(4 * BLOCK, broken=BLOCK + 1)
    found = observe_set(images, [level(MeanLevel(images))], DEVICE)
    expected = [number for number in range(4 * BLOCK) if number != BLOCK + 1]
    assert found.ids == [images.ids[number] for number in expected]
    assert found.outputs["level"][:, 0].tolist() == expected
    assert dict(found.failures) == {images.ids[BLOCK + 1]: "broken"}


def test_a_gpu_prepares_neighbours_of_one_size_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    images = Numbers(8)
    loaded = [images.load(index) for index in range(8)]
    alone = list(observe._inputs(loaded, "unit", "cpu"))
    assert [len(part) for part in alone] == [1] * 8
    together = list(observe._inputs(loaded, "unit", "cuda"))
    assert [len(part) for part in together] == [3, 3, 2]
    assert all(map(torch.equal, alone, [image for part in together for image in part.split(1)]))
    monkeypatch.setattr(observe, "_PIXELS_TOGETHER", 2 * 4 * 6)
    assert [len(part) for part in observe._inputs(loaded, "byte", "cuda")] == [2, 1, 2, 1, 2]


def test_a_second_pass_reads_nothing_but_what_failed() -> None:
    images = Numbers(3 * BLOCK, broken=5)
    first = observe_set(images, [level(MeanLevel())], DEVICE)
    images.loaded.clear()
    second = observe_set(images, [level(MeanLevel())], DEVICE)
    assert images.loaded == [5]
    np.testing.assert_array_equal(first.outputs["level"], second.outputs["level"])


class Difference:
    """The difference of a pair's levels."""

    identity: Mapping[str, Any] = {"version": 1}

    def observe(self, pairs: ImagePairs) -> Columns:
        difference = pairs.reconstruction_uint8.astype(float) - pairs.reference_uint8
        return {"difference": difference.mean((1, 2, 3)), "level": _levels(pairs)}


def _levels(pairs: ImagePairs) -> np.ndarray:
    return pairs.reference_uint8.mean((1, 2, 3))


def test_pairs_keep_the_order_of_the_reference() -> None:
    images, others = Numbers(50), Numbers(50, broken=7, label="others")
    rows, failures = observe_pairs(images, others, {"difference": Difference()}, DEVICE)
    expected = [number for number in range(50) if number != 7]
    assert rows["level"].tolist() == expected
    assert rows["id"].tolist() == [images.ids[number] for number in expected]
    assert failures == {"others/0007": "broken"}


def test_what_stops_one_lane_stops_the_reading() -> None:
    class Broken(MeanLevel):
        def extract(self, prepared: torch.Tensor) -> Mapping[str, torch.Tensor]:
            return {"level": torch.full((len(prepared), 1), torch.nan)}

    images = Numbers(100 * BLOCK)
    with pytest.raises(UserError, match="features of image '0000' are not finite"):
        observe_set(images, [level(Broken())], DEVICE)
    assert len(images.loaded) < 20 * BLOCK


def test_an_interrupt_between_two_results_drops_what_waits() -> None:
    images = Numbers(100 * BLOCK)

    def interrupt(done: int, count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        observe_set(images, [level(MeanLevel())], DEVICE, interrupt)
    assert len(images.loaded) < 20 * BLOCK


def test_few_blocks_are_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[range] = []
    most = 0

    def work(block: range) -> int:
        begun.append(block)
        return block.start

    def on_progress(done: int, count: int) -> None:
        nonlocal most
        most = max(most, len(begun) - done // 10)

    results = observe.in_lanes(work, 1000, 10, DEVICE, on_progress)
    assert results == list(range(0, 1000, 10))
    assert most <= 8 + 2
