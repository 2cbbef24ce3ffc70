"""The plan counts the paper's parameters, and its memory follows how a run is spread."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import pytest

from tests.conftest import CommandLine
from tests.uniwetok.train.mllm.tiny import tiny_run, write_language_model
from tests.uniwetok.train.tiny import needs_measuring
from uniwetok.presets import get_mllm
from uniwetok.train import TrainingError
from uniwetok.train.engine.machine import H100, decide
from uniwetok.train.engine.plan import Plan, make_plan
from uniwetok.train.mllm.config import MLLMTraining
from uniwetok.train.mllm.plan import measure

pytestmark = needs_measuring
LAYERS = 8_190_735_360 - 2 * 151_936 * 4096
"""Qwen3-8B, without its two tables."""
measured = functools.cache(measure)


def planned(config: MLLMTraining, world: int = 1, seconds_per_step: float | None = None) -> Plan:
    config, _ = decide(config, H100)
    return make_plan(config, measured(config), world, seconds_per_step=seconds_per_step)


def test_the_papers_size(uwt_eval: CommandLine) -> None:
    result = uwt_eval("train", "mllm", "--preset", "gen", "--dry-run", "--gpus", "8", "--json")
    assert result.code == 0, result.err
    plan = json.loads(result.out)
    counts = plan["parameters"]
    assert counts["language model's layers"] == LAYERS
    assert counts["language model's tables"] == 2 * 151_936 * 4096
    assert counts["projector"] / 1e6 == pytest.approx(17.3, abs=0.05)
    assert counts["diffusion head"] / 1e6 == pytest.approx(1126.5, abs=0.05)
    total = sum(counts.values())
    assert plan["memory"]["weights"] == 4 * total // 8
    assert plan["memory"]["Adam"] == 8 * total // 8
    assert plan["checkpoint"] == 12 * total
    assert plan["tokens"] == 37_376 * 8 * 20_000
    assert plan["fits_estimate"] == (plan["memory_total_estimate"] <= plan["processor_memory"])
    assert "not measured" in plan["basis"]
    # Two a weight and token forward, twice that backward, and layers and head once more; attention
    # within samples of 1,024 tokens and the head's own products come on top.
    weights = 8 * (LAYERS + counts["diffusion head"]) + 6 * counts["projector"]
    rows = 37_376 // 1024 * 1024 * 8
    attention = 36 * 8 * 2 * 32 * 128 * 1024
    assert plan["flops_per_step"] == pytest.approx((weights + attention) * rows, rel=0.02)


def test_memory_follows_how_a_run_is_spread() -> None:
    config = get_mllm("pretrain").config
    plans = {
        "8": planned(config, 8),
        "4": planned(config, 4),
        "copies": planned(dataclasses.replace(config, shard=False), 8),
        "kept": planned(dataclasses.replace(config, gradient_checkpointing=False), 8),
        "average": planned(dataclasses.replace(config, ema_decay=0.9), 8),
    }
    assert plans["4"].memory["weights"] == 2 * plans["8"].memory["weights"]
    assert plans["copies"].memory["weights"] == pytest.approx(8 * plans["8"].memory["weights"])
    assert plans["kept"].activations["all layers"] > 20 * sum(plans["8"].activations.values()) / 10
    assert (
        plans["kept"].activations["diffusion head"] > 2 * plans["8"].activations["diffusion head"]
    )
    assert plans["average"].memory["moving average"] == plans["8"].memory["weights"]
    assert plans["8"].activations["text logits"] > 0
    assert planned(get_mllm("gen").config, 8).activations["text logits"] == 0
    timed = planned(config, 8, seconds_per_step=36)
    assert (timed.hours, timed.basis) == (1000, "as measured")


def test_a_local_language_model_is_read(tmp_path: Path) -> None:
    run = tiny_run(write_language_model(tmp_path / "qwen"))
    plan = planned(run)
    assert plan.parameters["language model's tables"] == 2 * 556 * 32
    for name, given in (("language_model", "--language-model some"), ("init", "init=some")):
        with pytest.raises(
            TrainingError, match=rf"^{given}/model: its config.json is not there; .*Qwen/Qwen3-8B"
        ):
            planned(dataclasses.replace(run, **{name: "some/model"}))
    with pytest.raises(TrainingError, match=r"--set model\.width=32"):
        planned(dataclasses.replace(run, model=dataclasses.replace(run.model, width=64)))
    with pytest.raises(TrainingError, match="does not divide among 3 processes"):
        planned(run, 3)
