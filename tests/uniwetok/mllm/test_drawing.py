from __future__ import annotations

import pytest
import torch

from tests.uniwetok.mllm import toys
from uniwetok.ar.solver import Solver
from uniwetok.mllm import Drawing, MLLMError, collate
from uniwetok.mllm.head import BoundedDenoiser
from uniwetok.randomness import stream

STEPS = 3


@pytest.fixture(scope="module", params=[1, 4, 16])
def assistant(request):
    return toys.assistant(request.param, context=1024)


@pytest.fixture(scope="module")
def serial():
    return toys.assistant()


def side(assistant, count: int = 1) -> int:
    return count * max(assistant.model.config.multiple, 64)


@torch.no_grad()
def redrawn(assistant, sources, text, drawn, seed, cfg, seen):
    """Draw again without a cache, the sequence built and run anew at every step.

    Two ways to compute a condition differ in its last bits, and the solver can make much of that.
    So each step goes on from the codes that were drawn; the conditions are compared within a
    tolerance, and the codes with what the solver makes of the very conditions that were seen.

    Returns:
        the largest difference of conditions, and the codes.
    """
    model, patch = assistant.model, assistant.model.config.parallel_tokens
    solver = Solver(model.vision_head.net, STEPS)
    generator = stream(seed, "tokens")
    batch = collate([[assistant.builder.editing([], None, drawn)]])
    codes, differences = torch.zeros_like(drawn), []
    for step, condition in enumerate(seen):
        outputs = [
            model.outputs(collate([[assistant.builder.editing(sources, each, drawn)]]))
            for each in ([text, None] if cfg != 1 else [text])
        ]
        anew = torch.cat([output.conditions[step : step + 1] for output in outputs])
        differences.append((anew - condition).abs().max())
        noise = torch.randn(STEPS + 1, patch, toys.BITS, generator=generator)[:, None]
        bits = solver.solve(condition, noise, [cfg] * (STEPS + 1))[0].sign()
        rows, columns = batch.code_grid[step * patch : (step + 1) * patch].T
        codes[:, rows, columns] = bits.T
    return max(differences), codes


