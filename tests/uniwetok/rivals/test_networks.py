"""LlamaGen and RAR beside what the authors' code gave of the same weights, in float64.

`data/released.json` was made by FoundationVision/LlamaGen (commit ce98ec4; its `float()` read as
`double()`) and bytedance/1d-tokenizer (commit 942a96f), whose `multinomial` took the numbers that
are drawn here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.uniwetok.rivals.toys import fill
from uniwetok.rivals.llamagen import LlamaGen, LlamaGenConfig
from uniwetok.rivals.rar import RAR, RARConfig, power_cosine
from uniwetok.rivals.sampling import Picking, sample

RELEASED = json.loads((Path(__file__).parent / "data" / "released.json").read_text())
CODES, TOKENS = 17, 9
LABELS = torch.tensor([0, 3, 2])


def llamagen() -> LlamaGen:
    return LlamaGen(LlamaGenConfig(width=64, layers=2, heads=1, codes=CODES, classes=4, grid=3))


def rar() -> RAR:
    return RAR(
        RARConfig(width=32, layers=2, heads=2, hidden=48, codes=CODES, classes=4, tokens=TOKENS)
    )


MODELS: dict[str, Any] = {"llamagen": llamagen, "rar": rar}
SETTINGS: dict[str, dict[str, Any]] = {
    "llamagen": {
        "guidance": [1.75] * TOKENS,
        "picking": Picking(temperature=0.9, top_k=9, top_p=0.8),
    },
    "rar": {"guidance": power_cosine(6.9, 1.5, TOKENS), "picking": Picking(temperature=1.02)},
}


def generators(seeds: range) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.fixture(params=list(MODELS))
def named(request: pytest.FixtureRequest) -> tuple[str, Any]:
    network: nn.Module = MODELS[request.param]().double()
    return request.param, fill(network)


@torch.no_grad()
def test_logits_are_the_released(named: tuple[str, Any]) -> None:
    name, model = named
    drawn = (torch.arange(3 * TOKENS).view(3, TOKENS) * 5) % CODES
    logits, advance = model.start(LABELS)
    every = [logits, *(advance(drawn[:, step : step + 1]) for step in range(TOKENS - 1))]
    expected = torch.tensor(RELEASED[name]["logits"], dtype=torch.float64)
    torch.testing.assert_close(torch.cat(every, dim=1), expected, rtol=1e-9, atol=1e-9)


def test_codes_are_the_released(named: tuple[str, Any]) -> None:
    name, model = named
    codes = sample(model, LABELS, generators(range(3)), **SETTINGS[name])
    assert codes.tolist() == RELEASED[name]["codes"]


def test_an_image_does_not_depend_on_its_batch(named: tuple[str, Any]) -> None:
    name, model = named
    alone = [
        sample(model, LABELS[i : i + 1], generators(range(i, i + 1)), **SETTINGS[name])
        for i in range(3)
    ]
    assert torch.cat(alone).tolist() == RELEASED[name]["codes"]


def test_no_null_branch_is_run_without_guidance(named: tuple[str, Any]) -> None:
    _, model = named
    seen: list[int] = []
    start = model.start
    model.start = lambda labels: (seen.append(len(labels)), start(labels))[1]
    sample(model, LABELS, generators(range(3)), guidance=[1.0] * TOKENS, picking=Picking())
    assert seen == [3]


def test_logits_that_are_not_finite_are_no_codes(named: tuple[str, Any]) -> None:
    _, model = named
    with torch.no_grad():
        next(iter(model.parameters())).fill_(torch.nan)
    with pytest.raises(ValueError, match="the transformer gave values that are not finite"):
        sample(model, LABELS, generators(range(3)), guidance=[1.0] * TOKENS, picking=Picking())


def test_tokens_are_picked_by_their_share() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log().expand(5, -1)
    chances = torch.tensor([0.0, 0.49, 0.51, 0.8, 1 - 2**-53], dtype=torch.float64)
    assert Picking().pick(logits, chances).tolist() == [0, 0, 1, 2, 3]
    assert Picking(top_k=2).pick(logits, chances).tolist() == [0, 0, 0, 1, 1]
    assert Picking(top_p=0.7).pick(logits, chances).tolist() == [0, 0, 0, 1, 1]
    assert Picking(top_p=0.8).pick(logits, chances).tolist() == [0, 0, 0, 1, 2]
    assert Picking(temperature=0.01).pick(logits, chances).tolist() == [0] * 5


def test_guidance_rises_as_a_power_of_the_cosine() -> None:
    assert power_cosine(5.0, 0.0, 3) == [5.0] * 3
    weights = power_cosine(5.0, 1.0, 4)
    assert weights[0] == 1
    assert weights[2] == pytest.approx(3)
    assert power_cosine(5.0, 2.0, 4)[2] < weights[2]
