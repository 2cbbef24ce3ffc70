"""The settings and presets that docs/train.md names for the tokenizer exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from uniwetok.presets import PRESETS
from uniwetok.train.engine.overrides import override

PAGE = (Path(__file__).parents[2] / "docs" / "train.md").read_text(encoding="utf-8")
TEXT = PAGE.partition("## The multimodal model")[0]
SETTINGS = sorted(set(re.findall(r"(?:--set |`)([a-z_]+(?:\.[a-z_]+)*=[^\s`]+)`?", TEXT)))


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_is_one(setting: str):
    # Of a run that goes on from weights, as some settings want it.
    config = override(PRESETS["table33"].config, ["init=weights"])
    assert override(config, [setting]) != config


def test_settings_were_found():
    assert len(SETTINGS) >= 10


def test_every_preset_is_one():
    named = set(re.findall(r"--preset (\S+)", TEXT))
    assert named
    assert named <= PRESETS.keys()
