from __future__ import annotations

import numpy as np
import pytest
import torch
from cleanfid.resize import build_resizer
from pytorch_fid import inception as pytorch_fid_inception
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from benchmarks.random_weights import random_inception_state_dict
from harness.metrics.inception import INPUT_RULES, InceptionFeatures, inception_shapes


def _tensor(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _relative(value, expected):
    return float((value - expected).norm() / expected.norm())


@pytest.fixture(scope="module")
def extractor(inception_file):
    return InceptionFeatures(inception_file, *INPUT_RULES["torch-fidelity"])


@pytest.fixture(scope="module")
def features(extractor, photos):
    return extractor(_tensor(photos))


@pytest.mark.parity
def test_features_match_torch_fidelity(inception_file, features, photos):
    peer = FeatureExtractorInceptionV3(
        "peer", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(inception_file)
    )
    taps = []
    peer.Mixed_6d.branch1x1.register_forward_hook(lambda *call: taps.append(call[2]))
    pool3, logits = peer(_tensor(photos))
    spatial = taps[0][:, :7].permute(0, 2, 3, 1).reshape(len(photos), -1)

    assert INPUT_RULES["adm"] == INPUT_RULES["torch-fidelity"]
    assert features["pool3"].shape == (8, 2048)
    assert features["spatial"].shape == (8, 2023)
    assert features["logits"].shape == (8, 1008)
    # Up to 5.2e-7 on an Intel, less on an AMD: whose kernels sum in which order.
    assert _relative(features["pool3"], pool3) <= 1e-6
    assert _relative(features["logits"], logits) <= 1e-6
    # Not averaged over space, so float32 itself is coarser: torch-fidelity is 1e-6 from float64.
    assert _relative(features["spatial"], spatial) <= 2e-6


@pytest.mark.parity
def test_features_match_pytorch_fid(monkeypatch, inception_state, degraded):
    monkeypatch.setattr(
        pytorch_fid_inception, "load_state_dict_from_url", lambda *_, **__: inception_state
    )
    peer = pytorch_fid_inception.InceptionV3().eval()
    images = _tensor(degraded) / 255
    expected = peer(images)[0].flatten(1)
    extractor = InceptionFeatures(inception_state, *INPUT_RULES["wetok"], outputs=["pool3"])
    features = extractor(images)
    assert list(features) == ["pool3"]
    assert _relative(features["pool3"], expected) <= 5e-7


@pytest.mark.parity
def test_clean_rule_prepares_what_clean_fid_feeds_its_network(inception_state, photos):
    extractor = InceptionFeatures(inception_state, *INPUT_RULES["clean"])
    resize = build_resizer("clean")
    expected = torch.stack([torch.from_numpy(resize(p)).permute(2, 0, 1) for p in photos[:3]])
    prepared = extractor.prepare(_tensor(photos[:3]))
    assert _relative(prepared * 128 + 128, expected) <= 1e-6


@pytest.mark.parametrize("size", [1, 3, 5])
def test_features_do_not_depend_on_the_batch_size(extractor, features, photos, size):
    images = _tensor(photos)
    parts = [extractor(images[i : i + size]) for i in range(0, len(images), size)]
    for name, expected in features.items():
        assert torch.equal(torch.cat([part[name] for part in parts]), expected)


def test_features_do_not_depend_on_place_or_neighbours(extractor, features, photos):
    moved = extractor(_tensor(np.roll(photos, 3, axis=0)))
    for name, expected in features.items():
        assert torch.equal(moved[name].roll(-3, dims=0), expected)


def test_images_of_different_sizes_are_prepared_apart(extractor, photos):
    small, large = _tensor(photos[:1, :100]), _tensor(photos[1:2])
    joined = extractor.extract(torch.cat([extractor.prepare(small), extractor.prepare(large)]))
    assert torch.equal(joined["pool3"][1:], extractor(large)["pool3"])


def test_weights_are_read_without_executing_pickles(tmp_path, inception_state):
    class Payload:
        def __reduce__(self):
            return (print, ("executed",))

    path = tmp_path / "evil.pth"
    torch.save({**inception_state, "extra": Payload()}, path)
    with pytest.raises(ValueError, match=r"evil\.pth is not a state dict"):
        InceptionFeatures(path, *INPUT_RULES["adm"])


def test_wrong_weights_are_named(inception_state):
    rule = INPUT_RULES["adm"]
    lacking = {k: v for k, v in inception_state.items() if k != "Mixed_5b.branch1x1.bn.bias"}
    with pytest.raises(ValueError, match=r"lacks 1 of the .* 'Mixed_5b\.branch1x1\.bn\.bias'"):
        InceptionFeatures(lacking, *rule)
    with pytest.raises(ValueError, match=r"'fc\.weight' .* \(1000, 2048\).* needs \(1008, 2048\)"):
        InceptionFeatures({**inception_state, "fc.weight": torch.zeros(1000, 2048)}, *rule)
    with pytest.raises(ValueError, match=r"'fc\.bias' .* not finite"):
        InceptionFeatures({**inception_state, "fc.bias": torch.full((1008,), torch.nan)}, *rule)
    with pytest.raises(ValueError, match="holds a list"):
        InceptionFeatures([1], *rule)


def test_bad_images_are_named(inception_state, extractor):
    unit = InceptionFeatures(inception_state, *INPUT_RULES["wetok"])
    good = torch.rand(2, 3, 32, 32)
    with pytest.raises(ValueError, match="takes uint8"):
        extractor(good)
    with pytest.raises(ValueError, match="give floats"):
        unit((good * 255).to(torch.uint8))
    with pytest.raises(ValueError, match=r"images\[1\] spans .*outside \[0, 1\]"):
        unit(torch.stack([good[0], good[1] * 2 - 1]))
    with pytest.raises(ValueError, match=r"images\[0\]"):
        unit(torch.stack([good[0].fill_(torch.nan), good[1]]))
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        unit(good[:0])
    with pytest.raises(ValueError, match="pass the result of prepare"):
        unit.extract(good)


def test_unknown_options_are_named(inception_state):
    with pytest.raises(ValueError, match="'lanczos' is unknown"):
        InceptionFeatures(inception_state, "lanczos", "byte")
    with pytest.raises(ValueError, match="'int' is unknown"):
        InceptionFeatures(inception_state, "bilinear", "int")
    with pytest.raises(ValueError, match=r"outputs \['768'\]"):
        InceptionFeatures(inception_state, "bilinear", "byte", ["768"])
    with pytest.raises(ValueError, match="micro_batch is 0"):
        InceptionFeatures(inception_state, "bilinear", "byte", micro_batch=0)


def test_random_weights_depend_on_the_seed_only(inception_state):
    again, other = random_inception_state_dict(0), random_inception_state_dict(1)
    assert list(again) == list(inception_shapes())
    assert all(torch.equal(again[k], inception_state[k]) for k in again)
    assert not torch.equal(other["fc.weight"], again["fc.weight"])
