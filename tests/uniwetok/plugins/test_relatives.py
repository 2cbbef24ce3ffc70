"""Every released form of BitDance's and WeTok's models, through the command line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from harness.engine.models import ModelChoice
from harness.interfaces.errors import UserError
from tests.conftest import CommandLine
from tests.uniwetok.mllm import toys
from uniwetok.ar import PRESETS, BitDance, BitDanceConfig, checkpoint
from uniwetok.losses.adversarial import PatchDiscriminator
from uniwetok.mllm import MLLM, Assistant, MLLMConfig
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig

D32C128 = {
    "ddconfig": {
        "ch": 32, "ch_mult": [1, 1, 1, 1, 1, 2], "num_res_blocks": 1, "z_channels": 128,
        "in_channels": 3, "out_ch": 3, "double_z": False, "resolution": 256,
    },
    "gan_decoder": True,
}  # fmt: skip
D16C32 = UniWeTokConfig.wetok(
    channels=32,
    channel_multipliers=(1, 1, 1, 1, 2),
    num_res_blocks=1,
    latent_channels=32,
    groups=4,
    generative=False,
)


def network(config: UniWeTokConfig) -> UniWeTok:
    torch.manual_seed(0)
    return UniWeTok(config).eval()


def bitdance_folder(folder: Path) -> Path:
    """A folder as `shallowdream204/BitDance-Tokenizer` is, with two of its three models."""
    folder.mkdir(parents=True)
    config = UniWeTokConfig.from_released(D32C128, "wetok")
    save_file(network(config).state_dict(), folder / "ae_d32c128.safetensors")
    (folder / "ae_d32c128_config.json").write_text(json.dumps(D32C128))
    save_file(network(D16C32).state_dict(), folder / "ae_d16c32.safetensors")
    return folder


def wetok_checkpoint(path: Path) -> Path:
    """A checkpoint as WeTok's training leaves it: averages without dots, losses, optimizers."""
    path.parent.mkdir(parents=True)
    weights = network(D16C32).state_dict()
    averages = {"model_ema." + n.replace(".", ""): w / 2 for n, w in weights.items()}
    judge = {f"loss.discriminator.{n}": w for n, w in PatchDiscriminator().state_dict().items()}
    torch.save(
        {
            "epoch": 3,
            "state_dict": {
                **weights,
                **judge,
                **averages,
                "model_ema.decay": torch.tensor(0.999),
                "model_ema.num_updates": torch.tensor(-1),
            },
            "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": []}],
            "callbacks": {"ModelCheckpoint": {"best_model_score": None, "dirpath": "./ckpt"}},
        },
        path,
    )
    return path


