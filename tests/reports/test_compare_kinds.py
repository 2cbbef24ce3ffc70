"""`uwt-eval compare` on right and wrong answers, ranks, clustered samples and observed texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from harness.interfaces.registry import METRICS
from tests.conftest import CommandLine
from tests.reports.runs import cell, change_record, read_record, write_run

N = 400


def add_columns(root: Path, **columns: Any) -> None:
    rows = pd.read_parquet(root / "samples.parquet")
    for name, values in columns.items():
        rows[name] = values
    rows.to_parquet(root / "samples.parquet", index=False)


def compare(uwt_eval: CommandLine, *words: object) -> dict[str, Any]:
    result = uwt_eval("compare", *words, "--json")
    assert result.code == 0, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


def test_answers_are_paired_as_mcnemar_does(uwt_eval: CommandLine, tmp_path: Path) -> None:
    right = np.arange(N) % 2.0
    other = right.copy()
    other[np.flatnonzero(right == 0)[:30]] = 1
    other[np.flatnonzero(right == 1)[:12]] = 0
    runs = [
        write_run(tmp_path, model, columns={"right": values})
        for model, values in (("a", right), ("b", other))
    ]
    found = compare(uwt_eval, *runs)["paired"]["right"]
    assert (found["rose"], found["fell"]) == (30, 12)
    assert found["difference"] == pytest.approx(18 / N)
    exact = binomtest(12, 42).pvalue
    assert found["p_value"] == pytest.approx(exact, abs=0.006)
    assert found["ci_low"] > 0
    assert "30/12" in uwt_eval("compare", *runs).out


def test_a_column_of_a_metrics_name_is_not_the_metric(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    # A figure of the whole set, and a column of its name that holds something else.
    runs = []
    for model in "ab":
        sets = {"f1": cell(0.9, metric="top1")}
        columns = {"bpp": [0.1] * 4, "psnr": [20.0, 21.0, 22.0, 23.0]}
        root = write_run(tmp_path, model, columns=columns, sets=sets, task="z")
        add_columns(root, f1=[1.0, 0, 1, 0])
        runs.append(root)
    assert "f1" in compare(uwt_eval, *runs)["not_paired"]
    assert uwt_eval("leaderboard", "check", *runs).code == 0


def test_nothing_to_pair_is_one_line(uwt_eval: CommandLine, tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path, model, columns={"bpp": [0.1] * 4}, sets={"rfid": cell(0.9)})
        for model in "ab"
    ]
    result = uwt_eval("compare", *runs)
    assert (result.code, result.out) == (2, "")
    assert "share no metric of single samples" in result.err
    assert result.err.count("\n") == 1


def test_top_k_is_paired_by_the_ranks_of_images(uwt_eval: CommandLine, tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    ranks = draws.integers(0, 12, N), draws.integers(0, 8, N)
    runs = []
    for model, own in zip("ab", ranks, strict=True):
        sets = {
            name: cell(float((own < k).mean()), 0.05, metric="top1")
            for name, k in (("top1", 1), ("top5", 5), ("top5_pre", 5))
        }
        root = write_run(tmp_path, model, columns={"bpp": [0.1] * N}, sets=sets, task="z")
        add_columns(root, rank_post=own)
        runs.append(root)
    found = compare(uwt_eval, *runs, "--by", "top5", "--samples", 2)
    for name, k in (("top1", 1), ("top5", 5)):
        change = (ranks[1] < k).astype(float) - (ranks[0] < k)
        assert found["paired"][name]["difference"] == pytest.approx(change.mean())
        assert found["paired"][name]["rose"] == (change > 0).sum()
    assert "top5_pre" in found["not_paired"]
    assert found["worst"][0]["change"] == -1
    assert found["best"][0]["change"] == 1
    assert uwt_eval("leaderboard", "check", runs[0]).code == 0
    metrics = read_record(runs[0])["metrics"]
    metrics["top5"]["value"] += 0.1
    change_record(runs[0], metrics=metrics)
    refused = uwt_eval("leaderboard", "check", runs[0])
    assert refused.code == 2
    assert "top5 is" in refused.out


def test_observed_texts_stand_by_the_samples(uwt_eval: CommandLine, tmp_path: Path) -> None:
    runs = []
    for model, values, replies in (
        ("a", [1.0, 0, 1, 1], ["cat", "no", "2", "x" * 500]),
        ("b", [0.0, 1, 1, 1], ["d[b]og\n|", "yes", "2", "x" * 500]),
    ):
        root = write_run(tmp_path, model, columns={"ssim": values})
        add_columns(root, reply=replies, question=["Which?", "Is it?", "How many?", None])
        runs.append(root)
    found = compare(uwt_eval, *runs, "--samples", 1)
    assert found["worst"][0]["texts"]["reply"] == {"a": "cat", "b": "d[b]og\n|"}
    out = uwt_eval("compare", *runs, "--samples", 4).out
    assert "reply: A cat | B d[b]og |" in out
    assert "question: Which?" in out
    assert "x" * 121 not in out


class PromptAccuracy:
    """A metric whose samples hang together: four pictures of a prompt."""

    higher_is_better = True
    needs = ()

    def score(self, observations: Any, settings: Any) -> Any:
        raise NotImplementedError

    def of_samples(self, samples: Any, settings: Any) -> Any:
        values = np.where(samples["tag"] == "counting", samples["correct"], np.nan)
        return values, np.ones(len(values))

    def clusters_of(self, samples: Any) -> Any:
        return np.array([name.split("-")[1][:-1] for name in samples["id"]], object)


def test_samples_that_hang_together_are_drawn_together(
    uwt_eval: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ids end in a digit that counts the pictures of a prompt; all ten of one agree.
    prompts = np.random.default_rng(1).integers(0, 2, (2, N // 10)).repeat(10, axis=1)
    tags = np.where(np.arange(N) < N // 2, "counting", "colors")
    runs = []
    for model, correct in zip("ab", prompts, strict=True):
        sets = {"counting": cell(0.5, metric="top1")}
        root = write_run(tmp_path, model, columns={"bpp": [0.1] * N}, sets=sets, task="z")
        add_columns(root, correct=correct.astype(bool), tag=tags)
        runs.append(root)
    metric = PromptAccuracy()
    monkeypatch.setitem(METRICS._registered, "counting", metric)
    together = compare(uwt_eval, *runs)["paired"]["counting"]
    # Not taken off the class: Python remembers of what kind a class is.
    scattered = type("Scattered", (PromptAccuracy,), {"clusters_of": None})()
    monkeypatch.setitem(METRICS._registered, "counting", scattered)
    alone = compare(uwt_eval, *runs)["paired"]["counting"]
    assert together["n"] == alone["n"] == N // 2
    assert together["difference"] == alone["difference"]
    widths = [each["ci_high"] - each["ci_low"] for each in (together, alone)]
    assert widths[0] / widths[1] == pytest.approx(10**0.5, rel=0.25)
