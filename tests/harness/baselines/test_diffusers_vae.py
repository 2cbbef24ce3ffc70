"""Autoencoders of diffusers, each made tiny from a configuration and loaded by the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.baselines.diffusers_vae import DiffusersAutoencoder
from harness.interfaces.errors import UserError
from tests.conftest import CommandLine

diffusers = pytest.importorskip("diffusers", reason="needs diffusers")

KL = {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [8, 8],
    "norm_num_groups": 4,
}
KINDS: dict[str, dict[str, Any]] = {
    "AutoencoderKL": KL,
    "VQModel": {**KL, "num_vq_embeddings": 60, "vq_embed_dim": 4},
    "AutoencoderTiny": {
        "encoder_block_out_channels": [8, 8],
        "decoder_block_out_channels": [8, 8],
        "num_encoder_blocks": [1, 1],
        "num_decoder_blocks": [1, 1],
    },
    "AutoencoderDC": {
        "latent_channels": 4,
        "attention_head_dim": 4,
        "encoder_block_types": ["ResBlock", "ResBlock"],
        "decoder_block_types": ["ResBlock", "ResBlock"],
        "encoder_block_out_channels": [8, 8],
        "decoder_block_out_channels": [8, 8],
        "encoder_layers_per_block": [1, 1],
        "decoder_layers_per_block": [1, 1],
        "encoder_qkv_multiscales": [[], []],
        "decoder_qkv_multiscales": [[], []],
    },
    "AutoencoderKLQwenImage": {
        "base_dim": 8,
        "z_dim": 4,
        "dim_mult": [1, 1],
        "num_res_blocks": 1,
        "temperal_downsample": [False],
    },
    # SVD's: its decoder alone mixes frames.
    "AutoencoderKLTemporalDecoder": {
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "block_out_channels": [32, 32],
    },
}
DISCRETE = {"VQModel"}


@pytest.fixture
def saved(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder with a tiny autoencoder of the class that is asked for."""
    torch.manual_seed(0)
    kind = getattr(request, "param", "AutoencoderKL")
    network = getattr(diffusers, kind)(**KINDS[kind])
    network.save_pretrained(tmp_path / kind)
    return tmp_path / kind


def images(count: int = 2, height: int = 32, width: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, height, width, generator=generator) * 2 - 1


@pytest.mark.parametrize("saved", KINDS, indirect=True)
def test_each_class_reconstructs_as_diffusers_does(saved: Path) -> None:
    model = DiffusersAutoencoder(str(saved))
    model.load("cpu")
    pixels = images()
    found = model.decode(model.encode(pixels), [0, 0])
    network = getattr(diffusers, saved.name).from_pretrained(saved).eval()
    video = saved.name == "AutoencoderKLQwenImage"
    with torch.no_grad():
        encoded = network.encode(pixels[:, :, None] if video else pixels)
        if hasattr(encoded, "latent_dist"):
            latents = encoded.latent_dist.mode()
        else:
            latents = getattr(encoded, "latents", None)
            latents = encoded.latent if latents is None else latents
        temporal = saved.name == "AutoencoderKLTemporalDecoder"
        more = {"num_frames": 1} if temporal else {}
        expected = network.decode(latents, **more).sample
    expected = expected[:, :, 0] if video else expected
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("saved", KINDS, indirect=True)
def test_odd_sizes_are_filled_up_and_cut(saved: Path) -> None:
    model = DiffusersAutoencoder(str(saved))
    model.load("cpu")
    codes = model.encode(images(1, 35, 51))
    assert model.decode(codes, [0]).shape == (1, 3, 35, 51)


def test_rates_are_those_of_the_latents(saved: Path) -> None:
    for dtype, bits in (("float32", 32), ("float16", 16), ("bfloat16", 16)):
        model = DiffusersAutoencoder(str(saved), store=dtype)  # type: ignore[arg-type]
        model.load("cpu")
        (code, _) = model.encode(images())
        assert code.bits == 4 * 16 * 16 * bits
    assert model.card.codebook is None