@pytest.mark.parametrize(
    ("form", "title", "bits", "loaded"),
    [
        ("safetensors", "bitdance-tokenizer:ae_d32c128", 64 * 128, "0 of"),
        ("pt", "bitdance-tokenizer:ae_d16c32", 256 * 32, "0 of"),
        ("lightning", "wetok:GeneralDomain-compratio192", 256 * 32, "not the model's and ignored"),
    ],
)
def test_released_files_are_measured(
    form: str,
    title: str,
    bits: int,
    loaded: str,
    uwt_eval: CommandLine,
    tmp_path: Path,
    photo_folder: Path,
) -> None:
    if form == "safetensors":
        model = f"bitdance-tokenizer:{bitdance_folder(tmp_path / 'a')}?file=ae_d32c128"
    elif form == "pt":
        torch.save({"state_dict": network(D16C32).state_dict()}, tmp_path / "ae_d16c32.pt")
        model = f"bitdance-tokenizer:{tmp_path / 'ae_d16c32.pt'}"
    else:
        path = tmp_path / "GeneralDomain" / "compratio192" / "WeTok.ckpt"
        model = f"wetok:{wetok_checkpoint(path)}"
    result = uwt_eval(
        "run", "imagenet-recon", "--data", photo_folder, "-m", model, "--limit", 3,
        "--metrics", "psnr,bpp", "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    (record,) = result.records
    assert record["model"] == title
    assert record["metrics"]["bpp"]["value"] == bits / 256**2
    assert record["metrics"]["psnr"]["n"] == 3
    assert loaded in record["provenance"]["weights"]


def test_native_sizes_are_padded_to_16_pixels(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    torch.save({"state_dict": network(D16C32).state_dict()}, tmp_path / "ae.pt")
    model = ModelChoice.parse(f"bitdance-tokenizer:{tmp_path / 'ae.pt'}").build()
    model.load("cpu")
    images = torch.rand(2, 3, 97, 130, generator=torch.Generator().manual_seed(0)) * 2 - 1
    codes = model.encode(images)  # type: ignore[attr-defined]
    assert [code.bits for code in codes] == [7 * 9 * 32] * 2
    assert model.decode(codes, [0, 0]).shape == images.shape  # type: ignore[attr-defined]
    result = uwt_eval(
        "run", "imagenet-recon-native", "--data", photo_folder, "--limit", 2, "--metrics", "psnr",
        "-m", f"bitdance-tokenizer:{tmp_path / 'ae.pt'}", "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert result.records[0]["metrics"]["psnr"]["n"] == 2


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precisions_are_other_models(dtype: str, tmp_path: Path) -> None:
    torch.save({"state_dict": network(D16C32).state_dict()}, tmp_path / "ae.pt")
    float32, half = (
        ModelChoice.parse(f"wetok:{tmp_path / 'ae.pt'}{query}").build()
        for query in ("", f"?dtype={dtype}")
    )
    assert float32.card.digest != half.card.digest
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    decoded = []
    for model in (float32, half):
        model.load("cpu")
        decoded.append(model.decode(float32.encode(images), [0]))  # type: ignore[attr-defined]
    torch.testing.assert_close(decoded[1], decoded[0], rtol=0, atol=0.1)


def test_a_repository_of_the_hub_is_known_by_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the hub's library caches it, without a network."""
    cached = tmp_path / "snapshots" / "0123abc"
    bitdance_folder(cached)
    wetok_checkpoint(cached / "ImageNet" / "downsample16" / "WeTok.ckpt")
    (cached / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    asked: list[tuple[str, object, list[str]]] = []

    def download(name: str, *, revision: str | None, allow_patterns: list[str], **_: object) -> str:
        asked.append((name, revision, allow_patterns))
        return str(cached)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    bitdance = ModelChoice.parse(
        "bitdance-tokenizer:owner/BitDance-Tokenizer?file=ae_d32c128&revision=main"
    ).build()
    assert bitdance.card.title == "bitdance-tokenizer:ae_d32c128"
    assert bitdance.card.config["commit"] == "0123abc"
    assert bitdance.card.config["repository"] == "owner/BitDance-Tokenizer"
    name, revision, patterns = asked[0]
    assert (name, revision) == ("owner/BitDance-Tokenizer", "main")
    assert {"ae_d32c128.safetensors", "ae_d32c128_config.json"} < set(patterns)
    wetok = ModelChoice.parse("wetok:owner/WeTok?file=ImageNet/downsample16/WeTok.ckpt").build()
    assert wetok.card.title == "wetok:ImageNet-downsample16"
    assert wetok.card.config["commit"] == "0123abc"
    assert wetok.card.licence == bitdance.card.licence == "apache-2.0"
    assert wetok.card.codebook is not None
    assert (wetok.card.codebook.groups, wetok.card.codebook.bits_per_group) == (4, 8)


def test_uniwetok_comes_from_the_hub_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "snapshots" / "0123abc"
    unified = UniWeTokConfig(channels=32, num_res_blocks=1, attention_blocks=1, heads=4)
    network(unified).save_pretrained(cached)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(cached))
    model = ModelChoice.parse("uniwetok:owner/UniWeTok").build()
    assert model.card.title == "uniwetok:UniWeTok"
    assert (model.card.source, model.card.revision) == ("owner/UniWeTok", "0123abc")
    local = ModelChoice.parse(f"uniwetok:{cached}").build().card
    assert local.weights_sha256 == model.card.weights_sha256
    model.load("cpu")
    (cached / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"say which file: owner/UniWeTok\?file=NAME"):
        _ = ModelChoice.parse("uniwetok:owner/UniWeTok").build().card


def test_what_cannot_be_told_is_one_line(tmp_path: Path) -> None:
    folder = bitdance_folder(tmp_path / "a")
    unified = UniWeTokConfig(channels=32, num_res_blocks=1, attention_blocks=1, heads=4)
    network(unified).save_pretrained(tmp_path / "unified")
    torch.save({"encoder.conv_in.weight": torch.zeros(1)}, tmp_path / "unknown.pt")
    for text, expected in {
        f"bitdance-tokenizer:{folder}": "name one of its files: ae_d16c32.safetensors, ae_d32c128",
        f"bitdance-tokenizer:{folder}?file=ae_d8": "holds no ae_d8",
        f"bitdance-tokenizer:{folder}?revision=main": "revision=main, but",
        "wetok:owner/repository": "say which file: owner/repository?file=NAME",
        f"wetok:{tmp_path / 'unified'}": "is a UniWeTok: --model uniwetok:",
        f"uniwetok:{folder / 'ae_d32c128.safetensors'}": "WeTok's and BitDance's kind: --model wet",
        f"wetok:{tmp_path / 'unknown.pt'}": "sizes can be told",
    }.items():
        with pytest.raises(UserError) as caught:
            _ = ModelChoice.parse(text).build().card
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)


def imagenet_folder(folder: Path) -> Path:
    """A folder as `shallowdream204/BitDance-ImageNet` is, with two small models of its forms.

    Its models hold a tokenizer too, which the released code loads over by `ae_d16c32.pt`.
    """
    folder.mkdir(exist_ok=True)
    tokenizer = network(D16C32).state_dict()
    torch.save({"state_dict": tokenizer}, folder / "ae_d16c32.pt")
    for parallel in (1, 16):
        config = BitDanceConfig(
            width=32, layers=1, heads=1, diffusion_width=64, diffusion_blocks=1,
            diffusion_modulations=1, latent_channels=32, grid=16, class_tokens=2,
            parallel_tokens=parallel,
        )  # fmt: skip
        torch.manual_seed(0)
        model = BitDance(config).eval()
        with torch.no_grad():  # Its initial weights would draw the same bits for every class.
            for weight in model.parameters():
                weight.add_(0.1 * torch.randn(weight.shape))
        weights = {**model.state_dict(), **{f"vae.{n}": w for n, w in tokenizer.items()}}
        raw = {name: weight + 1 for name, weight in weights.items()}
        args = argparse.Namespace(model="BitDance-B", parallel_num=parallel)
        released = {"model": raw, "ema": weights, "args": args, "steps": 3}
        torch.save(released, folder / f"BitDance_B_{parallel}x.pt")
    return folder


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imagenet_folder(tmp_path_factory.mktemp("BitDance-ImageNet"))


@pytest.mark.parametrize("parallel", [1, 16])
def test_released_class_to_image_models_draw(
    parallel: int, imagenet: Path, uwt_eval: CommandLine, tmp_path: Path
) -> None:
    result = uwt_eval(
        "run", "imagenet-gen", "--limit", 1, "--metrics", "is", "--device", "cpu", "--json",
        "-m", f"bitdance:{imagenet}?file=BitDance_B_{parallel}x&cfg=2&steps=1",
        "--out", tmp_path / "runs",
    )  # fmt: skip
    assert result.code in (0, 1), result.err
    (record,) = result.records
    assert record["model"] == f"bitdance:BitDance_B_{parallel}x?cfg=2&steps=1"
    assert record["status"] == "complete", result.err
    assert "are moving averages" in record["provenance"]["weights"]


def test_guidance_is_the_published_of_the_size(
    imagenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = imagenet / "BitDance_B_1x.pt"
    with pytest.raises(UserError, match=r"none of the released sizes.*say cfg="):
        _ = ModelChoice.parse(f"bitdance:{file}").build().card
    with pytest.raises(UserError, match="cfg=-1"):
        ModelChoice.parse(f"bitdance:{file}?cfg=-1").build()
    for name, scale in {
        "bitdance-b": 3.2, "bitdance-b-4x": 3.9, "bitdance-b-16x": 6.1, "bitdance-l": 4.0,
        "bitdance-h": 4.55,
    }.items():  # fmt: skip
        monkeypatch.setattr(checkpoint, "describe", lambda _, name=name: (PRESETS[name], 1))
        card = ModelChoice.parse(f"bitdance:{file}").build().card
        assert card.config["cfg"] == scale
        assert card.title == f"bitdance:BitDance_B_1x?cfg={scale:g}&steps=100"


def test_the_tokenizer_lies_beside_the_model(imagenet: Path, tmp_path: Path) -> None:
    weights = (imagenet / "BitDance_B_1x.pt").read_bytes()
    (tmp_path / "BitDance_B_1x.pt").write_bytes(weights)
    for place in (tmp_path / "BitDance_B_1x.pt", f"{tmp_path}?file=BitDance_B_1x"):
        joined = "&" if "?" in str(place) else "?"
        with pytest.raises(UserError, match=r"holds no ae_d16c32.*give the tokenizer"):
            _ = ModelChoice.parse(f"bitdance:{place}{joined}cfg=2").build().card
        named = f"bitdance:{place}{joined}cfg=2&tokenizer={imagenet / 'ae_d16c32.pt'}"
        beside = ModelChoice.parse(f"bitdance:{imagenet}?file=BitDance_B_1x&cfg=2").build().card
        assert ModelChoice.parse(named).build().card.digest == beside.digest


def t2i_folder(folder: Path, parallel: int) -> Path:
    """A small folder as `shallowdream204/BitDance-14B-16x` and `-64x` are."""
    config = MLLMConfig(
        width=32, latent_channels=32, downsample=16, parallel_tokens=parallel, diffusion_width=128,
        diffusion_blocks=1, diffusion_modulations=1,
    )  # fmt: skip
    text = toys.text_tokenizer()
    model = toys.randomize(MLLM.build(toys.language_model(8192), text, config)).eval()
    Assistant(model, text, network(D16C32)).save_pretrained(folder)
    (folder / "mllm_config.json").unlink()
    ddconfig = {
        "ch": 32, "ch_mult": [1, 1, 1, 1, 2], "num_res_blocks": 1, "z_channels": 32,
        "in_channels": 3, "out_ch": 3, "double_z": False,
    }  # fmt: skip
    released = {"ddconfig": ddconfig, "gan_decoder": False, "checkpoint": None}
    (folder / "ae_config.json").write_text(json.dumps(released))
    return folder


@pytest.mark.parametrize("task", ["geneval", "dpg"])
def test_text_to_image_models_draw_the_prompts(
    task: str, uwt_eval: CommandLine, tmp_path: Path
) -> None:
    folder = t2i_folder(tmp_path / "BitDance-14B-16x", 16)
    result = uwt_eval(
        "run", task, "--limit", 1, "--device", "cpu", "--json",
        "-m", f"bitdance-t2i:{folder}?height=256&width=896&steps=1", "--out", tmp_path / "runs",
    )  # fmt: skip
    assert result.code == 0, result.err
    (record,) = result.records
    assert (record["status"], record["n"], record["n_failed"]) == ("complete", 1, 0)


def test_a_text_to_image_model_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = t2i_folder(tmp_path / "0123abc", 64)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(cached))
    model = ModelChoice.parse("bitdance-t2i:owner/BitDance-14B-64x").build()
    assert model.card.title.startswith("bitdance-t2i:BitDance-14B-64x?cfg=7.5&steps=50&height=1024")
    assert (model.card.config["commit"], model.card.config["dtype"]) == ("0123abc", "bfloat16")
    for options, message in {
        "height=100": "no released model draws 100x1024",
        "height=512&width=512": "about 1024x1024 pixels alone, not 512x512",
    }.items():
        with pytest.raises(UserError, match=message):
            _ = ModelChoice.parse(f"bitdance-t2i:owner/BitDance-14B-64x?{options}").build().card
