"""The settings, presets and options that docs/ar.md names exist."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import torch

from uniwetok.ar import BitDance
from uniwetok.nano import GUIDANCE
from uniwetok.plugins.ar import UniWeTokAR, UniWeTokARB, UniWeTokARH, UniWeTokARL
from uniwetok.presets import AR_PRESETS
from uniwetok.train.engine.overrides import override

TEXT = (Path(__file__).parents[2] / "docs" / "ar.md").read_text(encoding="utf-8")
SETTINGS = sorted(set(re.findall(r"\| `([a-z_]+(?:\.[a-z_]+)*=[^\s`]+)` \|", TEXT)))


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_is_one(setting: str) -> None:
    config = AR_PRESETS["uniwetok-b"].config
    assert override(config, [setting]) != config


def test_settings_were_found() -> None:
    assert len(SETTINGS) == 11


def test_sizes_and_guidance_are_those_of_the_presets() -> None:
    plugins = {"b": UniWeTokARB, "l": UniWeTokARL, "h": UniWeTokARH}
    for size, plugin in plugins.items():
        with torch.device("meta"):
            model = BitDance(AR_PRESETS[f"uniwetok-{size}"].config.model)
        parameters = sum(weight.numel() for weight in model.parameters())
        row = f"| `uniwetok-{size}`, `uniwetok-ar-{size}` | {parameters:,} | {plugin.cfg} |"
        assert row in TEXT
        assert (plugin._name, plugin._preset) == (f"uniwetok-ar-{size}", f"uniwetok-{size}")


def test_the_model_that_ships_is_told() -> None:
    with torch.device("meta"):
        model = BitDance(AR_PRESETS["nano-ar"].config.model)
    parameters = sum(weight.numel() for weight in model.parameters())
    assert f"| `nano-ar`, `uniwetok-ar-nano` | {parameters:,} | {GUIDANCE} |" in TEXT


def test_every_option_is_told() -> None:
    for name in inspect.signature(UniWeTokAR).parameters:
        assert name == "path" or f"`{name}`" in TEXT, name
