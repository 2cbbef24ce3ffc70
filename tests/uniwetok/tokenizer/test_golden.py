"""Outputs against those of the released modules, and against our own of a known-good state."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from uniwetok.tokenizer import UniWeTok, UniWeTokConfig

OWN = Path(__file__).parent / "data" / "golden.safetensors"
RELEASED = Path(__file__).parents[3].parent / "shared" / "golden" / "uniwetok_tiny.pt"
FLOAT64 = 1e-6
"""Of float64, on any processor: the golden values are stored in float32, which rounds by 6e-8."""
FLOAT32 = 1e-4
"""Of float32: five times the most that was measured beside float64 (1.8e-5, this decoder, over the
default, AVX2 and AVX-512 kernels of ATen and oneDNN, one and two threads)."""
RELEASED_FLOAT32 = 5e-6
"""What the released modules' own float32 is from float64: 1.3e-6 on the machine that ran them."""


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return ((actual - expected).abs().max() / expected.abs().max()).item()


@pytest.fixture(scope="module")
def exact(model):
    """The model in float64, whose results are those of no processor in particular."""
    return copy.deepcopy(model).double()


@pytest.mark.parametrize("name", ["square", "padded"])
def test_outputs_of_weights_by_formula(model, exact, name):
    """``golden.safetensors`` was written in float64, by a model that agreed with the released."""
    golden = {k.split(".")[1]: v for k, v in load_file(OWN).items() if k.startswith(name)}
    image = golden["image"]
    latents, codes = golden["latents"], golden["latents"].sign()
    assert relative_error(exact.latents(image.double()), latents) < FLOAT64
    assert relative_error(model.latents(image), latents) < FLOAT32
    # No latent lies so near to 0 that another order of additions would turn its sign.
    assert latents.abs().min() / latents.abs().max() > FLOAT32
    assert torch.equal(model.encode(image), codes)
    size = (image.shape[2], image.shape[3])
    decoded = exact.decode(codes.double(), golden["noise"].double(), size=size)
    assert relative_error(decoded, golden["decoded"]) < FLOAT64
    decoded = model.decode(codes, golden["noise"], size=size)
    assert relative_error(decoded, golden["decoded"]) < FLOAT32


@pytest.mark.parity
@pytest.mark.skipif(not RELEASED.exists(), reason="released outputs are not at hand")
@pytest.mark.parametrize("case", [0, 1], ids=["64x64", "128x320"])
def test_outputs_of_the_released_modules(case):
    golden = torch.load(RELEASED, weights_only=True)
    model = UniWeTok(UniWeTokConfig.from_released(golden["config"])).eval()
    model.load_state_dict(golden["state_dict"])
    expected = golden["cases"][case]
    assert expected["h"].abs().min() / expected["h"].abs().max() > FLOAT32
    assert torch.equal(model.encode(expected["x"]), expected["q"])
    for twin, tolerance in ((model, FLOAT32), (model.double(), RELEASED_FLOAT32)):
        kind = next(twin.parameters()).dtype
        image, codes, noise = (expected[key].to(kind) for key in ("x", "q", "noise"))
        assert relative_error(twin.latents(image), expected["h"]) < tolerance
        assert relative_error(twin.decode(codes, noise=noise), expected["rec"]) < tolerance
