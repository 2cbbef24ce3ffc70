from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.uniwetok.ar.toys import fill_by_formula, tiny, waves
from uniwetok.ar import BitDance


@pytest.fixture(scope="session", params=[1, 4], ids=["serial", "parallel"])
def model(request: pytest.FixtureRequest) -> BitDance:
    """A model with weights by formula that predicts one token a step, and one that does four."""
    return fill_by_formula(BitDance(tiny(request.param)))


@pytest.fixture(scope="session")
def serial() -> BitDance:
    return fill_by_formula(BitDance(tiny()))


@pytest.fixture(scope="session")
def codes() -> Tensor:
    """The codes of three images."""
    return waves((3, 16, 4, 4), phase=0.5).sign()


@pytest.fixture(scope="session")
def labels() -> Tensor:
    return torch.tensor([1, 5, 9])
