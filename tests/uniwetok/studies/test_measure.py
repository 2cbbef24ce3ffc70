"""What is measured, on cases with known answers."""

from __future__ import annotations

import math

import pytest
import torch

from uniwetok.studies.measure import Side, bit_entropy, fresh_prior_loss, measure, top1
from uniwetok.studies.runner import StoredTeacher, batches
from uniwetok.studies.settings import ARMS, MiniSettings
from uniwetok.tokenizer.model import UniWeTok


def unit(count: int, width: int) -> torch.Tensor:
    draws = torch.randn(count, width, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(draws, dim=1)


def test_top1_counts_answers_nearest_to_their_own() -> None:
    embeddings = unit(8, 16)
    assert top1(3 * embeddings, embeddings) == 1
    assert top1(embeddings.roll(1, 0), embeddings) == 0
    assert top1(embeddings[:1].expand(8, -1), embeddings) == 1 / 8


def test_bit_entropy_of_known_shares() -> None:
    codes = torch.ones(4, 2, 2, 2)
    assert bit_entropy(codes) == 0
    codes[:, 0, 0] = -1  # Half of the first channel; the second stays constant.
    assert bit_entropy(codes) == pytest.approx(0.5)
    codes[:, 1, 0, 0] = -1
    quarter = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert bit_entropy(codes) == pytest.approx((1 + quarter) / 2)


@pytest.mark.slow
def test_a_fresh_prior_finds_predictable_codes_easier() -> None:
    draws = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 2, (64, 16, 4, 4), generator=draws).float() * 2 - 1
    same = noise[:1, :, :1, :1].expand_as(noise).contiguous()
    hard = fresh_prior_loss(noise[:48], noise[48:], steps=60, seed=0)
    easy = fresh_prior_loss(same[:48], same[48:], steps=60, seed=0)
    assert easy < 0.8 * hard


def test_no_head_and_no_prior_leave_their_values_out() -> None:
    config = ARMS["no-ppd"].config(MiniSettings(), 0)
    tokenizer = UniWeTok(config.model).eval()
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    side = Side(images, unit(6, 8))
    values = measure(tokenizer, None, side, side, prior_steps=0, seed=0)
    assert {"psnr", "probe_cosine", "probe_top1", "bit_entropy"} < set(values)
    assert not {"pre_cosine", "post_cosine", "prior_loss"} & set(values)
    assert values["chance_top1"] == pytest.approx(1 / 6)
    # On what it was fitted to, the regression cannot be worse than the mean that it contains.
    assert values["probe_cosine"] >= values["constant_cosine"] - 1e-6


def test_a_stored_teacher_answers_by_content() -> None:
    images, embeddings = torch.rand(5, 3, 4, 4), unit(5, 8)
    teacher = StoredTeacher(images, embeddings)
    assert teacher.width == 8
    assert torch.equal(teacher.embed(images[[3, 0]]), embeddings[[3, 0]])
    with pytest.raises(KeyError):
        teacher.embed(images[:1] + 1)


def test_batches_cover_each_epoch_alike_for_a_seed() -> None:
    def first(count: int, size: int, seed: int, batches_wanted: int) -> list[list[int]]:
        endless = batches(count, size, seed)
        return [next(endless).tolist() for _ in range(batches_wanted)]

    epoch = first(10, 3, 0, 3)
    assert [len(rows) for rows in epoch] == [3, 3, 3]
    assert len({row for rows in epoch for row in rows}) == 9
    assert first(10, 3, 0, 7) == first(10, 3, 0, 7)
    assert first(10, 3, 0, 3) != first(10, 3, 1, 3)
    assert [sorted(rows) for rows in first(2, 3, 0, 2)] == [[0, 1], [0, 1]]
