"""Sampling: guidance, random streams and independence of the batch."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.uniwetok.ar.toys import fill_by_formula, tiny
from uniwetok.ar import BitDance, Guidance, sample
from uniwetok.ar.solver import Solver, as_tensors, solver_of
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig


def streams(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def draw(model, labels=(1, 5, 9), seeds=(1, 2, 3), steps=3, **guidance):
    return sample(
        model,
        torch.tensor(labels),
        streams(*seeds),
        guidance=Guidance(**guidance) if guidance else None,
        steps=steps,
    )


GUIDANCES = [
    {},
    {"scale": 3.0},
    {"scale": 3.0, "first_token": "shared"},
    {"scale": 3.0, "schedule": "constant"},
    {"scale": 3.0, "schedule": "interval", "interval": (0.3, 0.8)},
    {"scale": 0.5, "schedule": "constant"},
]


@pytest.mark.parametrize("guidance", GUIDANCES, ids=str)
def test_codes_are_signs_of_the_tokenizers_shape(model, guidance):
    codes = draw(model, **guidance)
    assert codes.shape == (3, 16, 4, 4)
    assert codes.dtype == torch.float32
    assert set(codes.unique().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("guidance", GUIDANCES, ids=str)
def test_a_sample_does_not_depend_on_its_batch(model, guidance):
    together = draw(model, **guidance)
    alone = [
        draw(model, [label], [seed], **guidance)
        for label, seed in zip((1, 5, 9), (1, 2, 3), strict=True)
    ]
    assert torch.cat(alone).equal(together)
    assert draw(model, (9, 1, 5), (3, 1, 2), **guidance).equal(together[[2, 0, 1]])


def test_what_is_drawn_must_be_finite(serial):
    broken = copy.deepcopy(serial)
    with torch.no_grad():
        broken.cls_embedding.weight[5] = torch.nan
    with pytest.raises(ValueError, match="diffusion head gave values that are not finite"):
        draw(broken)
    assert draw(broken, (1, 9), (1, 3)).isfinite().all()


def test_streams_and_labels_decide(serial):
    one, other_stream, other_label, again = draw(serial, (1, 1, 2, 1), (1, 2, 1, 1))
    assert one.equal(again)
    assert not one.equal(other_stream)
    assert not one.equal(other_label)


def test_scale_one_is_no_guidance(model):
    assert draw(model, scale=1.0).equal(draw(model))
    assert draw(model, scale=1.0, schedule="constant").equal(draw(model))


def test_an_empty_interval_is_no_guidance(model):
    """Its weight is 1 at every time, but the null branch is there and must not matter."""
    guidance = {"scale": 5.0, "schedule": "interval", "interval": (0.4, 0.45)}
    assert draw(model, first_token="shared", **guidance).equal(draw(model))


def test_a_full_interval_is_constant_guidance(model):
    assert draw(model, scale=3.0, schedule="interval").equal(
        draw(model, scale=3.0, schedule="constant")
    )


def test_scale_zero_ignores_the_class(model):
    codes = draw(model, (1, 5), (4, 4), scale=0.0, schedule="constant")
    assert codes[0].equal(codes[1])


def test_first_token_of_the_null_branch(serial):
    """The image's own first token is the same; what the null branch saw shows afterwards."""
    released, shared = (
        draw(serial, scale=8.0, first_token=first_token) for first_token in ("released", "shared")
    )
    assert not released.equal(shared)
    unguided = draw(serial)[:, :, 0, 0]
    assert shared[:, :, 0, 0].equal(unguided)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [5.0, 5.0, 5.0]),
        ("linear", [1.0, 3.0, 4.75]),
        ("interval", [1.0, 5.0, 1.0]),
    ],
)
def test_schedules(schedule, expected):
    guidance = Guidance(scale=5.0, schedule=schedule, interval=(0.2, 0.7))
    weights = [guidance.weight(step, 16, time) for step, time in ((0, 0.0), (8, 0.5), (15, 0.95))]
    assert weights == expected


