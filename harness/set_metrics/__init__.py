"""Metrics of two sets of features (FID, sFID, KID, precision and recall) or of logits (IS).

Pure functions from matrices to `MetricValue`, each with a 95% interval and how it was made. What
the data themselves forbid (too few rows, a reference without features) raises `Unavailable`; what
the caller got wrong (shapes, values that are not finite) raises `ValueError`.
"""

from harness.set_metrics.feature_set import FeatureSet, nonfinite_row
from harness.set_metrics.frechet import fid
from harness.set_metrics.inception_score import inception_score
from harness.set_metrics.kid import kid
from harness.set_metrics.precision_recall import precision_recall

__all__ = ["FeatureSet", "fid", "inception_score", "kid", "nonfinite_row", "precision_recall"]
