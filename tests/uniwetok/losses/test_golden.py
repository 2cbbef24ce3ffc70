"""The released quantizer's losses on (2, 128, 4, 4) latents."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from uniwetok.losses import EntropyConfig
from uniwetok.losses.entropy import entropy_loss
from uniwetok.tokenizer.quantizer import codes_to_indices, quantize

RELEASED = Path(__file__).parents[3].parent / "shared" / "golden" / "gq.pt"
GROUPS = 16


@pytest.mark.parity
@pytest.mark.skipif(not RELEASED.exists(), reason="released outputs are not at hand")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs_of_the_released_quantizer(dtype):
    golden = torch.load(RELEASED, weights_only=True)
    latents = golden["x"].to(dtype)
    terms = entropy_loss(latents, GROUPS, EntropyConfig())
    for ours, theirs in (
        (terms.token, golden["sample_entropy"]),
        (terms.codebook, golden["codebook_entropy"]),
        (terms.auxiliary, golden["aux"]),
    ):
        torch.testing.assert_close(ours.float(), theirs, rtol=0, atol=2e-6)
    codes = quantize(latents)
    assert torch.equal(codes.float(), golden["q"])
    indices = codes_to_indices(codes, GROUPS).flatten(0, 2)
    assert torch.equal(indices, torch.stack(golden["indices"], dim=1))
