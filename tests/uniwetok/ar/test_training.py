"""The training loss and what perturbs its input."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.uniwetok.ar.toys import fill_by_formula, tiny
from uniwetok.ar import BitDance
from uniwetok.ar.model import drop_labels, flip_bits


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("parallel_tokens", [1, 4])
def test_loss_at_the_initial_weights(codes, labels, parallel_tokens):
    """The head starts at zero, so the loss is that of predicting 0: 3.08 in the mean."""
    model = BitDance(tiny(parallel_tokens, loss_repeats=200))
    assert model(codes, labels, seeded()).item() == pytest.approx(3.08, abs=0.25)


def test_every_weight_gets_a_gradient(model, codes, labels):
    copy = fill_by_formula(BitDance(model.config)).train()
    copy(codes, labels, seeded()).backward()
    for name, parameter in copy.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_training_learns_the_codes():
    """A loss far below that of a constant prediction shows that it does not."""
    torch.manual_seed(0)
    model = BitDance(tiny(flip_rate=0.0, label_dropout=0.0)).train()
    labels = torch.arange(4)
    codes = torch.randn(4, 16, 4, 4, generator=seeded(1)).sign()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        model(codes, labels).backward()
        optimizer.step()
    assert model.eval()(codes, labels, seeded()).item() < 0.6


def test_loss_under_autocast(model, codes, labels):
    exact = model(codes, labels, seeded())
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(codes, labels, seeded())
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)


def test_generators_decide_the_loss(model, codes, labels):
    assert model(codes, labels, seeded(1)).equal(model(codes, labels, seeded(1)))
    assert not model(codes, labels, seeded(1)).equal(model(codes, labels, seeded(2)))


def test_input_is_perturbed_in_training_only(codes, labels):
    model = fill_by_formula(BitDance(tiny(flip_rate=1.0, label_dropout=1.0)))
    seen = []
    model.hidden_states = lambda *given: seen.append(given) or torch.zeros(3, 16, 32)
    model(codes, labels, seeded())
    model.train()(codes, labels, seeded())
    (clean, kept), (flipped, dropped) = seen
    assert clean.equal(codes.flatten(2).mT)
    assert kept.equal(labels)
    assert 0.4 < (flipped != clean).float().mean() < 0.6
    assert dropped.tolist() == [10, 10, 10]


@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
def test_bits_are_flipped_at_half_the_rate(rate):
    bits = torch.ones(400_000)
    flipped = flip_bits(bits, rate, seeded())
    assert set(flipped.unique().tolist()) <= {-1.0, 1.0}
    assert (flipped < 0).float().mean().item() == pytest.approx(rate / 2, abs=0.003)


def test_dropped_labels_become_the_null_class():
    labels = torch.randint(1000, (100_000,), generator=seeded(1))
    dropped = drop_labels(labels, 1000, 0.1, seeded())
    changed = dropped != labels
    assert set(dropped[changed].tolist()) == {1000}
    assert changed.float().mean().item() == pytest.approx(0.1, abs=0.005)


def test_the_null_class_is_the_last_row(codes):
    model = BitDance(dataclasses.replace(tiny(), label_dropout=1.0)).train()
    fill_by_formula(model).train()
    model(codes, torch.tensor([1, 5, 9]), seeded()).backward()
    rows = model.cls_embedding.weight.grad.any(dim=1)
    assert rows.nonzero().flatten().tolist() == [10]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": torch.tensor([1, 5, 10])}, ValueError, r"label 10 is none of the 10 classes"),
        ({"labels": torch.tensor([-1, 5, 9])}, ValueError, r"label -1 is none of the 10 classes"),
        ({"labels": torch.tensor([1.0])}, TypeError, "int64 tensor, got .* float32"),
        ({"labels": torch.tensor([[1]])}, ValueError, r"labels must be \(batch,\)"),
        (
            {"labels": torch.tensor([1, 5])},
            ValueError,
            r"codes of 2 labels must be \(2, 16, 4, 4\)",
        ),
        ({"codes": torch.ones(3, 128, 4, 4)}, ValueError, "must agree in bits a token"),
        ({"codes": torch.ones(3, 16, 16)}, ValueError, r"got \(3, 16, 16\) float32"),
        ({"codes": torch.ones(3, 16, 4, 4).long()}, TypeError, "floating tensor of \\+1 and -1"),
    ],
)
def test_bad_input(serial, codes, labels, change, error, message):
    with pytest.raises(error, match=message):
        serial(**{"codes": codes, "labels": labels, **change})
