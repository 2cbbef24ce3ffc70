"""From embeddings to ranks of the true class, and from ranks to accuracies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.interfaces import Columns, Label, Observations
from harness.interfaces.errors import Unavailable, UserError
from harness.interfaces.observing import Once
from harness.interfaces.types import MetricValue
from tasks.zeroshot.order import UNPROVEN, better_order

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class LabelledEmbeddings:
    """Embeddings of images and their classes."""

    embeddings: Mapping[str, NDArray[np.float32]]
    """(B, width) by head."""
    labels: NDArray[np.int64]
    """(B,), indices into the protocol's classes."""


class ClassRanks:
    """Rank of the true class among all classes, 0 being best, and the class put first, by head.

    Args:
        settings: The protocol's settings.
        device: Where a text tower runs.

    Raises:
        Unavailable: The class vectors' weights are missing.
    """

    concurrent = True

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        if "classifier" not in settings:
            raise Unavailable("the protocol has no classifier", kind="not applicable")
        # A table that only prints top-1's label needs no reader of weights.
        from tasks.zeroshot.classifier import find_vectors
        from tasks.zeroshot.protocol import ZeroShotSettings

        source = find_vectors(ZeroShotSettings.of(settings).classifier, device)
        self._vectors = Once(source.read)
        self.identity = {"version": 2, "vectors": dict(source.identity)}
        """What the class vectors depend on beside the protocol."""

    def observe(self, pairs: LabelledEmbeddings) -> Columns:
        """Columns `rank_HEAD` and `predicted_HEAD` for each head, and `label`, int64 (B,)."""
        columns = {"label": pairs.labels}
        for head, rows in pairs.embeddings.items():
            scores = self._scores(rows)
            columns[f"rank_{head}"] = label_ranks(scores, pairs.labels)
            columns[f"predicted_{head}"] = scores.argmax(axis=1)
        return columns

    def _scores(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        vectors = self._vectors()
        if embeddings.shape[1] != vectors.shape[1]:
            raise UserError(
                f"the model's embeddings have {embeddings.shape[1]} numbers and the protocol's "
                f"class vectors {vectors.shape[1]}: give the --protocol of the model's teacher"
            )
        rows = embeddings.astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
        # One by one: a matrix product's last bits depend on how many rows it has.
        return np.stack([vectors @ row for row in rows])


def label_ranks(
    scores: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]
) -> NDArray[np.int64]:
    """Rank of each sample's true class, 0 being best.

    Among equal scores the class with the lower index comes first:
    rank = #{score > true} + #{score = true and index < label}.

    Args:
        scores: float32 or float64 (N, classes), higher is better.
        labels: integers (N,) in [0, classes).

    Returns:
        int64 (N,) in [0, classes).

    Raises:
        ValueError: bad scores (see `check_rows`), or labels of another length or out of range.
    """
    from harness.metrics.checks import check_rows

    check_rows(scores, "scores")
    count, classes = scores.shape
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels are {labels.dtype} {labels.shape} for {count} score rows; give one integer "
            "label for each row"
        )
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(
            f"label {labels[row]} of row {row} is outside [0, {classes}); check the class list"
        )
    true = np.take_along_axis(scores, labels[:, None].astype(np.int64), axis=1)
    ahead = (scores == true) & (np.arange(classes) < labels[:, None])
    ranks: NDArray[np.int64] = ((scores > true) | ahead).sum(axis=1)
    return ranks


class TopK:
    """Share of images whose true class is among the first k.

    Args:
        k: At least 1.
        head: Which of the model's heads.
    """

    needs: tuple[str, ...] = ("class_ranks",)
    higher_is_better: bool | None = True

    def __init__(self, k: int, head: str) -> None:
        title = f"Top-{k}" if head == "post" else f"Top-{k} {head}"
        first = "the first" if k == 1 else f"among the first {k}"
        about = f"Share of images whose true class is {first}, by the {head} head."
        self.label = Label(title, 2, percent=True, about=about)
        self.k = k
        self.head = head

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The accuracy in [0, 1] with Wilson's interval."""
        del settings
        from harness.metrics.stats import wilson

        rows = observations.samples
        if len(rows) == 0:
            raise Unavailable("no sample was observed")
        if f"rank_{self.head}" not in rows:
            raise Unavailable(f"the model has no {self.head} head", kind="not applicable")
        if UNPROVEN in observations.notice:
            _check_order(rows)
        ranks = rows[f"rank_{self.head}"].to_numpy(np.int64)
        right = ranks < self.k
        return wilson(int(right.sum()), len(ranks)).around(float(right.mean()), len(ranks))

    def of_samples(
        self, samples: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """1 for each image whose true class is among the first k, else 0; equal weights."""
        del settings
        right = samples[f"rank_{self.head}"] < self.k
        return right.astype(np.float64), np.ones(len(right))


def _check_order(rows: pd.DataFrame) -> None:
    """Raise `Unavailable` where a head's predictions fit another order of the classes far better.

    Rows of an earlier version hold no predictions, and nothing is said of them.
    """
    for column in rows:
        if str(column).startswith("predicted_"):
            found = better_order(
                rows["id"].tolist(), *(rows[name].to_numpy(np.int64) for name in ("label", column))
            )
            if found:
                told, other = found
                raise Unavailable(
                    f"labels in a wrong order of classes: predictions agree with {told:.1%} of "
                    f"them, and with {other:.1%} in another order; say what the numbers mean: as "
                    "WordNet ids in the column 'label', or as class_label names in a README.md"
                )


TOP1, TOP5, TOP10 = (TopK(k, "post") for k in (1, 5, 10))
TOP1_PRE, TOP5_PRE, TOP10_PRE = (TopK(k, "pre") for k in (1, 5, 10))