@pytest.mark.parametrize("saved", DISCRETE, indirect=True)
def test_a_codebook_that_is_no_power_of_two(saved: Path) -> None:
    model = DiffusersAutoencoder(str(saved))
    model.load("cpu")
    (code, _) = model.encode(images())
    assert code.bits == pytest.approx(16 * 16 * np.log2(60))
    assert model.card.codebook is not None
    assert model.card.codebook.size == 60


@pytest.mark.parametrize("saved", KINDS, indirect=True)
def test_stated_tokens_are_those_of_the_codes(saved: Path) -> None:
    card = DiffusersAutoencoder(str(saved)).card
    if saved.name == "AutoencoderKLQwenImage":
        assert card.tokens is None, "a run tells"
        return
    model = DiffusersAutoencoder(str(saved))
    model.load("cpu")
    (code,) = model.encode(images(1, 256, 256))
    assert card.stated["bits"] == pytest.approx(code.bits)
    assert card.stated["compression"] == pytest.approx(24 * 256**2 / code.bits)


def test_a_sample_is_the_pictures_own(saved: Path) -> None:
    model = DiffusersAutoencoder(str(saved), latents="sample")
    model.load("cpu")
    pixels = images(3)
    together = model.encode(pixels)
    alone = model.encode(pixels[1:2])
    values = [np.frombuffer(code.payload[13:], np.float32) for code in (together[1], alone[0])]
    np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-5)
    mode = DiffusersAutoencoder(str(saved))
    assert mode.card.digest != model.card.digest


def test_the_card_needs_no_network(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusers.AutoencoderKL, "from_pretrained", None)
    card = DiffusersAutoencoder(str(saved)).card
    network = diffusers.AutoencoderKL.from_config(dict(KL, _class_name="AutoencoderKL"))
    assert card.parameters == sum(weight.numel() for weight in network.parameters())
    assert card.label == "AutoencoderKL"
    weights = saved / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert DiffusersAutoencoder(str(saved)).card.digest != card.digest


@pytest.mark.parametrize("saved", [*KINDS], indirect=True)
def test_runs_from_the_command_line(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path, saved: Path
) -> None:
    result = uwt_eval(
        "run", "imagenet-recon", "--data", photo_folder, "-m", f"diffusers-vae:{saved}",
        "--limit", 1, "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    (record,) = result.records
    codes, rate = record["provenance"]["codes"], record["metrics"]["bpp"]["value"]
    assert codes["tokens"] in {64**2, 128**2, 256**2}
    assert codes["compression"] == pytest.approx(24 / rate), "stated, or of the run's codes"
    assert record["metrics"]["psnr"]["value"] > 0


def test_a_pipelines_autoencoder_is_found(saved: Path, tmp_path: Path) -> None:
    pipeline = tmp_path / "pipeline"
    pipeline.mkdir()
    saved.rename(pipeline / "vae")
    model = DiffusersAutoencoder(str(pipeline))
    model.load("cpu")
    assert model.card.label == "pipeline/vae"


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("", "no config.json"),
        ("{", "cannot be read as JSON"),
        ("[]", "holds no JSON object"),
        ("{}", "names no class"),
        ('{"_class_name": "UNet2DModel"}', "no autoencoder of the installed diffusers"),
        ('{"_class_name": "AutoencoderVidTok", "regularizer": "fsq"}', "is not measured here"),
        ('{"_class_name": "../evil"}', "no autoencoder of the installed diffusers"),
    ],
)
def test_what_is_no_autoencoder_is_one_line(tmp_path: Path, config: str, text: str) -> None:
    if config:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(UserError, match=text):
        _ = DiffusersAutoencoder(str(tmp_path)).card


def test_absent_names_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such place"):
        _ = DiffusersAutoencoder(str(tmp_path / "none")).card
    with pytest.raises(UserError, match="repository cannot be had"):
        _ = DiffusersAutoencoder("owner/none").card


def test_weights_that_are_not_finite_are_refused(saved: Path) -> None:
    network = diffusers.AutoencoderKL.from_pretrained(saved)
    with torch.no_grad():
        network.decoder.conv_in.weight[0] = torch.nan
    network.save_pretrained(saved)
    with pytest.raises(UserError, match=r"decoder\.conv_in\.weight is not finite"):
        DiffusersAutoencoder(str(saved)).load("cpu")
