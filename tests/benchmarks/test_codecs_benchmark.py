"""The bisection that the search is measured beside keeps the budget and finds a like file."""

from __future__ import annotations

import io

from PIL import Image

from benchmarks.codecs import _row, bisected
from harness.baselines.codecs import Jpeg
from tasks.shared.sample_set import SampleSet


def test_both_ways_keep_the_budget_and_are_counted() -> None:
    source = SampleSet()
    images = [Image.open(io.BytesIO(source.read(name))).convert("RGB") for name in source.ids()[:2]]
    assert 0 < len(bisected(Jpeg(2048), images[0])) <= 2048
    name, files, _, searched, sketches, *_ = _row(Jpeg(2048), images)
    assert name == "jpeg:2048"
    assert float(files) > 5
    assert float(searched) > 1
    assert float(sketches) == 0
