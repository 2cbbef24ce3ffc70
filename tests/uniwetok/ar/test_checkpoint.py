"""Loading released and own checkpoints, and what is refused."""

from __future__ import annotations

import argparse
import json

import pytest
import torch
from safetensors.torch import save_file

from tests.uniwetok.ar.toys import fill_by_formula, tiny
from uniwetok.ar import PRESETS, BitDance, checkpoint
from uniwetok.tensors import CheckpointError, shapes


class Unsafe:
    """Not weights."""


@pytest.fixture
def released(model):
    """What the released training saves, the averages being twice the raw weights."""
    tokenizer = {"vae.encoder.conv_in.weight": torch.ones(3)}
    raw = model.state_dict()
    return {
        "model": {**raw, **tokenizer},
        "ema": {**{name: 2 * value for name, value in raw.items()}, **tokenizer},
        "optimizer": {"state": {}, "param_groups": []},
        "epochs": 800,
        "args": argparse.Namespace(model="BitDance-B", latent_dim=32),
    }


def saved(tmp_path, content):
    path = tmp_path / "bitdance.pt"
    torch.save(content, path)
    return path


@pytest.mark.parametrize(("ema", "factor"), [(True, 2), (False, 1)])
def test_released_checkpoint(tmp_path, model, released, ema, factor):
    loaded = BitDance.from_checkpoint(saved(tmp_path, released), config=model.config, ema=ema)
    for name, value in model.state_dict().items():
        assert loaded.state_dict()[name].equal(factor * value), name
    assert not loaded.training
    assert loaded.report.tensors == len(model.state_dict())
    assert loaded.report.from_ema == (loaded.report.tensors if ema else 0)
    tokenizers = {f"{entry}.vae.encoder.conv_in.weight" for entry in ("model", "ema")}
    averages = {f"ema.{name}" for name in ([] if ema else model.state_dict())}
    assert set(loaded.report.ignored) == tokenizers | averages


def test_released_checkpoint_without_averages(tmp_path, model, released):
    del released["ema"]
    loaded = BitDance.from_checkpoint(saved(tmp_path, released), config=model.config)
    assert loaded.report.from_ema == 0


def test_sizes_are_inferred(tmp_path):
    """All but the heads, which are taken to be of 64 channels."""
    for config in (tiny(width=64, heads=1), tiny(4, width=128, heads=2, diffusion_modulations=1)):
        path = saved(tmp_path, BitDance(config).state_dict())
        loaded = BitDance.from_checkpoint(path)
        assert loaded.report.config_source == "inferred"
        assert loaded.config.differences(config) == {}
        assert loaded.config.heads == config.heads


@pytest.mark.parametrize("name", PRESETS)
def test_released_sizes_are_inferred(name):
    """Of 16x codes of 32 bits, and the paper's, from names and shapes alone."""
    with torch.device("meta"):
        found = shapes(BitDance(PRESETS[name]).state_dict())
    inferred = checkpoint.infer_config(found)
    assert inferred is not None
    assert inferred.differences(PRESETS[name]) == {}
    assert inferred.heads == PRESETS[name].heads


def test_saved_model_is_the_same(tmp_path, model, codes, labels):
    model.save_pretrained(tmp_path)
    loaded = BitDance.from_checkpoint(tmp_path)
    assert loaded.report.config_source == "file"
    assert loaded.config == model.config
    seeds = (torch.Generator().manual_seed(1) for _ in range(2))
    losses = [each(codes, labels, seed) for each, seed in zip((model, loaded), seeds, strict=True)]
    assert losses[0].equal(losses[1])
    loaded.save_pretrained(tmp_path)


def test_weights_of_another_size(tmp_path, serial):
    path = saved(tmp_path, fill_by_formula(BitDance(tiny(layers=3))).state_dict())
    with pytest.raises(CheckpointError, match=r"not in the model.*sizes are of.*layers=3"):
        BitDance.from_checkpoint(path, config=serial.config)
    with pytest.raises(CheckpointError, match=r"tensors do not fit: .*latent_channels=16"):
        BitDance.from_checkpoint(path, config=tiny(layers=3, latent_channels=32))


def test_incomplete_weights(tmp_path, serial):
    weights = serial.state_dict()
    del weights["norm.weight"]
    with pytest.raises(CheckpointError, match=r"1 tensors do not fit: norm.weight \(missing\)"):
        BitDance.from_checkpoint(saved(tmp_path, weights), config=serial.config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"weights": torch.ones(2)}}, "no BitDance's sizes can be told"),
        ({"epochs": 3}, "holds no named tensors, at the top or under 'ema'"),
        ([torch.ones(2)], "holds no named tensors"),
        ({"model": Unsafe()}, "refused, because it holds .*Unsafe"),
    ],
)
def test_other_content(tmp_path, content, message):
    with pytest.raises(CheckpointError, match=message):
        BitDance.from_checkpoint(saved(tmp_path, content))


def test_damaged_and_absent_files(tmp_path, serial):
    with pytest.raises(CheckpointError, match="no such file"):
        BitDance.from_checkpoint(tmp_path)
    (tmp_path / "bitdance.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="damaged"):
        BitDance.from_checkpoint(tmp_path / "bitdance.pt")
    save_file(serial.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"depth": 3}))
    with pytest.raises(
        CheckpointError, match=r"not a BitDance configuration: .*unknown fields depth"
    ):
        BitDance.from_checkpoint(tmp_path)
