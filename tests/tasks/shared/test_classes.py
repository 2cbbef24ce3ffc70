"""Classes of size: which a size belongs to, and what they are called."""

from __future__ import annotations

import pandas as pd
import pytest

from harness.interfaces import Observations
from harness.interfaces.errors import Unavailable
from harness.interfaces.registry import METRICS
from harness.metrics.scores import ShareOfSums
from tasks.faces.task import FACE_SIMILARITY_40_56, SIZES
from tasks.shared.classes import SizeClasses
from tasks.text.task import CER_0_12, CER_34_UP, HEIGHTS

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


@pytest.mark.parametrize(
    ("metrics", "columns", "reason"),
    [
        (
            (CER_0_12, CER_34_UP),
            ("edits_0_12", "characters_0_12", "edits_34_up", "characters_34_up"),
            "not applicable: no line of that height",
        ),
        (
            (FACE_SIMILARITY_40_56,),
            ("face_similarity_40_56", "faces_40_56"),
            "not applicable: no face of that size",
        ),
    ],
)
def test_classes_without_anything_give_one_reason_in_words(
    metrics: tuple[ShareOfSums, ...], columns: tuple[str, ...], reason: str
) -> None:
    observed = Observations(samples=pd.DataFrame({name: [0.0, 0.0] for name in columns}))
    for metric in metrics:
        with pytest.raises(Unavailable) as raised:
            metric.score(observed, {})
        assert raised.value.status == reason
