from __future__ import annotations

import torch

from uniwetok.train.engine.ema import Ema


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
