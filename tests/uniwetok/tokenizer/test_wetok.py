"""The convolutional autoencoder of WeTok and BitDance: outputs, sizes, and whose weights are whose.

``data/wetok.safetensors`` was written in float64 by WeTok's released modules (`improved_model.py`,
`lookup_free_quantize.py`, commit caa2ad7) with weights, images and noise by the formulas of
conftest.py, and by `pad_images` and `unpad_images` of its `evaluation_original_reso_dist.py`.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.uniwetok.tokenizer.conftest import fill_by_formula, waves
from tests.uniwetok.tokenizer.test_golden import FLOAT32, FLOAT64, relative_error
from uniwetok.tensors import CheckpointError
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig, checkpoint
from uniwetok.tokenizer.model import encoder_digest

OWN = Path(__file__).parent / "data" / "wetok.safetensors"
RELEASED = Path(__file__).parents[3].parent / "shared" / "golden" / "bitdance_ae_tiny.pt"
SIZES = {"channels": 32, "num_res_blocks": 1, "latent_channels": 16, "groups": 2}
PLAIN = UniWeTokConfig.wetok(**SIZES, channel_multipliers=(1, 1, 1, 2), generative=False)
GENERATIVE = UniWeTokConfig.wetok(**SIZES, channel_multipliers=(1, 1, 1, 1, 1, 2))
CASES = {"plain": (PLAIN, (20, 41), 1.25), "generative": (GENERATIVE, (72, 101), 0.75)}


@pytest.fixture(scope="module")
def plain() -> UniWeTok:
    return fill_by_formula(UniWeTok(PLAIN))


@pytest.mark.parametrize("name", CASES)
def test_outputs_of_weights_by_formula(name: str) -> None:
    config, size, phase = CASES[name]
    golden = {k.split(".")[1]: v for k, v in load_file(OWN).items() if k.startswith(name)}
    image, latents = waves((1, 3, *size), phase), golden["latents"]
    noise = waves(tuple(latents.shape), phase + 9) if config.generative else None
    model = fill_by_formula(UniWeTok(config))
    assert tuple(latents.shape[2:]) == config.grid(*size)
    assert latents.abs().min() / latents.abs().max() > FLOAT32
    codes = model.encode(image)
    assert torch.equal(model.indices(codes)[0], golden["indices"].long())
    for twin, tolerance in ((copy.deepcopy(model).double(), FLOAT64), (model, FLOAT32)):
        assert relative_error(twin.latents(image.to(twin.dtype)), latents) < tolerance
        decoded = twin.decode(codes, noise, size=size)
        assert relative_error(decoded, golden["decoded"]) < tolerance


@pytest.mark.parity
@pytest.mark.skipif(not RELEASED.exists(), reason="released outputs are not at hand")
@pytest.mark.parametrize("kind", ["plain", "gan"])
def test_outputs_of_bitdances_modules(kind: str, tmp_path: Path) -> None:
    golden = torch.load(RELEASED, weights_only=True)[kind]
    ddconfig = {k: v for k, v in golden["config"].items() if k != "gan_decoder"}
    save_file(golden["state_dict"], tmp_path / "ae.safetensors")
    released = {"ddconfig": ddconfig, "gan_decoder": kind == "gan"}
    (tmp_path / "ae_config.json").write_text(json.dumps(released))
    model = UniWeTok.from_checkpoint(tmp_path)
    for case in golden["cases"]:
        assert torch.equal(model.encode(case["x"]), case["q"])
        noise = case.get("noise")
        for twin in (model, copy.deepcopy(model).double()):
            assert relative_error(twin.latents(case["x"].to(twin.dtype)), case["latents"]) < FLOAT32
            assert relative_error(twin.decode(case["q"], noise), case["rec"]) < FLOAT32


def test_only_a_generative_decoder_draws(plain: UniWeTok) -> None:
    codes = plain.encode(waves((1, 3, 32, 32), 0.5))
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    first, second = (plain.decode(codes, generator=[seed]) for seed in seeds)
    assert torch.equal(first, second)
    assert all(torch.equal(seed.get_state(), torch.Generator().manual_seed(n).get_state())
               for n, seed in enumerate(seeds, 1))  # fmt: skip
    with pytest.raises(ValueError, match="not generative and takes no noise"):
        plain.decode(codes, noise=codes)


@pytest.mark.parametrize(
    ("config", "size", "grid", "least", "most"),
    [(PLAIN, (17, 48), (4, 6), 17, 32), (GENERATIVE, (65, 96), (3, 3), 65, 96)],
)
def test_images_are_padded_to_16_pixels(
    config: UniWeTokConfig, size: tuple[int, int], grid: tuple[int, int], least: int, most: int
) -> None:
    assert config.grid(*size) == grid
    assert config.grid(least, 64)[0] == config.grid(most, 64)[0] == grid[0]
    assert config.grid(least - 1, 64)[0] < grid[0] < config.grid(most + 1, 64)[0]
    model = UniWeTok(config).eval()
    with pytest.raises(ValueError, match=rf"the height must be in {least}\.\.{most} "):
        model.decode(torch.ones(1, 16, *grid), size=(least - 1, size[1]))


@pytest.mark.parametrize(
    "config",
    [
        PLAIN,
        GENERATIVE,
        UniWeTokConfig.wetok(**SIZES, channel_multipliers=(1, 1)),
        UniWeTokConfig.wetok(**SIZES, channel_multipliers=(1, 2, 4), bottleneck="double"),
        UniWeTokConfig.wetok(
            channels=32, channel_multipliers=(1, 2), num_res_blocks=3, latent_channels=18, groups=1
        ),
    ],
)
def test_sizes_are_told_by_names_and_shapes(config: UniWeTokConfig, tmp_path: Path) -> None:
    model = UniWeTok(config)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "a.pt")
    assert checkpoint.describe(tmp_path / "a.pt")[0] == config
    loaded = UniWeTok.from_checkpoint(tmp_path / "a.pt")
    assert loaded.config == config
    assert f"assumed, for no config.json is beside them: groups={config.groups}" in str(
        loaded.report
    )
    model.save_pretrained(tmp_path / "own")
    assert UniWeTok.from_checkpoint(tmp_path / "own").config == config


def test_a_configuration_is_read_as_the_weights_are(tmp_path: Path) -> None:
    """Released `ddconfig`s of both can have the same entries: UniWeTok's others have defaults."""
    ddconfig = {
        "ch": 32, "ch_mult": [1, 1], "num_res_blocks": 1, "z_channels": 16, "in_channels": 3,
        "out_ch": 3, "resolution": 256, "double_z": False,
    }  # fmt: skip
    convolutional = UniWeTokConfig.wetok(**SIZES, channel_multipliers=(1, 1), generative=False)
    unified = UniWeTokConfig(**SIZES, channel_multipliers=(1, 1), attention_blocks=2, heads=8)
    for config in (convolutional, unified):
        path = tmp_path / "ae_d2c16.safetensors"
        save_file(UniWeTok(config).state_dict(), path)
        beside = {"ddconfig": ddconfig if config is convolutional else {**ddconfig, "n_heads": 8}}
        path.with_name("ae_d2c16_config.json").write_text(json.dumps(beside))
        assert UniWeTok.from_checkpoint(path).config == config
    named = {"ddconfig": ddconfig, "gan_decoder": True, "num_codebooks": 1}
    read = UniWeTokConfig.from_released(named, "wetok")
    assert (read.generative, read.groups) == (True, 1)
    flat = {**ddconfig, "gan_decoder": True, "checkpoint": None}
    assert UniWeTokConfig.from_released(flat, "wetok").generative
    generative = UniWeTokConfig.wetok(**SIZES, channel_multipliers=(1, 1))
    save_file(UniWeTok(generative).state_dict(), path)
    path.with_name("ae_d2c16_config.json").write_text(json.dumps({"ddconfig": ddconfig}))
    assert UniWeTok.from_checkpoint(path).config == generative
    with pytest.raises(ValueError, match="unknown \\['attn_blocks'\\]"):
        UniWeTokConfig.from_released({**ddconfig, "attn_blocks": 2}, "wetok")


