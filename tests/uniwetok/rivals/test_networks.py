"""The rivals' transformers beside what the authors' code gave of the same weights, in float64.

`data/released.json` was made by FoundationVision/LlamaGen (commit ce98ec4), bytedance/1d-tokenizer
(942a96f), FoundationVision/VAR (78b9539) and TencentARC/SEED-Voken (b9a17ea), with `float()` read
as `double()` and a `multinomial` that took the numbers which are drawn here.
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
from uniwetok.rivals.open_magvit2 import OpenMAGVIT2, OpenMAGVIT2Config
from uniwetok.rivals.rar import RAR, RARConfig
from uniwetok.rivals.sampling import Step, sample
from uniwetok.rivals.var import VAR, Pyramid, VARConfig
from uniwetok.vqgan.codebooks import Scales

RELEASED = json.loads((Path(__file__).parent / "data" / "released.json").read_text())
CODES, TOKENS = 17, 9
LABELS = torch.tensor([0, 3, 2])


def llamagen() -> LlamaGen:
    return LlamaGen(LlamaGenConfig(width=64, layers=2, heads=1, codes=CODES, classes=4, side=3))


RAR_SIZES = RARConfig(width=32, layers=2, heads=2, hidden=48, codes=CODES, classes=4, tokens=TOKENS)


def rar() -> RAR:
    return RAR(RAR_SIZES)


VAR_SIZES = VARConfig(
    width=64, layers=1, heads=1, hidden=256, channels=4, codes=CODES, classes=4, sides=(1, 2, 3)
)


def var() -> Pyramid:
    quantize = Scales(CODES, 4, 4).double()
    fill(quantize)
    return Pyramid(VAR(VAR_SIZES), quantize)


MAGVIT2_SIZES = OpenMAGVIT2Config(
    width=64, layers=1, inner_layers=1, heads=1, bits=(2, 3), classes=4, side=3
)


def open_magvit2() -> OpenMAGVIT2:
    return OpenMAGVIT2(MAGVIT2_SIZES)


MODELS: dict[str, Any] = {
    "llamagen": llamagen, "rar": rar, "var": var, "open_magvit2": open_magvit2,
}  # fmt: skip
STEPS: dict[str, list[Step]] = {
    "llamagen": [Step(1.75, temperature=0.9, top_k=9, top_p=0.8)] * TOKENS,
    "rar": RAR_SIZES.steps(cfg=6.9, power=1.5, temperature=1.02),
    "var": VAR_SIZES.steps(cfg=1.5, top_k=9, top_p=0.8),
    "open_magvit2": MAGVIT2_SIZES.steps(1.75, 1.85, 1.1, 1.0),
}


def generators(seeds: range) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.fixture(params=list(MODELS))
def named(request: pytest.FixtureRequest) -> tuple[str, Any]:
    model = MODELS[request.param]()
    fill(network_of(model).double())
    return request.param, model


def network_of(model: Any) -> nn.Module:
    network: nn.Module = getattr(model, "network", model)
    return network


@torch.no_grad()
def test_logits_are_the_released(named: tuple[str, Any]) -> None:
    name, model = named
    released = RELEASED[name]
    if name == "open_magvit2":
        places = torch.arange(3 * TOKENS).view(3, TOKENS)
        # The first bits of each code, then the others.
        drawn = [
            part[:, i : i + 1] for i in range(TOKENS) for part in (places * 5 % 4, places * 7 % 8)
        ]
    else:
        tokens = torch.arange(3 * model.tokens).view(3, -1) * 5 % CODES
        drawn = list(tokens.split([1, 4, 9] if name == "var" else 1, dim=1))
    logits, advance = model.start(LABELS)
    every = [logits, *map(advance, drawn[:-1])]
    if name == "open_magvit2":
        assert_released(every[::2], released["first"])
        assert_released(every[1::2], released["other"])
    else:
        assert_released(every, released["logits"])


def assert_released(logits: list[torch.Tensor], released: list[Any]) -> None:
    expected = torch.tensor(released, dtype=torch.float64)
    torch.testing.assert_close(torch.cat(logits, dim=1), expected, rtol=1e-9, atol=1e-9)


def test_codes_are_the_released(named: tuple[str, Any]) -> None:
    name, model = named
    codes = sample(model, LABELS, generators(range(3)), STEPS[name])
    assert codes.tolist() == RELEASED[name]["codes"]


def test_an_image_does_not_depend_on_its_batch(named: tuple[str, Any]) -> None:
    name, model = named
    alone = [
        sample(model, LABELS[i : i + 1], generators(range(i, i + 1)), STEPS[name]) for i in range(3)
    ]
    assert torch.cat(alone).tolist() == RELEASED[name]["codes"]


def test_no_null_branch_is_run_without_guidance() -> None:
    model: Any = fill(llamagen())
    seen: list[int] = []
    start = model.start
    model.start = lambda labels: (seen.append(len(labels)), start(labels))[1]
    sample(model, LABELS, generators(range(3)), [Step()] * TOKENS)
    assert seen == [3]


def test_logits_that_are_not_finite_are_no_codes(named: tuple[str, Any]) -> None:
    name, model = named
    with torch.no_grad():
        next(network_of(model).parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="the transformer gave values that are not finite"):
        sample(model, LABELS, generators(range(3)), STEPS[name])


def test_tokens_are_picked_by_their_share() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log().expand(5, -1)
    chances = torch.tensor([0.0, 0.49, 0.51, 0.8, 1 - 2**-53], dtype=torch.float64)
    assert Step().pick(logits, chances).tolist() == [0, 0, 1, 2, 3]
    assert Step(top_k=2).pick(logits, chances).tolist() == [0, 0, 0, 1, 1]
    assert Step(top_p=0.7).pick(logits, chances).tolist() == [0, 0, 0, 1, 1]
    assert Step(top_p=0.8).pick(logits, chances).tolist() == [0, 0, 0, 1, 2]
    assert Step(temperature=0.01).pick(logits, chances).tolist() == [0] * 5


def test_guidance_rises_as_a_power_of_the_cosine() -> None:
    constant, linear, late = (
        [step.guidance for step in RAR_SIZES.steps(5.0, power, 1.0)] for power in (0.0, 1.0, 2.0)
    )
    assert constant == [5.0] * TOKENS
    assert linear[0] == late[0] == 1
    assert linear[3] == pytest.approx(2)  # (1 - cos(60 degrees)) / 2 is a quarter.
    assert late[3] < linear[3] < linear[8] < 5
