from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from benchmarks.metrics import memory
from benchmarks.metrics.rows import BY_REQUEST, ROWS, measure_rows
from benchmarks.metrics.sizes import Sizes
from benchmarks.metrics.table import memory_table, time_table

TINY = Sizes(
    side=64,
    images=1,
    truth_images=1,
    pixel_pairs=2,
    width=64,
    few_features=20,
    streamed=200,
    references=60,
    samples=80,
    logits=100,
    suite_pairs=1,
)


@pytest.fixture
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.usefixtures("_one_thread")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.skipif(torch.cuda.is_available(), reason="sizes are for a CPU")
def test_every_row_is_measured_and_agrees_with_its_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    # A fresh process for every figure would import torch each time.
    monkeypatch.setattr(memory, "peak_growth", lambda work, *sizes: memory._growth(work, sizes))
    rows = [name for name in ROWS if name not in BY_REQUEST]
    times, memories = measure_rows(rows, TINY, "cpu", rounds=1)

    labels = {line.claim.label for line in times}
    assert len(labels) >= len(rows)
    # Precision and recall have a goal at the full size only.
    assert {line.claim.goal for line in times} >= {1.5, 10, 3, 50, 4, 8, 5, 1.6, 1.35, 1.8}
    for line in times:
        assert line.ours > 0
        assert line.ratio == pytest.approx(line.peer / line.ours)
        assert line.ours_off is None or line.ours_off < 1e-6
        # The peers' Fréchet distances of singular covariances are off in the fourth digit.
        assert line.between is None or line.between < 1e-3
    assert len(memories) == 1

    text = time_table(times) + memory_table(memories)
    assert all(label in text for label in labels)