def test_times_of_the_solver(serial):
    times = Solver(serial.head.net, steps=4).times
    assert times == pytest.approx([0, 0.2375, 0.475, 0.7125, 0.95])


@torch.no_grad()
def test_solver_in_chunks(serial):
    """More steps than a chunk holds, against the network called as in training."""
    steps = 20
    noise = torch.randn(steps + 1, 2, 1, 16, generator=torch.Generator().manual_seed(0))
    condition = torch.randn(2, 1, 32, generator=torch.Generator().manual_seed(1))
    solver = Solver(serial.head.net, steps)
    z = noise[0]
    for t, xi in zip(solver.times, noise[1:], strict=False):
        velocity = (serial.head.net(z, torch.full((2,), t), condition) - z) / (1 - t)
        score = (t * velocity - z) / (1 - t)
        drift = velocity + (1 - t) * score
        z = z + drift * 0.95 / steps + (2 * (1 - t) * 0.95 / steps) ** 0.5 * xi
    expected = z + (serial.head.net(z, torch.full((2,), 0.95), condition) - z) / 0.05 * 0.05
    solved = solver.solve(condition, noise, [1.0] * (steps + 1))
    torch.testing.assert_close(solved, expected, rtol=0, atol=1e-5)


def test_a_trained_model_draws_what_it_learned():
    torch.manual_seed(0)
    model = BitDance(tiny(flip_rate=0.0)).train()
    labels = torch.arange(3)
    codes = torch.randn(3, 16, 4, 4).sign()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        model(codes, labels).backward()
        optimizer.step()
    drawn = draw(model.eval(), (0, 1, 2), steps=10, scale=2.0)
    assert (drawn == codes).float().mean() > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("guidance", [{}, {"scale": 3.0}], ids=str)
def test_compiled_sampling(serial, guidance):
    """On a CPU, without CUDA graphs."""
    labels, noise = torch.tensor([1, 5, 9]), streams(1, 2, 3)
    solver = solver_of(serial.head.net, 3, compiled=True)
    compiled = sample(serial, labels, noise, guidance=Guidance(**guidance), steps=3, solver=solver)
    assert (compiled == draw(serial, **guidance)).float().mean() > 0.99


