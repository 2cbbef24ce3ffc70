"""Ranks and accuracies against values worked out by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.interfaces import Observations
from harness.interfaces.errors import Unavailable, UserError
from tasks.zeroshot.scores import TOP1, TOP1_PRE, TOP5, ClassRanks, LabelledEmbeddings

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden" / "zeroshot.json"


def ranks_of(tmp_path: Path, vectors: np.ndarray, rows: np.ndarray, labels: list[int]) -> Any:
    path = tmp_path / "vectors.npz"
    np.savez(path, vectors=vectors, folders=np.array([f"class {i}" for i in range(len(vectors))]))
    classifier = {
        "source": "file",
        "space": "tiny",
        "path": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    settings = {
        "decode": {"exif": "ignore", "alpha": "drop", "sixteen_bit": "clip"},
        "geometry": {},
        "logits": "float64",
        "ties": "lower-index",
        "classifier": classifier,
    }
    pairs = LabelledEmbeddings({"post": rows.astype(np.float32)}, np.array(labels))
    return ClassRanks(settings, "cpu").observe(pairs)["rank_post"].tolist()


def test_equal_scores_rank_by_index(tmp_path: Path) -> None:
    """Class names that occur twice (missile, sunglasses) have equal vectors."""
    vectors = np.array([[1.0, 0], [0, 1], [1, 0], [0, -1]])
    rows = np.array([[2.0, 0]] * 4)
    assert ranks_of(tmp_path, vectors, rows, [0, 1, 2, 3]) == [0, 2, 1, 3]


def test_length_of_an_embedding_does_not_matter_and_zero_ties_all(tmp_path: Path) -> None:
    vectors = np.array([[1.0, 0], [0, 1], [0.6, 0.8]])
    rows = np.array([[0.1, 0.9], [100, 900], [0, 0]])
    assert ranks_of(tmp_path, vectors, rows, [2, 2, 2]) == [1, 1, 2]


def test_another_width_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"have 3 numbers and the protocol's class vectors 2"):
        ranks_of(tmp_path, np.eye(2), np.ones((1, 3)), [0])


@pytest.mark.skipif(not GOLDEN.is_file(), reason="the golden values are not at hand")
@pytest.mark.parametrize("templates", ["openai80", "simple7"])
def test_golden_classifier(templates: str, tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))["sets"][templates]
    vectors, images = (np.array(golden[name]) for name in ("classifier", "images"))
    ranks = np.array(ranks_of(tmp_path, vectors, images, golden["labels"]))
    for row, label, rank in zip(golden["top3"], golden["labels"], ranks, strict=True):
        assert (row.index(label) if label in row else 3) == min(rank, 3)
    assert (ranks < 1).mean() == golden["top1_acc"]
    assert (ranks < 3).mean() == golden["top3_acc"]


def observed(**columns: list[int]) -> Observations:
    return Observations(pd.DataFrame(columns))


def test_accuracies_and_wilsons_interval() -> None:
    observations = observed(rank_post=[0, 0, 3, 4, 5, 0, 0, 9])
    top1, top5 = (metric.score(observations, {}) for metric in (TOP1, TOP5))
    assert (top1.value, top5.value, top1.n) == (0.5, 0.75, 8)
    # (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), z = 1.959964, p = 1/2, n = 8
    assert top1.ci_low == pytest.approx(0.215217, abs=1e-6)
    assert top1.ci_high == pytest.approx(0.784783, abs=1e-6)


def test_what_was_not_observed_has_no_accuracy() -> None:
    with pytest.raises(Unavailable, match="no pre head"):
        TOP1_PRE.score(observed(rank_post=[0]), {})
    with pytest.raises(Unavailable, match="no sample"):
        TOP1.score(observed(rank_post=[]), {})


def test_protocol_of_another_task_has_no_classifier() -> None:
    with pytest.raises(Unavailable, match="no classifier"):
        ClassRanks({"ssim": {}}, "cpu")
