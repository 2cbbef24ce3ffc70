"""Training runs by name: the paper's ablations, final models and stages; models built on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from uniwetok.fields import did_you_mean
from uniwetok.presets.ar import AR, ARPreset
from uniwetok.presets.mllm import MLLM, MLLMPreset
from uniwetok.presets.models import LARGE, NANO
from uniwetok.presets.preset import Preset
from uniwetok.presets.tables import TABLES
from uniwetok.presets.wetok import WETOK
from uniwetok.train import TrainingError

T = TypeVar("T")

PRESETS = {preset.name: preset for preset in (*TABLES, *LARGE, *WETOK, NANO)}
"""All presets of the tokenizer by name; a new one belongs into this tuple."""
AR_PRESETS = {preset.name: preset for preset in AR}
"""All presets of the class-to-image model by name."""
_MLLM = "mllm-"
MLLM_PRESETS = {preset.name: preset for preset in MLLM}
"""All presets of the multimodal model by name."""


def get(name: str) -> Preset:
    """Return a preset of the tokenizer.

    Raises:
        TrainingError: there is none of this name; the message names the nearest.
    """
    return _get(name, PRESETS)


def get_ar(name: str) -> ARPreset:
    """Return a preset of the class-to-image model; see `get`."""
    return _get(name, AR_PRESETS)


def get_mllm(name: str) -> MLLMPreset:
    """Return a preset of the multimodal model, also by its name without "mllm-"; see `get`."""
    short = {each.removeprefix(_MLLM): preset for each, preset in MLLM_PRESETS.items()}
    return _get(name.removeprefix(_MLLM), short)


def _get(name: str, presets: Mapping[str, T]) -> T:
    if name not in presets:
        raise TrainingError(f"unknown preset {name!r}: {did_you_mean(name, presets)}")
    return presets[name]


__all__ = [
    "AR_PRESETS",
    "MLLM_PRESETS",
    "PRESETS",
    "ARPreset",
    "MLLMPreset",
    "Preset",
    "get",
    "get_ar",
    "get_mllm",
]
