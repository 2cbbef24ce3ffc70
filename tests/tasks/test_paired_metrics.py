"""Metrics that say what a sample gives: their weighted mean is the metric itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.interfaces import ClusteredMetric, Observations, SampleMetric
from harness.interfaces.registry import METRICS

GENEVAL = ("single_object", "color_attribution", "geneval_overall")
DPG = ("dpg_overall", "entity", "other")
GEDIT = ("semantics", "quality", "gedit_overall", "semantics_intersection")
TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")


def geneval_rows(draws: np.random.Generator) -> pd.DataFrame:
    counts = (3, 5, 4, 6, 2, 7)
    tags = [tag for tag, count in zip(TAGS, counts, strict=True) for _ in range(4 * count)]
    ids = [f"prompt-{index // 4:05d}/{index % 4:04d}" for index in range(len(tags))]
    return pd.DataFrame({"id": ids, "tag": tags, "correct": draws.integers(0, 2, len(ids))})


def dpg_rows(draws: np.random.Generator) -> pd.DataFrame:
    ids = [f"p{index // 4}/{index % 4:04d}" for index in range(78)]
    rows = pd.DataFrame({"id": ids, "dpg": draws.random(78)})
    for name in ("global", "entity", "attribute", "relation", "other"):
        rows[f"{name}_asked"] = draws.integers(0, 4, 78)
        rows[f"{name}_yes"] = draws.integers(0, rows[f"{name}_asked"].to_numpy() + 1)
    rows.loc[9, "dpg"] = np.nan
    return rows


def gedit_rows(draws: np.random.Generator) -> pd.DataFrame:
    groups = draws.choice(["color_alter", "text_change", "ps_human"], 60, p=[0.6, 0.3, 0.1])
    rows = pd.DataFrame({"id": [f"g/{index}" for index in range(60)], "group": groups})
    for name in ("sc", "pq", "overall"):
        rows[name] = draws.uniform(0, 10, 60)
    rows["intersection"] = draws.integers(0, 2, 60)
    return rows


def text_rows(draws: np.random.Generator) -> pd.DataFrame:
    rows = pd.DataFrame({"id": [f"page-{index}" for index in range(40)]})
    rows["characters"] = draws.integers(0, 30, 40)
    rows["edits"] = draws.integers(0, 30, 40) * (rows["characters"] > 0)
    return rows


CASES = [
    *((name, text_rows) for name in ("cer", "cer_mean")),
    *((name, geneval_rows) for name in GENEVAL),
    *((name, dpg_rows) for name in DPG),
    *((name, gedit_rows) for name in GEDIT),
]


@pytest.mark.parametrize(("name", "make"), CASES, ids=[name for name, _ in CASES])
def test_weighted_mean_of_samples_is_the_metric(name: str, make: Any) -> None:
    rows = make(np.random.default_rng(3))
    judgings = {
        f"{score}_judgings": rows[[score]].to_numpy() for score in ("sc", "pq") if score in rows
    }
    metric = METRICS.get(name)
    whole = metric.score(Observations(samples=rows, features=judgings), {})
    assert isinstance(metric, SampleMetric)
    samples = {column: rows[column].to_numpy() for column in rows}
    values, weights = metric.of_samples(samples, {})
    known = np.isfinite(values)
    assert np.average(values[known], weights=weights[known]) == pytest.approx(whole.value)
    if isinstance(metric, ClusteredMetric):
        clusters = metric.clusters_of(samples)
        assert len(set(clusters)) == rows["id"].str.rpartition("/")[0].nunique()


def test_top_k_of_samples() -> None:
    ranks = np.array([0.0, 4, 5, 11])
    values, weights = METRICS.get("top5").of_samples({"rank_post": ranks}, {})
    assert values.tolist() == [1, 1, 0, 0]
    assert set(weights) == {1.0}
    with pytest.raises(KeyError):
        METRICS.get("top5_pre").of_samples({"rank_post": ranks}, {})
