"""Curves of runs made from given figures, whose differences are known."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.interfaces.errors import UserError
from reports.paired import draw_sums
from reports.records import load_records
from reports.sweep import curves
from reports.sweep.bjontegaard import Method
from reports.sweep.curves import Delta, make_sweep
from reports.sweep.outputs import notes, rows, to_json
from tests.conftest import CommandLine
from tests.reports.runs import PROVENANCE, cell, change_record, write_run

IMAGES = 24
RATES = (0.125, 0.25, 0.5, 1.0)
HARD = np.random.default_rng(0).normal(0, 3, IMAGES)
"""How much worse each image comes out, in all models alike."""


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the resamples: what is tested here holds in each of them."""
    monkeypatch.setattr(curves, "draw_sums", partial(draw_sums, resamples=100))


def write_curve(
    folder: Path,
    name: str,
    *,
    rates: Sequence[float] = RATES,
    better: float = 0.0,
    images: int = IMAGES,
    psnr: Sequence[float] | None = None,
    **options: Any,
) -> None:
    """Runs of which each doubling of the rate brings 3 dB."""
    for at, rate in enumerate(rates):
        level = 30 + 3 * np.log2(rate) + better if psnr is None else psnr[at]
        write_run(
            folder,
            f"{name}:{at}",
            columns={
                "psnr": level - HARD[:images],
                "bits": np.full(images, rate * 64 * 64),
                "height": np.full(images, 64.0),
                "width": np.full(images, 64.0),
            },
            sets={
                "bpp": cell(rate, metric="bpp", n=images),
                "rfid": cell(9 - np.log2(rate) - better, n=images),
            },
            **options,
        )


def delta(folder: Path, metric: str = "psnr", family: str = "b", **options: Any) -> Delta:
    made = make_sweep(load_records([folder]), **options)
    return next(each for each in made.deltas if (each.metric, each.family) == (metric, family))


def test_in_markdown_the_notes_of_the_points_end_before_the_next_table(
    tmp_path: Path, uwt_eval: CommandLine
) -> None:
    for name in ("a", "b"):
        write_curve(tmp_path / "runs", name)
    words = ("sweep", "--runs", tmp_path / "runs", "--report", tmp_path / "sweep")
    lines = uwt_eval(*words, "--format", "md").out.splitlines()
    assert any(line.startswith("- ±") for line in lines)
    for before, line in pairwise(lines):
        assert before[:2] != "- " or line[:2] in ("- ", ""), (before, line)


def test_what_is_hard_in_all_curves_widens_no_interval(tmp_path: Path) -> None:
    """One decibel more on every image is that, to the bootstrap too; PSNRs vary by 3 dB."""
    write_curve(tmp_path, "a")
    write_curve(tmp_path, "b", better=1.0)
    found = delta(tmp_path)
    assert found.quality.value == pytest.approx(1.0)
    assert (found.quality.low, found.quality.high) == pytest.approx((1.0, 1.0))
    assert found.rate.value == pytest.approx(2 ** (-1 / 3) - 1)
    assert (found.rate.low, found.rate.high) == pytest.approx((found.rate.value, found.rate.value))
    assert found.area.low is not None
    assert found.area.high is not None
    assert found.area.high - found.area.low > 1, "of one curve alone the images do vary"


def test_half_the_bits(tmp_path: Path) -> None:
    write_curve(tmp_path, "a")
    write_curve(tmp_path, "b", rates=[rate / 2 for rate in RATES], psnr=[21.0, 24.0, 27.0, 30.0])
    write_curve(tmp_path, "far", rates=[8.0, 16.0])
    found = delta(tmp_path, anchor="a")
    assert found.rate.value == pytest.approx(-0.5)
    assert found.common == pytest.approx((1.0, 2 / 3))
    assert found.area.why == "the curves have no rate in common"
    assert "have nothing in common" in delta(tmp_path, family="far", anchor="a").rate.why


def test_a_figure_of_the_whole_set_has_no_paired_interval(tmp_path: Path) -> None:
    write_curve(tmp_path, "a")
    write_curve(tmp_path, "b", better=0.5)
    found = delta(tmp_path, "rfid")
    assert found.quality.value == pytest.approx(-0.5), "lower is better: half a point less"
    assert found.quality.low is None
    assert found.rate.value is not None
    assert found.rate.value < 0


def test_too_little_in_common_is_said(tmp_path: Path) -> None:
    write_curve(tmp_path, "a")
    write_curve(tmp_path, "b", better=8.0)
    found = delta(tmp_path)
    assert found.rate.value is None
    assert found.rate.why == "of qualities the curves have 11% of the narrower range in common"
    assert found.quality.value == pytest.approx(8.0), "they have all rates in common"
    assert any(found.rate.why in line for line in notes(make_sweep(load_records([tmp_path]))))