@pytest.fixture
def seen_conditions(monkeypatch):
    seen = []
    original = Solver.solve

    def solve(self, condition, noise, weights):
        seen.append(condition)
        return original(self, condition, noise, weights)

    monkeypatch.setattr(Solver, "solve", solve)
    return seen


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_cached_generation_is_that_without_a_cache(assistant, cfg, seen_conditions):
    height, width = side(assistant, 2), side(assistant)
    drawing = Drawing(height=height, width=width, cfg=cfg, steps=STEPS)
    (codes,) = assistant.draw(["A red square"], [7], drawing)
    seen = list(seen_conditions)
    assert codes.shape == (toys.BITS, height // 32, width // 32)
    assert len(seen) == codes[0].numel() // assistant.model.config.parallel_tokens
    difference, expected = redrawn(assistant, [], "A red square", codes, 7, cfg, seen)
    assert difference < 1e-5
    assert torch.equal(codes, expected)


def test_cached_editing_is_that_without_a_cache(assistant, seen_conditions):
    size = side(assistant)
    picture = toys.picture(side(assistant, 2), size)
    drawing = Drawing(height=size, width=size, cfg=3, steps=STEPS)
    (codes,) = assistant.draw(["变成黄色"], [7], drawing, images=[[picture]])
    seen = list(seen_conditions)
    sources = assistant.encode([picture])
    difference, expected = redrawn(assistant, sources, "变成黄色", codes, 7, 3, seen)
    assert difference < 1e-5
    assert torch.equal(codes, expected)


def test_an_image_depends_on_its_own_prompt_and_seed(assistant):
    prompts = ["A red square", "一个绿色的圆, beside a square on a blue ground", "A red square"]
    drawing = Drawing(height=side(assistant), width=side(assistant, 2), cfg=3, steps=2)
    together = assistant.draw(prompts, [1, 2, 3], drawing)
    for prompt, seed, codes in zip(prompts, [1, 2, 3], together, strict=True):
        (alone,) = assistant.draw([prompt], [seed], drawing)
        assert torch.equal(codes, alone)
    assert not torch.equal(together[0], together[2])


def test_prompt_guidance_and_sources_have_an_effect(serial):
    drawn = [
        serial.draw([prompt], [1], Drawing(height=64, width=96, cfg=cfg, steps=2))[0]
        for prompt, cfg in [("A red square", 1), ("A green circle", 1), ("A red square", 6)]
    ]
    pictures = [toys.picture(64, 96), toys.picture(64, 96, 1)]
    drawn += [
        serial.draw(["A red square"], [1], drawing, images=[[picture]])[0]
        for picture in pictures
        for drawing in (Drawing(cfg=6, image_cfg=image, steps=2) for image in (1, 3))
    ]
    for place, codes in enumerate(drawn):
        assert not any(torch.equal(codes, other) for other in drawn[:place])


@pytest.mark.parametrize(("cfg", "image_cfg", "rows"), [(1, 1, 2), (2, 1, 4), (2, 2, 4), (2, 3, 6)])
def test_branches_that_count_for_nothing_are_not_run(serial, monkeypatch, cfg, image_cfg, rows):
    seen = set()
    denoise = BoundedDenoiser.denoise

    def counted(self, noisy, modulations):
        seen.add(len(noisy))
        return denoise(self, noisy, modulations)

    monkeypatch.setattr(BoundedDenoiser, "denoise", counted)
    pictures = [[toys.picture(64, 64)]] * 2
    drawing = Drawing(cfg=cfg, image_cfg=image_cfg, steps=1)
    serial.draw(["A", "B"], [1, 2], drawing, images=pictures)
    assert seen == {rows}


def test_editing_sizes_are_the_sources(serial):
    pictures = [toys.picture(90, 130), toys.picture(64, 96), toys.picture(100, 140)]
    drawing, sources = Drawing(steps=1), [[each] for each in pictures]
    codes = serial.draw(["A", "B", "C"], [1, 2, 3], drawing, images=sources)
    assert [tuple(each.shape[1:]) for each in codes] == [(3, 4), (2, 3), (3, 4)]
    (alone,) = serial.draw(["C"], [3], drawing, images=[[pictures[2]]])
    assert torch.equal(codes[2], alone)


def test_progress_ends_with_all_tokens(assistant):
    told = []
    size = side(assistant)
    assistant.draw(
        ["A"],
        [1],
        Drawing(height=size, width=size, steps=1),
        on_step=lambda done, total: told.append((done, total)),
    )
    tokens = (size // 32) ** 2
    assert told[-1] == (tokens, tokens)
    assert len(told) == tokens // assistant.model.config.parallel_tokens


def test_bad_requests_are_refused(serial):
    drawing = Drawing(height=64, width=64)
    with pytest.raises(MLLMError, match="empty prompt"):
        serial.draw([" "], [1], drawing)
    with pytest.raises(MLLMError, match=r"64x70 is not supported.*nearest is 64x64"):
        serial.draw(["A"], [1], Drawing(height=64, width=70))
    with pytest.raises(MLLMError, match="exceed the model's context of 512 tokens"):
        serial.draw(["red square " * 300], [1], drawing)
    with pytest.raises(MLLMError, match="empty instruction"):
        serial.draw([""], [1], Drawing(), images=[[toys.picture(64, 64)]])
    with pytest.raises(MLLMError, match="no image to edit for 'A'"):
        serial.draw(["A"], [1], Drawing(), images=[[]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0 must be"),
        ({"height": 64}, "both, or neither"),
        ({"cfg": -1}, "guidance by text must be"),
        ({"image_cfg": float("nan")}, "guidance by image must be"),
    ],
    ids=str,
)
def test_impossible_drawings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Drawing(**options)
