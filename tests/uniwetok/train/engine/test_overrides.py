"""Settings as text and as JSON."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from uniwetok.losses.config import (
    DistillationConfig,
    EntropyConfig,
    PriorConfig,
    TokenizerLossConfig,
)
from uniwetok.tokenizer.config import UniWeTokConfig
from uniwetok.train import TrainingError
from uniwetok.train.data.config import DataConfig
from uniwetok.train.engine.overrides import override, to_dict
from uniwetok.train.engine.settings import OptimizerConfig
from uniwetok.train.tokenizer.config import TokenizerTraining

DEFAULT = TokenizerTraining()

weights = st.floats(0, 10)
runs = st.builds(
    TokenizerTraining,
    model=st.builds(
        UniWeTokConfig,
        channels=st.sampled_from([32, 64, 128]),
        num_res_blocks=st.integers(1, 3),
        heads=st.sampled_from([4, 8]),
        siglu=st.booleans(),
        bottleneck=st.sampled_from(["double", "single"]),
    ),
    loss=st.builds(
        TokenizerLossConfig,
        lpips_weight=weights,
        entropy=st.builds(EntropyConfig, codebook_scope=st.sampled_from(["pooled", "per_group"])),
        adversarial=st.none(),
        distillation=st.none() | st.builds(DistillationConfig, weight=weights),
    ),
    prior=st.none() | st.builds(PriorConfig, weight=weights, query=st.booleans()),
    optimizer=st.builds(
        OptimizerConfig,
        learning_rate=st.floats(1e-8, 1),
        max_gradient_norm=st.none() | st.floats(0.1, 10),
    ),
    data=st.builds(
        DataConfig,
        buckets=st.lists(
            st.tuples(*[st.integers(2, 20).map(lambda count: 32 * count)] * 2), max_size=4
        ).map(tuple),
    ),
    batch_size=st.integers(1, 10**6),
    compile=st.none() | st.booleans(),
)


def as_text(value: object) -> str:
    if isinstance(value, list):
        inner = value and isinstance(value[0], list)
        return ",".join("x".join(map(str, item)) if inner else str(item) for item in value)
    return "none" if value is None else str(value)


def leaves(values: dict, path: str = "") -> list[str]:
    items = []
    for name, value in values.items():
        if isinstance(value, dict):
            items += leaves(value, f"{path}{name}.")
        else:
            items.append(f"{path}{name}={as_text(value)}")
    return items


@given(runs)
def test_every_setting_can_be_given_as_text(run: TokenizerTraining) -> None:
    assert override(DEFAULT, leaves(to_dict(run))) == run


def test_examples() -> None:
    changed = override(
        DEFAULT,
        [
            "batch_size=64",
            "loss.entropy.weight=0.2",
            "prior=none",
            "model.attention_blocks=0",
            "data.buckets=256x256, 384x256",
            "optimizer.max_gradient_norm=1",
            "init=out/a=b/model",
        ],
    )
    assert changed.batch_size == 64
    assert changed.loss.entropy == EntropyConfig(weight=0.2)
    assert changed.prior is None
    assert changed.model == UniWeTokConfig(attention_blocks=0)
    assert changed.data.buckets == ((256, 256), (384, 256))
    assert changed.optimizer.max_gradient_norm == 1.0
    assert changed.init == "out/a=b/model"
    untouched = ("teacher", "steps", "ema_decay", "seed")
    assert all(getattr(changed, name) == getattr(DEFAULT, name) for name in untouched)


def test_field_of_a_part_that_is_none_creates_it() -> None:
    assert override(DEFAULT, ["prior=none", "prior.weight=1"]).prior == PriorConfig(weight=1)
    without = replace(DEFAULT, loss=TokenizerLossConfig(distillation=None))
    changed = override(without, ["loss.distillation.head=attention"])
    assert changed.loss.distillation == DistillationConfig(head="attention")


def test_later_items_win_and_parts_can_be_reset() -> None:
    assert override(DEFAULT, ["steps=1", "steps=2"]).steps == 2
    assert override(DEFAULT, ["prior.weight=3", "prior=default"]).prior == PriorConfig()
    assert override(DEFAULT, ["prior.weight=3", "prior=none"]).prior is None


def test_settings_are_checked_together_not_one_by_one() -> None:
    """Neither order passes through a valid configuration."""
    pair = ["model.latent_channels=24", "model.groups=3"]
    assert override(DEFAULT, pair) == override(DEFAULT, pair[::-1])
    with pytest.raises(TrainingError, match=r"model: groups=16 does not divide latent_channels=24"):
        override(DEFAULT, pair[:1])


def test_lists_can_be_emptied() -> None:
    staged = override(DEFAULT, ["data.buckets=256x256,512x512"])
    assert override(staged, ["data.buckets="]).data.buckets == ()


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            "bach_size=3",
            r"there is no 'bach_size' in the settings; did you mean 'batch_size'.*known",
        ),
        ("model.chanels=3", r"there is no 'chanels' in model; did you mean 'channels'"),
        ("loss.entropy.zzz=3", r"in loss\.entropy; known: weight, token_weight"),
        ("entropy.weight=3", r"no 'entropy' in the settings"),
        ("batch_size.x=3", r"batch_size is a whole number, without fields"),
        ("batch_size", r"--set batch_size: write KEY=VALUE"),
        ("=3", r"write KEY=VALUE"),
        ("batch_size=x", r"--set batch_size=x: expected a whole number"),
        ("batch_size=6.5", r"expected a whole number"),
        ("batch_size=", r"expected a whole number"),
        ("ema_decay=high", r"ema_decay=high: expected a number"),
        ("compile=1", r"expected true or false or none"),
        ("precision=fp8", r"expected one of auto, float32, bfloat16, float16"),
        ("optimizer.max_gradient_norm=x", r"expected a number or none"),
        ("optimizer.betas=0.9", r"expected 2 values separated by commas, each a number"),
        ("model.channel_multipliers=1,b", r"expected values .* each a whole number"),
        ("data.buckets=256", r"expected pairs separated by commas, such as 256x256,384x256"),
        ("data.buckets=256x256x3", r"expected pairs"),
        ("prior=yes", r"expected 'default' .* or none"),
        ("model=none", r"expected 'default' \(its fields are set one by one\)$"),
        ("steps=none", r"expected a whole number"),
        ("steps=0", r"steps=0 must be a whole number of at least 1"),
        ("data.buckets=250x256", r"images of 250 pixels"),
        ("ema_decay=nan", r"ema_decay=nan must be finite"),
        ("loss.entropy.temperature=0", r"loss\.entropy: temperature=0.0 must be above 0"),
    ],
)
def test_bad_items_are_named(item: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        override(DEFAULT, [item])


def test_a_plans_resolution_fits_beside_buckets_too() -> None:
    with pytest.raises(TrainingError, match="images of 100 pixels"):
        override(DEFAULT, ["data.buckets=256x256", "data.resolution=100"])