def test_a_fall_is_left_out_of_the_rate_and_said(tmp_path: Path) -> None:
    write_curve(tmp_path, "a")
    write_curve(tmp_path, "b", psnr=[21.0, 24.0, 23.0, 30.0])
    found = delta(tmp_path)
    assert found.notes == ("at 0.5 bpp no better than at a lower rate: left out of BD-rate",)
    assert found.rate.value == pytest.approx(0.0, abs=1e-9)


def test_a_cubic_leaves_out_what_has_three_points(tmp_path: Path) -> None:
    write_curve(tmp_path, "a")
    write_curve(tmp_path, "b", rates=RATES[:3])
    made = make_sweep(load_records([tmp_path]), method=Method.CUBIC)
    assert made.left_out["b"] == "3 rates, cubic takes 4"
    assert {each.family for each in made.deltas} == {"a"}


def test_few_images_have_no_interval(tmp_path: Path) -> None:
    write_curve(tmp_path, "a", images=5)
    write_curve(tmp_path, "b", images=5, better=1.0)
    assert delta(tmp_path).quality.low is None
    assert "5 images: no intervals" in " ".join(notes(make_sweep(load_records([tmp_path]))))


def test_points_of_one_rate_and_models_without_one(tmp_path: Path) -> None:
    write_curve(tmp_path, "a")
    write_curve(tmp_path, "point", rates=[0.3])
    write_curve(tmp_path / "again", "twice", rates=[0.3, 0.3], psnr=[20.0, 21.0])
    silent = write_run(tmp_path, "silent", columns={"psnr": 30 - HARD})
    latents = write_run(tmp_path, "sd", columns={"psnr": 31 - HARD}, sets={"bpp": cell(2.0)})
    change_record(latents, provenance={**PROVENANCE, "codes": {"continuous": "float32"}})
    made = make_sweep(load_records([tmp_path]))
    names = {each.name for each in made.families}
    assert names == {"a", "point:0", "twice:0", "twice:1"}
    assert "continuous latents" in made.left_out["sd"]
    assert made.left_out["silent"] == "no rate: not asked for"
    assert silent.is_dir()


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"rates": [0.5]}, {}, r"takes 2 or more rates of one model: give runs .* b:0 has 1"),
        ({"rates": RATES[:3]}, {"method": Method.CUBIC}, "takes 4 or more"),
        ({}, {"anchor": "c"}, "--anchor c: no curve of that name"),
        ({}, {"metrics": ["bits"]}, "bits: it has no direction"),
        ({}, {"metrics": ["ssim"]}, "ssim: not asked for"),
    ],
)
def test_what_makes_no_curve(
    tmp_path: Path, change: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    write_curve(tmp_path, "b", **change)
    with pytest.raises(UserError, match=words):
        make_sweep(load_records([tmp_path]), **options)


def test_runs_on_other_data_make_no_curves_together(uwt_eval: CommandLine, tmp_path: Path) -> None:
    write_curve(tmp_path / "runs", "a")
    write_curve(tmp_path / "runs", "b", images=20)
    result = uwt_eval("sweep", "--runs", tmp_path / "runs", "--report", tmp_path / "sweep")
    assert result.code == 2
    assert "make no curves together: dataset" in result.err
    assert not (tmp_path / "sweep").exists()


def test_the_command_writes_and_prints_the_same(uwt_eval: CommandLine, tmp_path: Path) -> None:
    write_curve(tmp_path / "runs", "a", rates=RATES[:2])
    write_curve(tmp_path / "runs", "b", rates=RATES[:2], better=1.0)
    words = ("sweep", "--runs", tmp_path / "runs", "--report", tmp_path / "sweep")
    result = uwt_eval(*words, "--metrics", "psnr", "--anchor", "a", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out) == json.loads((tmp_path / "sweep/sweep.json").read_text())
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == {
        "sweep.json", "sweep.png", "sweep.svg",
    }  # fmt: skip
    text = uwt_eval(*words, "--metrics", "psnr", "--anchor", "a", "--format", "md").out
    assert "| b | PSNR ↑ | −20.6% ±0.0% | +1.000 ±0.000 |" in text


def test_rows_are_alike(tmp_path: Path) -> None:
    write_curve(tmp_path, "a", rates=RATES[:2], images=3)
    found = rows(make_sweep(load_records([tmp_path])))
    assert len({tuple(row) for row in found}) == 1
    assert Counter(row["figure"] for row in found) == {
        "point": 4, "bd_rate": 2, "bd_quality": 2, "mean_over_common_rates": 2,
    }  # fmt: skip


def test_json_holds_every_point(tmp_path: Path) -> None:
    write_curve(tmp_path, "a")
    found = to_json(make_sweep(load_records([tmp_path])))
    assert [each["bpp"]["value"] for each in found["curves"]["a"]] == list(RATES)
    assert found["common_bpp"] == pytest.approx([0.125, 1.0])
