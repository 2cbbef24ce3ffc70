"""What a gate sees: pairs with the samples kept beside a baseline; and what it says without."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.metrics import stats
from tests.conftest import CommandLine
from tests.reports.runs import cell, change_record, read_record, write_record, write_run


@pytest.fixture(autouse=True)
def no_step_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def photos(n: int, loss: float = 0.0, spread: float = 0.0, seed: int = 1) -> list[float]:
    """PSNR in dB of n photographs, as different from each other as real ones are."""
    draws = np.random.default_rng(0).normal(30, 6, n)
    return list(draws - loss + np.random.default_rng(seed).normal(0, spread, n))


def baseline_of(uwt_eval: CommandLine, folder: Path, *roots: Path) -> Path:
    file = folder / "baseline.json"
    result = uwt_eval("gate", *roots, "--baseline", file, "--update-baseline")
    assert result.code == 0, result.err
    return file


def gate(uwt_eval: CommandLine, root: Path, baseline: Path, *words: str) -> dict[str, Any]:
    """The checks by metric, and the exit code."""
    result = uwt_eval("gate", root, "--baseline", baseline, "--json", *words)
    checks = json.loads(result.out)["checks"]
    return {check["metric"]: check for check in checks} | {"code": result.code}


@pytest.mark.parametrize(("n", "loss"), [(10, 3.5), (48, 2.0), (48, 0.2)])
def test_a_loss_within_the_spread_of_photographs_is_seen(
    uwt_eval: CommandLine, tmp_path: Path, n: int, loss: float
) -> None:
    old = write_run(tmp_path / "old", "webp", columns={"psnr": photos(n)})
    new = write_run(tmp_path / "new", "jpeg", columns={"psnr": photos(n, loss, 0.2)})
    baseline = baseline_of(uwt_eval, tmp_path, old)
    found = gate(uwt_eval, new, baseline)
    assert found["code"] == 1
    assert found["psnr"]["rests_on"] == f"paired over {n} samples"
    assert found["psnr"]["change"] == pytest.approx(-loss, abs=0.15)
    # The records alone do not tell: that is what pairs are for.
    alone = write_record(tmp_path / "alone.json", read_record(old))
    assert gate(uwt_eval, new, alone)["code"] == 0


def test_the_psnr_of_the_mean_error_is_paired_too(uwt_eval: CommandLine, tmp_path: Path) -> None:
    settings = {"averaging": {"rule": "global-mse"}}
    size = np.full(48, 64.0)
    values = {"old": photos(48), "new": photos(48, 0.5, 0.2)}
    psnr = {name: stats.psnr_of_mean_error(np.array(v), size, 0)[0] for name, v in values.items()}
    roots = {}
    for name, each in values.items():
        columns = {"psnr": each, "height": size, "width": size}
        roots[name] = write_run(tmp_path / name, columns=columns, settings=settings)
        cells = {"psnr": cell(psnr[name], 2.0, metric="psnr").model_dump(mode="json")}
        change_record(roots[name], metrics=cells)
        assert uwt_eval("leaderboard", "check", roots[name]).code == 0
    baseline = baseline_of(uwt_eval, tmp_path, roots["old"])
    for place in (baseline, roots["old"]):
        found = gate(uwt_eval, roots["new"], place)
        assert found["code"] == 1
        assert found["psnr"]["rests_on"] == "paired over 48 samples"
        assert found["psnr"]["change"] == pytest.approx(psnr["new"] - psnr["old"], rel=1e-9)


def test_the_run_directory_is_a_baseline_too(uwt_eval: CommandLine, tmp_path: Path) -> None:
    old = write_run(tmp_path / "old", columns={"psnr": photos(48)})
    new = write_run(tmp_path / "new", columns={"psnr": photos(48, 0.5, 0.2)})
    kept = gate(uwt_eval, new, baseline_of(uwt_eval, tmp_path, old))
    assert gate(uwt_eval, new, old) == kept
    assert kept["code"] == 1


def test_chance_passes_and_the_smallest_change_is_told(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    n, spread = 400, 0.4
    old = write_run(tmp_path / "old", columns={"psnr": photos(n)})
    new = write_run(tmp_path / "new", columns={"psnr": photos(n, 0.0, spread)})
    baseline = baseline_of(uwt_eval, tmp_path, old)
    found = gate(uwt_eval, new, baseline)
    assert found["code"] == 0
    # A two-sided test at 5% sees with a power of 80% what is 2.8 standard errors from none.
    assert found["psnr"]["smallest_seen"] == pytest.approx(2.8 * spread / n**0.5, rel=0.1)
    bounded = gate(uwt_eval, new, baseline, "--rule", "psnr>=-0.05")["psnr"]
    assert bounded["smallest_seen"] == pytest.approx(0.05 + 0.84 * spread / n**0.5, rel=0.1)
    shown = uwt_eval("gate", new, "--baseline", baseline).out
    assert f"smallest change seen {found['psnr']['smallest_seen']:.3f}" in shown
    assert "(paired over 400 samples)" in shown


def test_losses_that_no_table_shows_pass(uwt_eval: CommandLine, tmp_path: Path) -> None:
    old = write_run(tmp_path / "old", columns={"psnr": photos(48)})
    baseline = baseline_of(uwt_eval, tmp_path, old)
    for loss, code in ((1e-4, 0), (0.01, 1)):
        new = write_run(tmp_path / f"new{code}", columns={"psnr": photos(48, loss)})
        assert gate(uwt_eval, new, baseline)["code"] == code


def test_pictures_of_one_prompt_are_drawn_together(uwt_eval: CommandLine, tmp_path: Path) -> None:
    # Each prompt's four pictures change alike, so that 30 prompts tell what 30 pictures would.
    base, change = np.random.default_rng(3).normal(0, 1, (2, 30)).repeat(4, axis=1)
    ids = [f"prompt-{index // 4}/{index % 4:04d}" for index in range(120)]
    runs = []
    for name, scores in (("old", base), ("new", base + change)):
        sets = {"dpg_overall": cell(float(scores.mean()), metric="top1")}
        columns = {"dpg": list(scores)}
        runs.append(write_run(tmp_path / name, columns=columns, sets=sets, task="dpg", ids=ids))
    found = gate(uwt_eval, runs[1], baseline_of(uwt_eval, tmp_path, runs[0]))
    together = found["dpg_overall"]
    assert together["rests_on"] == "paired over 120 samples in 30 clusters"
    assert together["change"] == pytest.approx(100 * change.mean())
    alone = 100 * change.std() / 120**0.5
    assert together["smallest_seen"] == pytest.approx(2 * 2.8 * alone, rel=0.2)


def test_figures_without_pairs_say_so(uwt_eval: CommandLine, tmp_path: Path) -> None:
    sets: Mapping[str, Any] = {"rfid": cell(3.0, 0.1)}
    old = write_run(tmp_path / "old", sets=sets)
    new = write_run(tmp_path / "new", sets=sets)
    whole = gate(uwt_eval, new, baseline_of(uwt_eval, tmp_path, old))["rfid"]
    assert whole["rests_on"] == "unpaired: a figure of the whole set"
    assert whole["bound"] == pytest.approx(0.1 * 2**0.5)
    alone = write_record(tmp_path / "alone.json", read_record(old))
    assert "unpaired: the baseline has no values" in gate(uwt_eval, new, alone)["psnr"]["rests_on"]
    run = write_record(tmp_path / "run" / "x.record.json", read_record(new))
    kept = gate(uwt_eval, run, tmp_path / "baseline.json")["psnr"]
    assert "unpaired: the run has no values" in kept["rests_on"]


def test_a_baseline_grows_and_keeps_the_samples_of_others(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    roots = {
        name: write_run(tmp_path / name, name, columns={column: [1.0, 2.0, 3.0, 4.0]}, task=task)
        for name, column, task in (("a", "psnr", "x-recon"), ("b", "loss", "y-recon"))
    }
    baseline = baseline_of(uwt_eval, tmp_path, roots["a"])
    assert baseline_of(uwt_eval, tmp_path, roots["b"]) == baseline
    rests = gate(uwt_eval, roots["a"], baseline)["psnr"]["rests_on"]
    assert rests.startswith("paired over 4 samples")
    worse = write_run(tmp_path / "worse", "a", columns={"psnr": [1.0, 2, 3, 3]}, task="x-recon")
    baseline_of(uwt_eval, tmp_path, worse)
    assert gate(uwt_eval, worse, baseline)["psnr"]["change"] == 0
    both = [path.name for path in tmp_path.iterdir() if path.is_file()]
    assert sorted(both) == ["baseline.json", "baseline.samples.parquet"]


def test_samples_of_another_result_are_refused(uwt_eval: CommandLine, tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    baseline = baseline_of(uwt_eval, tmp_path, root)
    record = json.loads(baseline.read_text(encoding="utf-8"))
    record["metrics"]["psnr"]["value"] += 0.5
    del record["provenance"]["sha256"]  # As versions wrote them that sealed no baseline.
    write_record(baseline, record)
    result = uwt_eval("gate", root, "--baseline", baseline)
    assert result.code == 2
    assert "samples of another result" in result.err
    assert result.err.count("\n") == 1
    assert uwt_eval("gate", root, "--baseline", baseline, "--update-baseline").code == 0
    assert uwt_eval("gate", root, "--baseline", baseline).code == 0


def test_damaged_samples_are_named(uwt_eval: CommandLine, tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", columns={"psnr": photos(500)})
    baseline = baseline_of(uwt_eval, tmp_path, root)
    kept = tmp_path / "baseline.samples.parquet"
    whole = kept.read_bytes()
    for place in range(8, len(whole), len(whole) // 25):
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        result = uwt_eval("gate", root, "--baseline", baseline)
        # A flip is found, or lies where nothing is read; it never moves a figure.
        assert result.code in {0, 2}, result.out
        if result.code == 2:
            assert "baseline.samples.parquet" in result.err
        else:
            assert "paired over 500 samples" in result.out


def test_failed_samples_of_a_run_leave_their_pairs_out(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    old = write_run(tmp_path / "old", columns={"psnr": photos(48)})
    baseline = baseline_of(uwt_eval, tmp_path, old)
    new = write_run(tmp_path / "new", columns={"psnr": photos(48)}, failed={3: "model_error"})
    change_record(new, status="complete")
    assert gate(uwt_eval, new, baseline)["psnr"]["rests_on"] == "paired over 47 samples"


LOSSLESS = float("inf")


@pytest.mark.parametrize(
    ("old", "new", "words", "code", "told"),
    [
        # The tester's collapse: three quarters of the pictures are no longer exact.
        ([20.0] * 6 + [LOSSLESS] * 18, [20.0] * 6 + [18.0] * 18, (), 1, "18 of 24 samples"),
        ([20.0] * 9 + [LOSSLESS], [20.0] * 9 + [60.0], (), 3, "1 of 10 samples"),
        ([20.0] * 9 + [LOSSLESS], [20.0] * 9 + [60.0], ("--rule", "psnr>=-1"), 1, "1 of 10"),
        ([20.0] * 9 + [60.0], [20.0] * 9 + [LOSSLESS], (), 0, "0 samples that fell and 1"),
        ([20.0] * 8 + [60, LOSSLESS], [20.0] * 8 + [LOSSLESS, 60], (), 0, "1 sample that fell"),
        ([20.0] * 8 + [LOSSLESS] * 9, [20.0] * 8 + [LOSSLESS] * 9, (), 0, "paired over 8"),
    ],
)
def test_from_infinite_to_finite_is_a_loss(
    uwt_eval: CommandLine,
    tmp_path: Path,
    old: list[float],
    new: list[float],
    words: tuple[str, ...],
    code: int,
    told: str,
) -> None:
    roots = [
        write_run(tmp_path / name, columns={"psnr": values})
        for name, values in (("old", old), ("new", new))
    ]
    baseline = baseline_of(uwt_eval, tmp_path, roots[0])
    result = uwt_eval("gate", roots[1], "--baseline", baseline, *words)
    assert (result.code, told in result.out) == (code, True), result.out
    assert ("no mean shows" in uwt_eval("compare", *roots).out) is (told[:2] != "pa")


@pytest.mark.parametrize(("value", "code"), [(LOSSLESS, 0), (18.0, 1)])
def test_a_wholly_lossless_baseline_is_kept_up_with(
    uwt_eval: CommandLine, tmp_path: Path, value: float, code: int
) -> None:
    none = {"value": None, "ci_low": None, "ci_high": None, "n": 0}
    none |= {"status": "not computed: infinite for all 8 samples: images are identical"}
    roots = []
    for name, each in (("old", LOSSLESS), ("new", value)):
        root = write_run(tmp_path / name, columns={"ssim": [1.0] * 8, "psnr": [20.0] * 8})
        samples = pd.read_parquet(root / "samples.parquet")
        samples.assign(psnr=each).to_parquet(root / "samples.parquet", index=False)
        metrics = read_record(root)["metrics"]
        if each == LOSSLESS:
            metrics["psnr"] |= none
        change_record(root, metrics=metrics)
        roots.append(root)
    baseline = baseline_of(uwt_eval, tmp_path, roots[0])
    found = gate(uwt_eval, roots[1], baseline)
    assert found["code"] == code
    told = "infinite on one side: 8 samples fell" if code else "infinite on both sides for 8"
    assert told in found["psnr"]["detail"]
    # Of the records alone it is not known, and said.
    alone = write_record(tmp_path / "alone.json", read_record(roots[0]))
    found = gate(uwt_eval, roots[1], alone)
    assert (found["code"], "infinite for all 8" in found["psnr"]["detail"]) == (3, True)


@pytest.mark.parametrize(
    ("value", "words", "code"), [(20.0, (), 0), (19.0, (), 3), (19.0, ("--rule", "psnr>=-2"), 0)]
)
def test_one_sample_is_no_evidence(
    uwt_eval: CommandLine, tmp_path: Path, value: float, words: tuple[str, ...], code: int
) -> None:
    old = write_run(tmp_path / "old", columns={"psnr": [20.0]})
    new = write_run(tmp_path / "new", columns={"psnr": [value]})
    found = gate(uwt_eval, new, baseline_of(uwt_eval, tmp_path, old), *words)
    assert found["code"] == code
    assert ("has no interval" in found["psnr"]["detail"]) is (code == 3)