def test_weights_of_another_architecture_are_refused(plain: UniWeTok, tmp_path: Path) -> None:
    weights = plain.state_dict()
    attention = {"encoder.mid_block.0.attn.weight": torch.ones(2)}
    changes = {
        "neither": {k: v for k, v in weights.items() if not k.startswith("encoder.mid_block")},
        "both": {**weights, "encoder.register_token.weight": torch.zeros(4, 64)},
        "more": {**weights, **attention},
        "fewer": {k: v for k, v in weights.items() if k != "decoder.conv_out.bias"},
    }
    texts = {
        "neither": "no UniWeTok's sizes can be told",
        "both": "no UniWeTok's sizes can be told",
        "more": "encoder.mid_block.0.attn.weight (not in the model)",
        "fewer": "decoder.conv_out.bias (missing)",
    }
    for name, changed in changes.items():
        torch.save(changed, tmp_path / f"{name}.pt")
        with pytest.raises(CheckpointError) as caught:
            UniWeTok.from_checkpoint(tmp_path / f"{name}.pt")
        assert texts[name] in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"attention_blocks": 1}, "has no transformer"),
        ({"register_tokens": 4}, "has no transformer"),
        ({"num_res_blocks": 0}, "at least one residual block"),
        ({"architecture": "vqgan"}, "architecture='vqgan' is unknown"),
        ({"generative": 1}, "generative must be True or False"),
        ({"architecture": "uniwetok", "generative": False}, "can do without noise"),
    ],
)
def test_impossible_configurations(changes: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        UniWeTokConfig.wetok(**{**SIZES, "channel_multipliers": (1, 1), **changes})


def test_codes_are_identified_by_the_encoder(plain: UniWeTok) -> None:
    other = UniWeTok(UniWeTokConfig.wetok(**SIZES, channel_multipliers=(1, 1, 1, 2)))
    other.encoder.load_state_dict(plain.encoder.state_dict())
    assert encoder_digest(other) == encoder_digest(plain)
    assert "architecture" not in UniWeTokConfig().to_dict()
