from __future__ import annotations

import lpips
import numpy as np
import pytest
import torch

from benchmarks.random_weights import random_trunk_state_dict
from harness.metrics.lpips import Lpips

NETS = ["alex", "vgg"]


def _signed(images, side=96):
    cropped = np.ascontiguousarray(images[:, 80 : 80 + side, 80 : 80 + side])
    return torch.from_numpy(cropped).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.fixture(scope="module", params=NETS)
def net(request):
    return request.param


@pytest.fixture(scope="module")
def trunk(net):
    return random_trunk_state_dict(net, 0)


@pytest.fixture(scope="module")
def metric(net, trunk):
    return Lpips(net, trunk)


@pytest.fixture(scope="module")
def peer(net, trunk):
    with pytest.MonkeyPatch.context() as patched:
        # It builds torchvision's whole network, whose 138 million weights take seconds to draw.
        for name in ("kaiming_normal_", "kaiming_uniform_", "normal_", "uniform_"):
            patched.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)
        peer = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    for part in range(1, 6):
        for index, layer in getattr(peer.net, f"slice{part}").named_children():
            state = {name: trunk[f"features.{index}.{name}"] for name in layer.state_dict()}
            layer.load_state_dict(state)
    return peer


@pytest.mark.parity
@pytest.mark.filterwarnings(
    "ignore:The parameter 'pretrained'", "ignore:Arguments other than a weight"
)
def test_distances_match_the_lpips_package(metric, peer, photos, degraded):
    reference = _signed(photos[:2])
    candidates = [_signed(degraded[:2]), reference.flip(3), reference * 0.5]
    values = metric.distances(reference, candidates)
    assert values.shape == (3, 2)
    for row, candidate in zip(values, candidates, strict=True):
        with torch.inference_mode():
            expected = peer(reference, candidate).flatten()
        np.testing.assert_allclose(row, expected, rtol=1e-6, atol=1e-9)
        assert torch.equal(metric(reference, candidate), row)


def test_identical_images_are_at_distance_zero(metric, photos):
    images = _signed(photos[:2], 64)
    assert metric(images, images).tolist() == [0, 0]


def test_distances_do_not_depend_on_the_batch_size(metric, photos, degraded):
    x, y = _signed(photos[:5], 64), _signed(degraded[:5], 64)
    expected = metric(x, y)
    for size in (1, 2, 3):
        parts = [metric(x[i : i + size], y[i : i + size]) for i in range(0, 5, size)]
        assert torch.equal(torch.cat(parts), expected)


def test_references_that_are_kept_pass_the_trunk_once_and_change_no_bit(
    net, trunk, photos, degraded
):
    x, others = _signed(photos[:2], 64), [_signed(degraded[:2], 64), _signed(photos[1:3], 64)]
    plain = Lpips(net, trunk)
    keeping = Lpips(net, trunk, keep=1 << 30)
    passes = []
    keeping._layers[0].register_forward_hook(lambda *_: passes.append(1))
    for y in (*others, others[0]):
        assert torch.equal(keeping(x, y), plain(x, y))
    assert len(passes) == 2 + 3 * 2
    assert torch.equal(keeping(x.flip(0), others[0]), plain(x.flip(0), others[0]))
    assert torch.equal(keeping(-x, others[0]), plain(-x, others[0]))
    assert len(passes) == 2 + 4 * 2 + 4


def test_no_more_references_are_kept_than_there_is_room_for(net, trunk, photos, degraded):
    x, y = _signed(photos[:3], 64), _signed(degraded[:3], 64)
    measuring = Lpips(net, trunk, keep=1 << 30)
    measuring(x[:1], y[:1])
    one = (1 << 30) - measuring._kept._room
    keeping = Lpips(net, trunk, keep=2 * one + one // 2)
    for _ in range(2):
        assert torch.equal(keeping(x, y), measuring(x, y))
    assert keeping._kept._room == one // 2
    assert len(keeping._kept._entries) == 2


def test_a_reference_of_the_same_sum_is_not_taken_for_another(net, trunk, photos, degraded):
    x, y = _signed(photos[:1], 64), _signed(degraded[:1], 64)
    keeping = Lpips(net, trunk, keep=1 << 30)
    for images in (x, x.flip(3), x):
        assert torch.equal(keeping(images, y), Lpips(net, trunk)(images, y))


def test_distance_is_symmetric_and_grows_with_noise(metric, photos):
    x = _signed(photos[:2], 64)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    weak, strong = ((x + noise * size).clamp(-1, 1) for size in (0.05, 0.3))
    values = metric.distances(x, [weak, strong])
    assert bool((values[0] < values[1]).all())
    np.testing.assert_allclose(metric(weak, x), values[0], rtol=1e-6)


def test_bad_input_is_named(metric, trunk, net, photos):
    x = _signed(photos[:2], 64)
    with pytest.raises(ValueError, match=r"candidates\[1\] spans .*outside \[-1, 1\]"):
        metric(x, torch.stack([x[0], x[1] * 3]))
    with pytest.raises(ValueError, match="give floats"):
        metric(x, x.to(torch.uint8))
    with pytest.raises(ValueError, match=r"candidates have shape \(1, 3, 64, 64\)"):
        metric(x, x[:1])
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        metric(x[:0], x[:0])
    with pytest.raises(ValueError, match="no candidates"):
        metric.distances(x, [])
    with pytest.raises(ValueError, match="sides of at least"):
        metric(x[..., :15], x[..., :15])
    smallest = {"alex": 31, "vgg": 16}[net]
    assert metric(x[..., :smallest, :smallest], x[..., :smallest, :smallest]).tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"lacks 1 of the .*'features\.0\.bias'"):
        Lpips(net, {k: v for k, v in trunk.items() if k != "features.0.bias"})
    with pytest.raises(ValueError, match="'squeeze' is unknown"):
        Lpips("squeeze", trunk)
    with pytest.raises(ValueError, match="micro_batch is 0"):
        Lpips(net, trunk, micro_batch=0)
