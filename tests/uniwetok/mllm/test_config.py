from __future__ import annotations

import pytest

from uniwetok.mllm import LANGUAGE_MODELS, PRESETS, MLLMConfig


def test_round_trip():
    config = MLLMConfig(width=64, parallel_tokens=4, flip_rate=0)
    assert MLLMConfig.from_dict(config.to_dict()) == config


def test_sizes_of_the_paper():
    config = PRESETS["qwen3-8b"]
    assert (config.resolutions, config.multiple, config.diffusion_heads) == (128, 32, 32)
    assert config.width == LANGUAGE_MODELS["qwen3-8b"]["hidden_size"]


@pytest.mark.parametrize(("parallel", "multiple"), [(1, 32), (4, 64), (16, 128)])
def test_sides_are_multiples_of_a_patch(parallel, multiple):
    assert MLLMConfig(parallel_tokens=parallel).multiple == multiple


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"parallel_tokens": 2}, "parallel_tokens=2"),
        ({"diffusion_width": 100}, "diffusion_width=100"),
        ({"diffusion_modulations": 4}, "does not divide"),
        ({"flip_rate": 1.5}, "flip_rate=1.5"),
        ({"text_weight": -1}, "text_weight=-1"),
        ({"max_side": 100}, "max_side=100"),
        ({"width": 0}, "width=0 must be a whole number"),
        ({"width": 30}, "width=30"),
        ({"time_std": 0}, "time_std"),
    ],
)
def test_impossible_values_are_named(values, words):
    with pytest.raises(ValueError, match=words):
        MLLMConfig(**values)


def test_unknown_fields_are_named():
    with pytest.raises(ValueError, match="unknown fields heads"):
        MLLMConfig.from_dict({"heads": 3})
