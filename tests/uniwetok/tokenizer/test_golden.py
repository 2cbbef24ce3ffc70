"""Outputs against those of the released modules, and against our own of a known-good state."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from uniwetok.tokenizer import UniWeTok, UniWeTokConfig

OWN = Path(__file__).parent / "data" / "golden.safetensors"
RELEASED = Path(__file__).parents[3].parent / "shared" / "golden" / "uniwetok_tiny.pt"
TOLERANCE = 1e-5


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return ((actual - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("name", ["square", "padded"])
def test_outputs_of_weights_by_formula(model, name):
    """``golden.safetensors`` was written when the model agreed with the released modules."""
    golden = {k.split(".")[1]: v for k, v in load_file(OWN).items() if k.startswith(name)}
    image = golden["image"]
    assert relative_error(model.latents(image), golden["latents"]) < TOLERANCE
    codes = model.encode(image)
    assert torch.equal(codes, golden["latents"].sign())
    decoded = model.decode(codes, golden["noise"], size=(image.shape[2], image.shape[3]))
    assert relative_error(decoded, golden["decoded"]) < TOLERANCE


@pytest.mark.parity
@pytest.mark.skipif(not RELEASED.exists(), reason="released outputs are not at hand")
@pytest.mark.parametrize("case", [0, 1], ids=["64x64", "128x320"])
def test_outputs_of_the_released_modules(case):
    golden = torch.load(RELEASED, weights_only=True)
    model = UniWeTok(UniWeTokConfig.from_released(golden["config"])).eval()
    model.load_state_dict(golden["state_dict"])
    expected = golden["cases"][case]
    assert relative_error(model.latents(expected["x"]), expected["h"]) < TOLERANCE
    assert torch.equal(model.encode(expected["x"]), expected["q"])
    decoded = model.decode(expected["q"], noise=expected["noise"])
    assert relative_error(decoded, expected["rec"]) < TOLERANCE
