from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from uniwetok.losses import (
    AdversarialConfig,
    DistillationConfig,
    EntropyConfig,
    PriorConfig,
    TokenizerLossConfig,
    commitment_weight,
)


def test_commitment_weight_depends_on_siglu():
    assert commitment_weight(siglu=True) == 0
    assert commitment_weight(siglu=False) == 0.25


def test_configurations_are_frozen():
    with pytest.raises(FrozenInstanceError):
        EntropyConfig().weight = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (EntropyConfig, {"temperature": 0}, "temperature=0 must be above 0"),
        (EntropyConfig, {"weight": -1}, "weight=-1 must not be negative"),
        (EntropyConfig, {"weight": float("nan")}, "weight=nan must be finite"),
        (
            EntropyConfig,
            {"codebook_scope": "all"},
            "'all' is unknown; choose one of pooled, per_gr",
        ),
        (EntropyConfig, {"token_reduction": "max"}, "'max' is unknown; choose one of mean, sum"),
        (AdversarialConfig, {"lecam_decay": 1}, r"lecam_decay=1 must be in \[0, 1\)"),
        (AdversarialConfig, {"generator_weight": -0.1}, "generator_weight=-0.1"),
        (DistillationConfig, {"pre": False, "post": False}, "set distillation=None"),
        (DistillationConfig, {"head": "mlp"}, "head='mlp' is unknown; choose one of linear, atten"),
        (DistillationConfig, {"attention_heads": 0}, "attention_heads=0 must be a whole number"),
        (PriorConfig, {"weight": -0.1}, "weight=-0.1 must not be negative"),
        (PriorConfig, {"objective": "v"}, "objective='v' is unknown; choose one of x, bitdance"),
        (PriorConfig, {"repeats": 0}, "repeats=0 must be a whole number of at least 1"),
        (PriorConfig, {"heads": 3}, "heads=3 does not split width 320"),
        (PriorConfig, {"diffusion_modulations": 3}, "diffusion_modulations=3 does not divide"),
        (TokenizerLossConfig, {"lpips_weight": -1}, "lpips_weight=-1"),
    ],
)
def test_impossible_values_are_named(kind, values, message):
    with pytest.raises(ValueError, match=message):
        kind(**values)
