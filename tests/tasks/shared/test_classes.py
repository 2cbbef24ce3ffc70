"""Classes of size: which a size belongs to, and what they are called."""

from __future__ import annotations

import pytest

from harness.interfaces.registry import METRICS
from tasks.faces.task import SIZES
from tasks.shared.classes import SizeClasses
from tasks.text.task import HEIGHTS

CLASSES = SizeClasses((0, 12, 16))


@pytest.mark.parametrize(
    ("size", "name"), [(0, "0_12"), (11.9, "0_12"), (12, "12_16"), (16, "16_up"), (999, "16_up")]
)
def test_a_class_begins_at_its_edge(size: float, name: str) -> None:
    assert CLASSES.name_of(size) == name


def test_titles_and_columns() -> None:
    assert list(CLASSES.titles().values()) == ["<12 px", "12-16 px", "16+ px"]
    assert CLASSES.columns("lines") == ["lines", "lines_0_12", "lines_12_16", "lines_16_up"]


def test_every_class_has_its_metric() -> None:
    names = {f"cer_{name}" for name in HEIGHTS.names()}
    names |= {f"face_similarity_{name}" for name in SIZES.names()}
    assert names <= set(METRICS.names())
