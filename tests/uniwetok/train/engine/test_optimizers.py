from __future__ import annotations

import pytest
import torch

from uniwetok.train.engine.optimizers import Ema, learning_rate
from uniwetok.train.engine.settings import OptimizerConfig


def test_the_papers_schedule_is_constant_from_the_first_step():
    config = OptimizerConfig()
    assert {learning_rate(config, step, 250_250) for step in (0, 1, 125_000, 250_249)} == {1e-4}


def test_warm_up_is_linear_and_reaches_the_rate():
    config = OptimizerConfig(learning_rate=1.0, warmup_steps=4)
    assert [learning_rate(config, step, 10) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]


def test_cosine_falls_to_its_end():
    config = OptimizerConfig(learning_rate=1.0, warmup_steps=2, schedule="cosine", final_ratio=0.1)
    rates = [learning_rate(config, step, 13) for step in range(2, 13)]
    assert rates[0] == 1
    assert rates[5] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)


def test_averages_follow_the_weights_from_a_copy():
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    ema = Ema({"w": weight}, decay=0.9)
    with torch.no_grad():
        weight.copy_(torch.tensor([2.0, 2.0]))
    ema.update()
    torch.testing.assert_close(ema.averages["w"], torch.tensor([1.1, 2.0]))
    ema.update()
    torch.testing.assert_close(ema.averages["w"], torch.tensor([1.19, 2.0]))
    assert not ema.averages["w"].requires_grad


def test_a_decay_of_zero_is_the_weight_itself():
    weight = torch.nn.Parameter(torch.zeros(3))
    ema = Ema({"w": weight}, decay=0.0)
    with torch.no_grad():
        weight.fill_(0.3)
    ema.update()
    assert torch.equal(ema.averages["w"], weight)
