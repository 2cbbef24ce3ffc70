"""Causality, caching and the order of tokens."""

from __future__ import annotations

import pytest
import torch

from tests.uniwetok.ar.toys import tiny, waves
from uniwetok.ar import BitDance
from uniwetok.ar.layers import Linear
from uniwetok.ar.transformer import KeyValueCache, generation_order, to_codes, to_tokens


@torch.no_grad()
def test_cached_decoding_is_teacher_forcing(model, codes, labels):
    config = model.config
    tokens = to_tokens(codes, config)
    table = model.rotary_table()
    cache = KeyValueCache(config, len(labels), config.sequence, tokens)
    hidden = [model.prefill(labels, table, cache)]
    for group in tokens.split(config.parallel_tokens, dim=1)[:-1]:
        hidden.append(model.advance(group, table, cache))
    assert cache.filled == config.sequence
    torch.testing.assert_close(
        torch.cat(hidden, dim=1), model.hidden_states(tokens, labels), rtol=0, atol=1e-5
    )


@torch.no_grad()
@pytest.mark.parametrize("changed", [0, 6, 14])
def test_a_token_changes_later_steps_only(model, codes, labels, changed):
    config = model.config
    tokens = to_tokens(codes, config)
    other = tokens.clone()
    other[:, changed] *= -1
    before, after = (model.hidden_states(each, labels) for each in (tokens, other))
    differs = (before != after).any(dim=2).any(dim=0)
    following = (changed // config.parallel_tokens + 1) * config.parallel_tokens
    assert not differs[:following].any()
    assert differs[following:].all()


def test_tokens_of_one_step_see_each_other():
    mask = BitDance(tiny(4))._mask(4 + 3 + 12)
    assert mask[:3, :3].equal(torch.ones(3, 3, dtype=torch.bool).tril())
    for first in (3, 7, 11, 15):
        assert mask[first : first + 4, : first + 4].all()
        assert not mask[first : first + 4, first + 4 :].any()


def test_order_of_generation():
    assert generation_order(tiny()).tolist() == list(range(16))
    assert generation_order(tiny(4)).tolist()[:8] == [0, 1, 4, 5, 2, 3, 6, 7]


@pytest.mark.parametrize("parallel_tokens", [1, 4, 16])
def test_tokens_and_codes_are_inverse(codes, parallel_tokens):
    config = tiny(parallel_tokens)
    assert to_codes(to_tokens(codes, config), config).equal(codes)


def test_rotary_table_places_tokens_in_generation_order():
    config = tiny(4)
    table = BitDance(config).rotary_table()
    assert table.shape == (config.sequence, 8, 2)
    assert table[: config.prefix].equal(torch.tensor([1.0, 0.0]).expand(config.prefix, 8, 2))
    column, row = 1.5, 2.5  # of the third token, the first of the second row
    expected = torch.tensor([column, row]).cos()
    torch.testing.assert_close(table[config.prefix + 2, [0, 4], 0], expected)


def test_rotary_table_stays_in_float32():
    model = BitDance(tiny())
    exact = model.rotary_table()
    assert model.to(torch.bfloat16).rotary_table().equal(exact)


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", range(1, 7))
def test_linear_of_few_rows(rows, bias):
    layer = Linear(16, 24, bias=bias)
    for x in (waves((rows, 1, 16), 0.5), waves((16, rows), 0.5).T):
        expected = torch.nn.functional.linear(x, layer.weight, layer.bias)
        torch.testing.assert_close(layer(x), expected)
        assert layer(x).is_contiguous()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 9, 16), (1, 16), (0, 3, 16)])
def test_gradients_of_linear(bias, shape):
    layer = Linear(16, 24, bias=bias)
    x = torch.randn(shape, requires_grad=True)
    with_respect_to = [x, *layer.parameters()]
    expected = torch.nn.functional.linear(x, layer.weight, layer.bias)
    given = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, with_respect_to, given)
    found = torch.autograd.grad(layer(x), with_respect_to, given)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)


def test_linear_of_a_constant_and_of_frozen_weights():
    layer = Linear(16, 24)
    layer(torch.randn(9, 16)).sum().backward()
    assert layer.bias.grad.equal(torch.full((24,), 9.0))
    x = torch.randn(9, 16, requires_grad=True)
    layer.requires_grad_(False)(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(9, -1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_linear_of_other_precisions(dtype):
    layer = Linear(16, 24).to(dtype)
    x = torch.randn(9, 16, dtype=dtype)
    assert layer(x).equal(torch.nn.functional.linear(x, layer.weight, layer.bias))


def test_linear_in_mixed_precision():
    with torch.autocast("cpu", torch.bfloat16):
        assert Linear(16, 24)(torch.randn(9, 16)).dtype == torch.bfloat16


@torch.no_grad()
def test_bfloat16_is_near_float32(model, codes, labels):
    tokens = to_tokens(codes, model.config)
    exact = model.hidden_states(tokens, labels)
    half = BitDance(model.config)
    half.load_state_dict(model.state_dict())
    half.to(torch.bfloat16)
    rounded = half.hidden_states(tokens.bfloat16(), labels)
    assert rounded.dtype == torch.bfloat16
    assert (rounded - exact).norm() / exact.norm() < 0.02
