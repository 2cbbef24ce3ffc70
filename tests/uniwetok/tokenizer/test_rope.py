from __future__ import annotations

import pytest
import torch

from uniwetok.tokenizer.rope import (
    apply_rotary,
    decoder_positions,
    encoder_positions,
    rotary_table,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("rule", "length", "first"),
    [
        (encoder_positions, 8, [0.5, 1.5, 2.5]),
        (decoder_positions, 8, [0.5, 1.5, 2.5]),
        (encoder_positions, 16, [0.5, 0.966667, 1.433333]),
        (decoder_positions, 16, [0.241935, 0.725806, 1.209677]),
        (encoder_positions, 2, [0.5, 7.5]),
        (decoder_positions, 2, [2.5, 7.5]),
    ],
)
def test_positions(rule, length, first):
    positions = rule(length, torch.float32, CPU)
    ends = torch.cat([positions[: len(first)], positions[-1:]])
    torch.testing.assert_close(ends, torch.tensor([*first, 7.5]), rtol=1e-5, atol=0)


def test_table_turns_with_the_column_then_with_the_row():
    table = rotary_table(encoder_positions, (3, 2), 16, 4, torch.float32, CPU)
    assert table.shape == (4 + 6, 8, 2)
    assert torch.equal(table[:4, :, 0], torch.ones(4, 8))
    assert torch.equal(table[:4, :, 1], torch.zeros(4, 8))
    token = table[4 + 2 * 1 + 0]  # row 1 (position 4), column 0 (position 0.5)
    frequencies = 10000.0 ** (-torch.arange(4) / 4)
    angles = torch.cat([1.5 * frequencies, 5.0 * frequencies])
    torch.testing.assert_close(token, torch.stack([angles.cos(), angles.sin()], dim=-1))


def test_rotation_is_of_adjacent_channels():
    angle = torch.tensor([[0.3, 0.7]])
    table = torch.stack([angle.cos(), angle.sin()], dim=-1)
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)
    expected = torch.view_as_real(
        torch.polar(torch.ones(2), angle[0]) * torch.tensor([1 + 2j, 3 + 4j])
    )
    torch.testing.assert_close(apply_rotary(x, table).flatten(), expected.flatten())


def test_table_of_half_precision_is_computed_in_it():
    table = rotary_table(decoder_positions, (16, 16), 64, 4, torch.bfloat16, CPU)
    exact = rotary_table(decoder_positions, (16, 16), 64, 4, torch.float32, CPU)
    assert table.dtype == torch.bfloat16
    assert (table.float() - exact).abs().max() > (exact.bfloat16().float() - exact).abs().max()
