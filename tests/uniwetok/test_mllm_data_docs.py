"""What docs/mllm-data.md and docs/train.md say of the multimodal model's training is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from uniwetok.presets import get_mllm
from uniwetok.train.engine.overrides import override, to_dict
from uniwetok.train.mllm.data.records import KINDS, parse_line

DOCS = Path(__file__).parents[2] / "docs"
FORMAT = (DOCS / "mllm-data.md").read_text(encoding="utf-8")
TRAINING = (DOCS / "train.md").read_text(encoding="utf-8").partition("## The multimodal model")[2]


def test_the_examples_are_records_of_every_kind() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", FORMAT, re.DOTALL)
    assert sorted(parse_line(line).kind for line in block.splitlines()) == sorted(KINDS)


@pytest.mark.parametrize("name", ["pretrain", "gen", "edit", "chat"])
def test_the_table_of_presets(name: str) -> None:
    weight = get_mllm(name).config.model.text_weight
    assert re.search(rf"\| `{name}` \| .* \| {weight:g} \|", TRAINING)


def test_settings_that_are_named_exist() -> None:
    fields = to_dict(get_mllm("pretrain").config)
    named = set(re.findall(r"(?<![\w-])(?:data|model)\.[a-z_]+", FORMAT + TRAINING))
    assert len(named) >= 10
    for name in named:
        part, _, field = name.partition(".")
        assert field in fields[part], name
    settings = re.findall(r"`(?:--set )?([a-z_.]+=[a-z0-9.]+)`", FORMAT + TRAINING)
    assert len(settings) >= 6
    for setting in settings:
        override(get_mllm("pretrain").config, [setting])
