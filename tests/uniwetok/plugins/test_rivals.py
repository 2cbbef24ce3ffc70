"""Other projects' models of classes: small checkpoints of the released forms, measured."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from harness.engine.models import ModelChoice
from harness.interfaces.errors import UserError
from tests.conftest import CommandLine
from uniwetok.rivals.llamagen import LlamaGenConfig
from uniwetok.rivals.open_magvit2 import OpenMAGVIT2Config
from uniwetok.rivals.rar import RARConfig
from uniwetok.rivals.var import VARConfig
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig
from uniwetok.vqgan import VQGAN, VQGANConfig
from uniwetok.vqgan.autoencoder import Levels

CODES, CLASSES = 16, 1000
MAGVIT2_OPTIONS = "cfg=1.75&cfg_post=1.85&temperature=1.1"
RAR_OPTIONS = "cfg=2&power=1&temperature=1"
SIDES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
TOKENS = sum(side**2 for side in SIDES)


def random_weights(network: nn.Module) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: 0.3 * torch.randn(weight.shape, generator=generator)
        for name, weight in network.state_dict().items()
    }


def levels(attention: bool, fused: bool = False) -> Levels:
    """A sixteenth of each side, in the fewest channels that the norms take."""
    ends = (False,) * 4 + (attention,)
    return Levels((32,) * 5, (1,) * 5 if not attention else (2,) * 5, ends, 4, fused)


def llamagen_tokenizer() -> dict[str, Any]:
    """As `vq_ds16_c2i.pt` is: levels of the decoder from the latents, under `model`."""
    places = levels(attention=True)
    config = VQGANConfig(places, places, CODES, 4, "cosine")

    def renamed(name: str) -> str:
        for kind, place in {"block_1": 0, "attn_1": 1, "block_2": 2}.items():
            name = name.replace(f"mid.{kind}.", f"mid.{place}.")
        name = re.sub(r"^encoder\.down\.(\d)\.", r"encoder.conv_blocks.\1.", name)
        name = re.sub(
            r"^decoder\.up\.(\d)\.", lambda m: f"decoder.conv_blocks.{4 - int(m[1])}.", name
        )
        return re.sub(r"(conv_blocks\.\d)\.block\.", r"\1.res.", name)

    weights = random_weights(VQGAN(config))
    return {"model": {renamed(name): value for name, value in weights.items()}}


def maskgit_tokenizer() -> dict[str, Any]:
    places = levels(attention=False)
    config = VQGANConfig(places, places, CODES, 4, "nearest", kernel=0, maskgit=True)
    return random_weights(VQGAN(config))


def var_tokenizer() -> dict[str, Any]:
    places = levels(attention=True, fused=True)
    config = VQGANConfig(places, places, CODES, 4, "scales", kernel=3, convolutions=4)
    return random_weights(VQGAN(config))


def llamagen(side: int) -> dict[str, Any]:
    """As the training script saves it, with what else it saves."""
    weights = random_weights(LlamaGenConfig(64, 1, 1, CODES, CLASSES, side).build())
    return {"model": weights, "steps": 3, "args": argparse.Namespace(gpt_model="GPT-L")}


def rar() -> dict[str, Any]:
    return random_weights(RARConfig(32, 1, 2, 48, CODES, CLASSES, 256).build())


def var() -> dict[str, Any]:
    """With the buffers that are saved too."""
    weights = random_weights(VARConfig(32, 1, 2, 48, 4, CODES, CLASSES, SIDES).build())
    mask = torch.full((1, 1, TOKENS, TOKENS), -torch.inf).triu(1)
    buffers = {"attn_bias_for_masking": mask, "blocks.0.attn.zero_k_bias": torch.zeros(32)}
    return {**weights, **buffers, "lvl_1L": torch.zeros(1, TOKENS, dtype=torch.long)}


def magvit2() -> dict[str, Any]:
    """A Lightning checkpoint; it holds the tokenizer's weights too, of which one stands here."""
    weights = random_weights(OpenMAGVIT2Config(64, 1, 1, 1, (2, 2), CLASSES).build())
    first = {"first_stage_model.encoder.conv_in.weight": torch.zeros(32, 3, 3, 3)}
    return {"state_dict": weights | first, "global_step": 3}


