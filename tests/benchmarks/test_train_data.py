"""The benchmark of training images at a small size."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import train_data

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.mark.parametrize("workers", [0, 1])
def test_rates_and_waits_are_figures(tmp_path: Path, workers: int) -> None:
    train_data.write_photos(tmp_path, images=4, side=300)
    found = train_data.rate(tmp_path, workers, draft=True, steps=2)
    assert min(found) > 0
    assert 0 <= train_data.waited(tmp_path, workers, 0.01, draft=False, steps=2) <= 1
