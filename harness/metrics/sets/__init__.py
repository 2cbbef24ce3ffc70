"""Metrics of two sets of features (FID, sFID, KID, precision and recall) or of logits (IS).

Pure functions from matrices to `MetricValue`, each with a 95% interval and how it was made. What
the data themselves forbid (too few rows, a reference without features) raises `Unavailable`; what
the caller got wrong (shapes, values that are not finite) raises `ValueError`.
"""

from harness.metrics.sets.feature_set import FeatureSet, nonfinite_row
from harness.metrics.sets.frechet import fid
from harness.metrics.sets.inception_score import inception_score
from harness.metrics.sets.kid import kid
from harness.metrics.sets.precision_recall import precision_recall

__all__ = ["FeatureSet", "fid", "inception_score", "kid", "nonfinite_row", "precision_recall"]