def magvit2_tokenizer() -> dict[str, Any]:
    config = UniWeTokConfig.wetok(
        channels=32, channel_multipliers=(1, 1, 1, 1, 1), num_res_blocks=1, latent_channels=4,
        groups=1, generative=False,
    )  # fmt: skip
    return {"state_dict": random_weights(UniWeTok(config))}


FILES: dict[str, Callable[[], dict[str, Any]]] = {
    "c2i_L_256.pt": lambda: llamagen(16),
    "c2i_L_384.pt": lambda: llamagen(24),
    "vq_ds16_c2i.pt": llamagen_tokenizer,
    "rar_l.bin": rar,
    "maskgit-vqgan-imagenet-f16-256.bin": maskgit_tokenizer,
    "var_d20.pth": var,
    "vae_ch160v4096z32.pth": var_tokenizer,
    "AR_256_XL.ckpt": magvit2,
    "imagenet_256_L.ckpt": magvit2_tokenizer,
}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All the files in one folder, under their released names."""
    folder = tmp_path_factory.mktemp("released")
    for name, make in FILES.items():
        torch.save(make(), folder / name)
    return folder


MODELS = {
    "llamagen:{}?file=c2i_L_384&cfg=2": ("llamagen:c2i_L_384?cfg=2", 576),
    "llamagen:{}/c2i_L_256.pt?cfg=1&top_k=4&top_p=0.9": (
        "llamagen:c2i_L_256?cfg=1&top_k=4&top_p=0.9",
        256,
    ),
    "rar:{}?file=rar_l.bin&cfg=4&power=1&temperature=1.02&dtype=bfloat16": (
        "rar:rar_l?cfg=4&power=1&temperature=1.02&dtype=bfloat16",
        256,
    ),
    f"open-magvit2:{{}}?file=AR_256_XL&{MAGVIT2_OPTIONS}&temperature_post=1": (
        f"open-magvit2:AR_256_XL?{MAGVIT2_OPTIONS}&temperature_post=1",
        256,
    ),
    "var:{}?file=var_d20.pth": ("var:var_d20?cfg=1.5&top_k=900&top_p=0.96", TOKENS),
}


@pytest.mark.parametrize("text", MODELS)
def test_released_files_are_measured(
    text: str, released: Path, uwt_eval: CommandLine, tmp_path: Path
) -> None:
    result = uwt_eval(
        "run", "imagenet-gen", "--limit", 1, "--metrics", "is", "--device", "cpu", "--json",
        "-m", text.format(released), "--out", tmp_path / "runs",
    )  # fmt: skip
    assert result.code in (0, 1), result.err
    (record,) = result.records
    title, tokens = MODELS[text]
    assert record["model"] == title
    assert record["status"] == "complete", result.err
    assert record["provenance"]["codes"]["tokens"] == tokens
    assert record["provenance"]["codes"]["codebook"] == str(CODES)


@pytest.mark.parametrize(
    "text", ["rar:{}?file=rar_l.bin&cfg=4&power=1&temperature=1", "var:{}?file=var_d20.pth"]
)
def test_an_image_does_not_depend_on_its_batch(text: str, released: Path) -> None:
    model: Any = ModelChoice.parse(text.format(released)).build()
    model.load("cpu")
    together = model.sample([1, 999], [5, 6])
    (alone,) = model.sample([999], [6])
    assert together[1] == alone
    assert together[0].payload != alone.payload
    images = model.decode(together, [5, 6])
    assert images.shape == (2, 3, 256, 256)
    with pytest.raises(UserError, match="class 1000 is none of the 1000"):
        model.sample([1000], [0])


def test_larger_images_are_scaled_down_as_the_authors_do(released: Path) -> None:
    whole, scaled = (
        ModelChoice.parse(f"llamagen:{released}?file=c2i_L_384&cfg=1&size=48&resize={side}").build()
        for side in (64, 32)
    )
    assert whole.card.sizes == (48,)
    assert scaled.card.sizes == (32,)
    assert whole.card.digest != scaled.card.digest
    images: list[torch.Tensor] = []
    for model in (whole, scaled):
        model.load("cpu")
        drawn: Any = model
        codes = drawn.sample([7], [3])
        assert codes[0].bits == 9 * 4
        images.append(drawn.decode(codes, [3]))
    expected = interpolate(images[0], size=(32, 32), mode="bicubic")
    torch.testing.assert_close(images[1], expected)


def test_settings_are_the_published_of_the_size(released: Path) -> None:
    plugin: Any = ModelChoice.parse(f"llamagen:{released}?file=c2i_L_384").build()
    for (width, layers), cfg in {
        (1024, 24): 2.0, (1280, 36): 1.75, (1536, 48): 1.75,
    }.items():  # fmt: skip
        vars(plugin)["_sizes"] = LlamaGenConfig(width, layers, 16, 16384, 1000, 24)
        vars(plugin).pop("_sampling", None)
        assert plugin._sampling["cfg"] == cfg
    plugin = ModelChoice.parse(f"rar:{released}?file=rar_l.bin").build()
    for (width, layers), (cfg, power) in {
        (1024, 24): (15.5, 2.5), (1280, 32): (6.9, 1.5), (1408, 40): (8.0, 1.2),
    }.items():  # fmt: skip
        vars(plugin)["_sizes"] = RARConfig(width, layers, 16, 4 * width, 1024, 1000, 256)
        vars(plugin).pop("_sampling", None)
        assert plugin._sampling == {"cfg": cfg, "power": power, "temperature": 1.02}


def test_what_cannot_be_told_is_one_line(released: Path, tmp_path: Path) -> None:
    for name in ("c2i_L_384.pt", "rar_l.bin"):
        (tmp_path / name).write_bytes((released / name).read_bytes())
    (tmp_path / "c2i_L.pt").write_bytes((released / "c2i_L_384.pt").read_bytes())
    places = levels(attention=False)
    eight = VQGANConfig(places, places, 8, 4, "nearest", kernel=0, maskgit=True)
    torch.save(random_weights(VQGAN(eight)), tmp_path / "eight.bin")
    alone = f"rar:{tmp_path / 'rar_l.bin'}?{RAR_OPTIONS}"
    for text, expected in {
        f"llamagen:{released}?file=c2i_L_384": "none of the released sizes, whose cfg is published",
        f"llamagen:{released / 'c2i_L_384.pt'}?cfg=0.5": "cfg",
        f"llamagen:{tmp_path / 'c2i_L.pt'}?cfg=2": "say size=384 or size=256",
        f"llamagen:{released / 'rar_l.bin'}?cfg=2&size=256": "holds no class-to-image LlamaGen",
        f"rar:{released / 'c2i_L_384.pt'}": "holds no RAR",
        f"var:{released / 'rar_l.bin'}": "holds no VAR",
        f"llamagen:{tmp_path / 'c2i_L_384.pt'}?cfg=2": "give the tokenizer: tokenizer=PATH",
        f"{alone}&tokenizer={released / 'var_d20.pth'}": "no tokenizer of VQGAN's family",
        f"{alone}&tokenizer={tmp_path / 'eight.bin'}": "draws 16 codes of 16x16 pixels, the",
        f"rar:{released}?file=rar_l.bin&revision=main": "revision=main, but",
    }.items():  # fmt: skip
        with pytest.raises(UserError) as caught:
            _ = ModelChoice.parse(text).build().card
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_refused(released: Path, tmp_path: Path) -> None:
    weights = torch.load(released / "rar_l.bin")
    weights["cls_token"][0, 0, 3] = torch.nan
    torch.save(weights, tmp_path / "rar_l.bin")
    tokenizer = released / "maskgit-vqgan-imagenet-f16-256.bin"
    options = f"{RAR_OPTIONS}&tokenizer={tokenizer}"
    model = ModelChoice.parse(f"rar:{tmp_path / 'rar_l.bin'}?{options}").build()
    with pytest.raises(UserError, match=r"cls_token holds 1 of 32 values that are not finite"):
        model.load("cpu")


def test_a_repository_has_its_tokenizer_in_another(
    released: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the hub's library caches it, without a network."""
    from uwt_images import hub

    asked: list[tuple[str, str | None]] = []

    def download(name: str, wanted: Any, revision: str | None = None) -> Path:
        asked.append((name, revision))
        return released

    monkeypatch.setattr(hub, "snapshot", download)
    text = "rar:yucornetto/RAR?file=rar_l.bin&revision=main&" + RAR_OPTIONS
    card = ModelChoice.parse(text).build().card
    assert card.source == "yucornetto/RAR"
    assert asked == [("yucornetto/RAR", "main"), ("fun-research/TiTok", None)]
    asked.clear()
    text = "llamagen:FoundationVision/LlamaGen?file=c2i_L_384.pt&revision=main&cfg=2"
    assert ModelChoice.parse(text).build().card.config["commit"] == released.name
    assert asked == [("FoundationVision/LlamaGen", "main")] * 2


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "llamagen": (
        lambda: LlamaGenConfig(64, 3, 1, CODES, CLASSES, 16).build(),
        "layers.{}.attention.wqkv.weight",
        "vq_ds16_c2i.pt&cfg=1&size=256",
    ),
    "rar": (
        lambda: RARConfig(32, 3, 2, 48, CODES, CLASSES, 256).build(),
        "blocks.{}.attn.qkv.weight",
        f"maskgit-vqgan-imagenet-f16-256.bin&{RAR_OPTIONS}",
    ),
    "var": (
        lambda: VARConfig(32, 3, 2, 48, 4, CODES, CLASSES, SIDES).build(),
        "blocks.{}.ada_lin.1.weight",
        "vae_ch160v4096z32.pth",
    ),
    "open-magvit2": (
        lambda: OpenMAGVIT2Config(64, 3, 3, 1, (2, 2), CLASSES).build(),
        "transformer.factorized_blocks.{}.attention.wqkv.weight",
        f"imagenet_256_L.ckpt&{MAGVIT2_OPTIONS}&temperature_post=1",
    ),
}


