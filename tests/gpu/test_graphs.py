"""What is recorded as a CUDA graph gives the bits of what is started kernel by kernel."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.random_weights import random_inception_state_dict, random_trunk_state_dict
from harness.engine.world import model_arithmetic, reproducible
from harness.metrics.dists import Dists
from harness.metrics.inception import INPUT_RULES, InceptionFeatures
from harness.metrics.lpips import Lpips
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig
from uwt_images import graphs

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
TINY = UniWeTokConfig(channels=32, num_res_blocks=1, attention_blocks=2, heads=4)
ROUNDS = 6


def images_of(seed: int, count: int = 8, side: int = 128) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, side, side, generator=draws).mul_(2).sub_(1).to(DEVICE)


def recorded(owner: Any) -> int:
    return len(owner._graphs._graphs)


def tokenizer() -> UniWeTok:
    torch.manual_seed(0)
    return UniWeTok(TINY).eval().to(DEVICE)


def coded(network: UniWeTok, images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    codes = network.encode(images)
    noise = [torch.Generator().manual_seed(seed + row) for row in range(len(images))]
    return codes, network.decode(codes, generator=noise)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_tokenizer(precision: Any) -> None:
    plain, started_at_once = tokenizer(), tokenizer().record()
    with reproducible(DEVICE):
        for seed in range(ROUNDS):
            images = images_of(seed)
            with model_arithmetic(DEVICE, precision):
                want, got = (coded(each, images, seed) for each in (plain, started_at_once))
            assert all(map(torch.equal, want, got))
    assert recorded(started_at_once) == 2


def test_one_shape_in_several_arithmetics() -> None:
    plain, started_at_once = tokenizer(), tokenizer().record()
    with reproducible(DEVICE):
        for seed in range(ROUNDS):
            images = images_of(seed)
            for precision in ("fp32", "bf16"):
                with model_arithmetic(DEVICE, precision):
                    want, got = (coded(each, images, seed) for each in (plain, started_at_once))
                assert all(map(torch.equal, want, got)), precision
    assert recorded(started_at_once) == 4


def networks() -> dict[str, Any]:
    """Each with a function of two batches of images."""
    rule = INPUT_RULES["wetok"]
    trunk = random_trunk_state_dict("vgg", 0)
    draws = torch.Generator().manual_seed(0)
    heads = {name: torch.rand(1, 1475, 1, 1, generator=draws) for name in ("alpha", "beta")}
    inception = InceptionFeatures(
        random_inception_state_dict(0), *rule, device=DEVICE, micro_batch=8
    )
    found: dict[str, Any] = {
        "inception": (inception, lambda x, _: inception((x + 1) / 2)["pool3"]),
        "alex": Lpips("alex", random_trunk_state_dict("alex", 0), DEVICE, micro_batch=8),
        "vgg": Lpips("vgg", trunk, DEVICE, micro_batch=8),
        "dists": Dists(trunk, heads, DEVICE, micro_batch=8),
    }
    return {name: each if isinstance(each, tuple) else (each, each) for name, each in found.items()}


@pytest.mark.parametrize("name", ["inception", "alex", "vgg", "dists"])
def test_metric_networks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(images_of(seed), images_of(seed + 100)) for seed in range(ROUNDS)]
    owner, measure = networks()[name]
    with reproducible(DEVICE):
        got = [measure(*pair) for pair in pairs]
        assert recorded(owner) == 1
        # The arithmetic of a model that computes meanwhile does not come into it.
        with model_arithmetic(DEVICE, "tf32"):
            loose = measure(*pairs[0])
        monkeypatch.setattr(graphs, "_MOST", 0)
        owner, measure = networks()[name]
        want = [measure(*pair) for pair in pairs]
        assert recorded(owner) == 0
    assert all(map(torch.equal, want, got))
    assert torch.equal(loose, want[0])


def test_a_tokenizer_after_a_network() -> None:
    """What the first recording makes serves later ones, in another mode of inference."""
    owner, measure = networks()["alex"]
    plain, started_at_once = tokenizer(), tokenizer().record()
    with reproducible(DEVICE):
        for seed in range(ROUNDS):
            measure(images_of(seed), images_of(seed + 1))
        assert recorded(owner) == 1
        for seed in range(ROUNDS):
            images = images_of(seed)
            want, got = (coded(each, images, seed) for each in (plain, started_at_once))
            assert all(map(torch.equal, want, got))
        torch.rand(3, device=DEVICE)
    assert recorded(started_at_once) == 2


def test_weights_that_were_moved_are_those_that_count() -> None:
    plain, started_at_once = tokenizer(), tokenizer().record()
    for seed in range(ROUNDS):
        coded(started_at_once, images_of(seed), seed)
    torch.manual_seed(1)
    other = UniWeTok(TINY).to(DEVICE).state_dict()
    for network in (plain, started_at_once):
        network.load_state_dict(other, assign=True)
    want, got = (coded(each, images_of(0), 0) for each in (plain, started_at_once))
    assert all(map(torch.equal, want, got))


def test_side_by_side_they_do_not_disturb_each_other() -> None:
    """A model on one stream and a network on another, each with scratch memory of its own."""
    network = tokenizer().record()
    owner, measure = networks()["vgg"]
    images, other = images_of(0, side=256), images_of(1, side=256)
    with reproducible(DEVICE), model_arithmetic(DEVICE, "fp32"):
        for _ in range(4):
            want = coded(network, images, 0), measure(images, other)
        torch.cuda.synchronize()
        assert recorded(network), recorded(owner)
        wrong: list[str] = []

        def beside() -> None:
            with torch.cuda.stream(torch.cuda.Stream()):
                for _ in range(30):
                    if not torch.equal(measure(images, other), want[1]):
                        wrong.append("network")

        thread = threading.Thread(target=beside)
        thread.start()
        for _ in range(30):
            if not all(map(torch.equal, coded(network, images, 0), want[0])):
                wrong.append("model")
        thread.join()
    assert not wrong


def test_nothing_is_recorded_where_memory_is_scarce(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_has_room", lambda *_: False)
    network = tokenizer().record()
    first = [coded(network, images_of(0), 0)[1] for _ in range(ROUNDS)]
    assert recorded(network) == 0
    assert all(torch.equal(first[0], each) for each in first)