@pytest.mark.slow
@torch.no_grad()
def test_a_compiled_solver_is_the_eager_one(serial):
    condition = torch.randn(4, 1, 32, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(6, 2, 1, 16, generator=torch.Generator().manual_seed(0))
    weights = [3.0, 1.0, 3.0, 2.0, 1.0, 3.0]
    eager, compiled = (
        Solver(serial.head.net, 5, compiled=compiled).solve(condition, noise, weights)
        for compiled in (False, True)
    )
    torch.testing.assert_close(compiled, eager, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ("weights", "rows"),
    [([3.0, 1.0, 2.0, 3.0], 4), ([(3.0, 1.5)] * 4, 6)],
    ids=["two branches", "three branches"],
)
def test_weights_of_guidance_as_tensors(serial, weights, rows):
    """As a CUDA graph reads them."""
    condition = torch.randn(rows, 1, 32, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(4, 2, 1, 16, generator=torch.Generator().manual_seed(0))
    solver = Solver(serial.head.net, 3)
    unguided = [weight == 1 for weight in weights]
    by_tensors = solver.run(condition, noise, as_tensors(torch.tensor(weights)), unguided)
    torch.testing.assert_close(
        by_tensors, solver.solve(condition, noise, weights), rtol=0, atol=1e-6
    )


def test_a_solver_is_kept_between_batches(serial):
    solver = solver_of(serial.head.net, 3)
    kept = [
        sample(serial, torch.tensor([1, 5]), streams(1, 2), steps=3, solver=solver)
        for _ in range(2)
    ]
    assert torch.equal(kept[0], kept[1])
    assert torch.equal(kept[0], sample(serial, torch.tensor([1, 5]), streams(1, 2), steps=3))
    with pytest.raises(ValueError, match="the solver takes 3 steps, not 4"):
        sample(serial, torch.tensor([1, 5]), streams(1, 2), steps=4, solver=solver)


def test_bfloat16(serial):
    half = BitDance(serial.config).eval()
    half.load_state_dict(serial.state_dict())
    codes = draw(half.to(torch.bfloat16), scale=3.0)
    assert codes.dtype == torch.bfloat16
    assert set(codes.unique().tolist()) == {-1.0, 1.0}


def test_released_streams_draw_for_the_whole_batch(serial):
    labels = torch.tensor([1, 5])
    first, second = (
        sample(serial, labels, torch.Generator().manual_seed(3), steps=2, streams="released")
        for _ in range(2)
    )
    assert first.equal(second)


def test_the_tokenizer_decodes_samples(serial):
    tokenizer = UniWeTok(
        UniWeTokConfig(
            channels=32,
            channel_multipliers=(1, 1, 2),
            num_res_blocks=1,
            latent_channels=16,
            attention_blocks=1,
            heads=1,
            groups=2,
        )
    )
    images = tokenizer.decode(draw(serial), generator=torch.Generator().manual_seed(0))
    assert images.shape == (3, 3, 16, 16)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": torch.tensor([1000])}, ValueError, "label 1000 is none of the 10 classes 0..9"),
        ({"labels": [1]}, TypeError, "labels must be an int64 tensor, got list"),
        ({"labels": torch.tensor([], dtype=torch.int64)}, ValueError, r"labels must be \(batch,\)"),
        ({"steps": 0}, ValueError, "steps=0 must be a whole number of at least 1"),
        ({"generators": streams(1, 2)}, ValueError, "2 generators for 1 samples"),
        ({"generators": torch.Generator()}, ValueError, "a single generator for 1 samples"),
        ({"streams": "released"}, ValueError, "pass a single generator"),
        ({"streams": "own"}, ValueError, "'own' is neither 'per-sample' nor 'released'"),
    ],
)
def test_bad_input(serial, change, error, message):
    arguments = {"labels": torch.tensor([1]), "generators": streams(1), "steps": 2, **change}
    with pytest.raises(error, match=message):
        sample(serial, **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": -1.0}, "guidance scale must be a finite number >= 0, got -1.0"),
        ({"scale": float("nan")}, "guidance scale must be a finite number"),
        ({"schedule": "cosine"}, "'cosine' is none of constant, linear, interval"),
        ({"interval": (0.8, 0.2)}, "interval must be two times in order"),
        ({"first_token": "own"}, "'own' is neither released nor shared"),
    ],
)
def test_bad_guidance(change, message):
    with pytest.raises(ValueError, match=message):
        Guidance(**change)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", Guidance(scale=2.0)),
        ("constant", Guidance(scale=2.0, schedule="constant")),
        ("interval:0.2-.8", Guidance(scale=2.0, schedule="interval", interval=(0.2, 0.8))),
        ("interval:0-1", Guidance(scale=2.0, schedule="interval")),
    ],
)
def test_guidance_from_options(schedule, expected):
    assert Guidance.from_options(2.0, schedule, "released") == expected


@pytest.mark.parametrize(
    ("schedule", "first_token", "message"),
    [
        ("interval", "released", "not one of linear, constant, interval:LOW-HIGH"),
        ("interval:a-b", "released", "not one of"),
        ("interval:0.8-0.2", "released", "two times in order within 0..1, got"),
        ("interval:0-2", "released", "two times in order within 0..1, got"),
        ("linear", "own", "'own' is neither released nor shared"),
    ],
)
def test_bad_options_of_guidance(schedule, first_token, message):
    with pytest.raises(ValueError, match=message):
        Guidance.from_options(2.0, schedule, first_token)


def test_guidance_needs_a_null_class():
    model = fill_by_formula(BitDance(tiny(label_dropout=0.0)))
    assert draw(model).shape == (3, 16, 4, 4)
    with pytest.raises(
        ValueError, match="needs the null class, which a model with label_dropout=0"
    ):
        draw(model, scale=2.0)
