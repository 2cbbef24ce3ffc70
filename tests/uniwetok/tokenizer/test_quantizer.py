from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st

from uniwetok.tokenizer.quantizer import (
    codes_to_indices,
    pack,
    quantize,
    quantize_straight_through,
    unpack,
)


def random_codes(seed: int, shape: tuple[int, int, int, int]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, shape, generator=generator).float() * 2 - 1


def test_sign_of_zero_and_nan_is_minus():
    latents = torch.tensor([0.5, -0.5, 0.0, -0.0, float("nan")])
    assert quantize(latents).tolist() == [1, -1, -1, -1, -1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_straight_through_codes_are_exact_and_pass_gradients_on(dtype):
    generator = torch.Generator().manual_seed(0)
    latents = (torch.randn(10_000, generator=generator) * 3).to(dtype)
    latents[0] = 0
    latents.requires_grad_()
    codes = quantize_straight_through(latents)
    assert codes.dtype == dtype
    assert torch.equal(codes, quantize(latents))
    gradient = torch.randn(10_000, generator=generator).to(dtype)
    assert torch.equal(torch.autograd.grad(codes, latents, gradient)[0], gradient)


@pytest.mark.parametrize(("channel", "group", "index"), [(0, 0, 1), (7, 0, 128), (15, 1, 128)])
def test_groups_are_least_significant_bit_first(channel, group, index):
    codes = -torch.ones(1, 128, 1, 1)
    codes[0, channel] = 1
    expected = torch.zeros(16, dtype=torch.int64)
    expected[group] = index
    assert torch.equal(codes_to_indices(codes, 16)[0, 0, 0], expected)
    assert pack(codes)[0] == bytes(expected.tolist())


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 3),
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    channels=st.integers(1, 40),
)
def test_unpack_inverts_pack(seed, batch, rows, columns, channels):
    codes = random_codes(seed, (batch, channels, rows, columns))
    packed = pack(codes)
    assert [len(sample) for sample in packed] == [rows * columns * -(-channels // 8)] * batch
    assert torch.equal(unpack(packed, (rows, columns), channels), codes)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(1, 12), groups=st.integers(1, 4))
def test_indices_are_in_range_and_hold_every_bit(seed, bits, groups):
    codes = random_codes(seed, (2, bits * groups, 3, 2))
    indices = codes_to_indices(codes, groups)
    assert indices.shape == (2, 3, 2, groups)
    assert indices.dtype == torch.int64
    assert 0 <= indices.min() <= indices.max() < 2**bits
    unfolded = (indices.unsqueeze(-1) >> torch.arange(bits) & 1).flatten(-2)
    assert torch.equal(unfolded.movedim(-1, 1) * 2 - 1, codes.long())


def test_packed_bytes_are_the_indices_of_groups_of_8_bits():
    codes = random_codes(0, (2, 128, 3, 4))
    joined = b"".join(pack(codes))
    assert list(joined) == codes_to_indices(codes, 16).flatten().tolist()


@pytest.mark.parametrize("value", [0.0, 0.99, float("nan"), 2.0])
def test_values_other_than_signs_are_refused(value):
    codes = torch.ones(1, 16, 2, 2)
    codes[0, 3, 1, 0] = value
    for use in (pack, lambda codes: codes_to_indices(codes, 2)):
        with pytest.raises(ValueError, match=rf"1 of 64 values are not, such as {value:g}"):
            use(codes)


def test_groups_beyond_an_integer_are_refused():
    with pytest.raises(ValueError, match="1 groups of 128 bits"):
        codes_to_indices(torch.ones(1, 128, 1, 1), 1)


@pytest.mark.parametrize(
    ("packed", "error", "message"),
    [
        ([b"\0" * 7], ValueError, "sample 0 has 7 bytes; a grid of 2x2 tokens of 16 bits takes 8"),
        ([b"\0" * 8, "text"], TypeError, "sample 1 is a str, expected bytes"),
        (b"\0" * 8, TypeError, r"wrap it: \[packed\]"),
        ([], ValueError, "no samples"),
    ],
)
def test_unpack_refuses(packed, error, message):
    with pytest.raises(error, match=message):
        unpack(packed, (2, 2), 16)


def test_unpack_refuses_set_padding():
    with pytest.raises(ValueError, match="padding bit is set"):
        unpack([b"\xff"], (1, 1), 7)