@pytest.mark.parametrize("missing", [0, 1, 2, None])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_layer_that_would_be_left_out_is_refused(
    name: str, missing: int | None, released: Path, tmp_path: Path
) -> None:
    build, pattern, options = NETWORKS[name]
    weights = random_weights(build())
    layers = pattern.partition("{}")[0]
    if missing is None:
        weights = {key.replace(layers, f"{layers}0"): value for key, value in weights.items()}
        named = pattern.format(0)
    else:
        del weights[pattern.format(missing)]
        # Without its mark the last layer is none of the model's.
        named = f"{layers}2." if missing == 2 else f"{pattern.format(missing)} (missing)"
    torch.save(weights, tmp_path / "a.pt")
    text = f"{name}:{tmp_path / 'a.pt'}?tokenizer={released}/{options}"
    with pytest.raises(UserError) as caught:
        ModelChoice.parse(text).build().load("cpu")
    assert named in str(caught.value)


def test_var_whose_layers_share_their_modulation_is_refused(released: Path, tmp_path: Path) -> None:
    """VAR-d36's layers have constants of their own beside one network."""
    weights = var()
    for kind in ("weight", "bias"):
        weights[f"shared_ada_lin.1.{kind}"] = weights.pop(f"blocks.0.ada_lin.1.{kind}")
    weights["blocks.0.ada_gss"] = torch.zeros(1, 1, 6, 32)
    torch.save(weights, tmp_path / "var_d36.pth")
    text = f"var:{tmp_path / 'var_d36.pth'}?tokenizer={released / 'vae_ch160v4096z32.pth'}"
    with pytest.raises(UserError, match=r"no VAR .*: 'blocks\.0\.ada_lin\.1\.weight' is not among"):
        ModelChoice.parse(text).build().load("cpu")


def test_tokens_that_fill_no_square_are_refused(released: Path, tmp_path: Path) -> None:
    weights = rar()
    weights["target_aware_pos_embed"] = weights["target_aware_pos_embed"][:, :-1]
    torch.save(weights, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"no RAR of square images: .* 255 tokens"):
        _ = ModelChoice.parse(f"rar:{tmp_path / 'a.pt'}?{RAR_OPTIONS}").build().card
