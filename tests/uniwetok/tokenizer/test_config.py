from __future__ import annotations

import json
from dataclasses import replace

import pytest

from uniwetok.tokenizer import UniWeTokConfig

RELEASED = {
    "ch": 128,
    "ch_mult": [1, 1, 2, 2, 4, 8],
    "num_res_blocks": 2,
    "z_channels": 128,
    "in_channels": 3,
    "out_ch": 3,
    "attn_blocks": 16,
    "n_heads": 16,
    "double_z": False,
    "resolution": 256,
}


def test_default_is_the_papers():
    config = UniWeTokConfig()
    assert config.widths == (128, 128, 256, 256, 512, 1024)
    assert (config.width, config.downsample, config.min_image_size) == (1024, 32, 64)
    assert (config.bits_per_group, config.bytes_per_token) == (8, 16)


def test_released_names_translate_both_ways():
    assert UniWeTokConfig.from_released(RELEASED) == UniWeTokConfig()
    assert UniWeTokConfig().to_released() == RELEASED


def test_released_ae_config_wraps_the_ddconfig():
    wrapped = {"ddconfig": RELEASED, "gan_decoder": True, "checkpoint": ""}
    assert UniWeTokConfig.from_released(wrapped) == UniWeTokConfig()


def test_released_defaults_are_those_of_the_released_code():
    given = {k: v for k, v in RELEASED.items() if k not in ("ch_mult", "attn_blocks", "n_heads")}
    config = UniWeTokConfig.from_released(given)
    assert config.channel_multipliers == (1, 2, 2, 4)
    assert (config.attention_blocks, config.heads) == (2, 16)


def test_groups_of_a_released_config_have_8_bits_where_they_can():
    assert UniWeTokConfig.from_released({**RELEASED, "z_channels": 32}).groups == 4
    assert UniWeTokConfig.from_released({**RELEASED, "z_channels": 18}).groups == 1


def test_dict_survives_json():
    config = UniWeTokConfig(
        groups=8, rope_in_activation_dtype=True, siglu=False, bottleneck="single"
    )
    assert UniWeTokConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": 7}, "groups=7 does not divide latent_channels=128"),
        ({"channels": 48}, "48 channels wide .* multiple of 32"),
        ({"heads": 3}, "heads=3 does not split width 1024"),
        ({"channels": 0}, "channels=0 must be a whole number of at least 1"),
        ({"latent_channels": 128.0}, "latent_channels=128.0 must be a whole number of at least 1"),
        ({"num_res_blocks": -1}, "num_res_blocks=-1 must be a whole number of at least 0"),
        ({"attention_blocks": True}, "attention_blocks=True must be a whole number of at least 0"),
        ({"siglu": 1}, "siglu must be True or False, got 1"),
        ({"bottleneck": "triple"}, "'triple' is unknown; choose one of double, single"),
        ({"bottleneck": "single", "num_res_blocks": 0}, "use bottleneck='double'"),
        ({"channel_multipliers": ()}, "channel_multipliers is empty"),
        ({"plain_levels": 2}, "plain_levels=2: the finest 3 levels must be equally wide"),
        (
            {"channel_multipliers": (1, 1), "heads": 1, "plain_levels": 2},
            "the finest 3 levels must be equally wide",
        ),
        (
            {"channel_multipliers": (1, 0)},
            "channel_multipliers=0 must be a whole number",
        ),
    ],
)
def test_impossible_sizes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(UniWeTokConfig(), **change)


def test_heads_are_free_without_attention():
    assert UniWeTokConfig(attention_blocks=0, heads=3).heads == 3


def test_unknown_and_missing_names_are_refused():
    with pytest.raises(ValueError, match="unknown fields depth; known: in_channels"):
        UniWeTokConfig.from_dict({"depth": 1})
    renamed = {("embed_dim" if k == "z_channels" else k): v for k, v in RELEASED.items()}
    with pytest.raises(ValueError, match=r"missing \['z_channels'\], unknown \['embed_dim'\]"):
        UniWeTokConfig.from_released(renamed)


def test_dict_without_the_newer_fields():
    values = UniWeTokConfig().to_dict()
    del values["siglu"], values["bottleneck"]
    assert UniWeTokConfig.from_dict(values) == UniWeTokConfig()


def test_one_bottleneck_needs_no_blocks_where_nothing_widens():
    config = UniWeTokConfig(
        bottleneck="single", num_res_blocks=0, channel_multipliers=(1, 1), heads=1
    )
    assert config.widths == (128, 128)


@pytest.mark.parametrize("change", [{"siglu": False}, {"bottleneck": "single"}])
def test_released_code_builds_one_encoder(change):
    with pytest.raises(ValueError, match="always has SigLu and the double bottleneck"):
        UniWeTokConfig(**change).to_released()
    with pytest.raises(ValueError, match=rf"unknown \['{next(iter(change))}'\]"):
        UniWeTokConfig.from_released({**RELEASED, **change})


def test_released_code_has_residual_blocks_on_every_level():
    config = UniWeTokConfig(plain_levels=1)
    assert config.res_blocks == (0, 2, 2, 2, 2, 2)
    with pytest.raises(ValueError, match="plain_levels=1: in the released code every level"):
        config.to_released()


def test_released_code_has_four_register_tokens():
    with pytest.raises(ValueError, match="register_tokens=8: the released code always has 4"):
        UniWeTokConfig(register_tokens=8).to_released()
