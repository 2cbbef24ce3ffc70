"""Tokenizers of VQGAN's family through the command line, as `vqgan:PATH|REPO`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from harness.engine.models import ModelChoice
from harness.interfaces.errors import UserError
from tests.conftest import CommandLine
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig
from uniwetok.vqgan import VQGAN, VQGANConfig
from uniwetok.vqgan.autoencoder import Levels
from uniwetok.vqgan.codebooks import Search

_PLACES = {"block_1": "0", "attn_1": "1", "block_2": "2"}


def network(search: Search, maskgit: bool = False) -> VQGAN:
    levels = Levels(
        widths=(32, 32, 32, 32, 64),
        blocks=(2 if search == "nearest" and not maskgit else 1,) * 5,
        attention=(False, False, False, False, not maskgit),
        channels=8,
        fused=search == "scales",
        middle=1 if maskgit else 2,
    )
    kernel = 0 if maskgit else 3 if search == "scales" else 1
    size = 256 if search == "signs" else 500
    config = VQGANConfig(
        levels, levels, size, 8, search, kernel, 4 if search == "scales" else 0, maskgit
    )
    torch.manual_seed(0)
    return VQGAN(config).eval()


def llamagen(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """LlamaGen's names, which count the decoder's levels from the latents."""

    def level(match: re.Match[str]) -> str:
        side, place = match[1], int(match[3])
        index = place if side == "encoder" else 4 - place
        return f"{side}.conv_blocks.{index}.{'res' if match[4] == 'block' else match[4]}"

    def name(own: str) -> str:
        own = re.sub(r"^(encoder|decoder)\.(down|up)\.(\d)\.(\w+)", level, own)
        return re.sub(r"mid\.(\w+)", lambda match: f"mid.{_PLACES[match[1]]}", own)

    return {name(own): weight for own, weight in weights.items()}


def saved(form: str, folder: Path) -> tuple[Path, float]:
    """A checkpoint as released, and the bits of a 256x256 image."""
    entries = torch.log2(torch.tensor(500.0)).item()
    if form == "llamagen":
        path = folder / "vq_ds16_c2i.pt"
        torch.save({"model": llamagen(network("cosine").state_dict())}, path)
    elif form == "vqgan":
        path = folder / "vqgan_imagenet_f16_16384" / "checkpoints" / "last.ckpt"
        path.parent.mkdir(parents=True)
        torch.save({"state_dict": network("nearest").state_dict(), "global_step": 1}, path)
    elif form == "maskgit":
        path = folder / "maskgit-vqgan-imagenet-f16-256.bin"
        torch.save(network("nearest", maskgit=True).state_dict(), path)
    elif form == "var":
        path = folder / "vae_ch160v4096z32.pth"
        torch.save(network("scales").state_dict(), path)
        return path, 680 * entries
    else:
        path = folder / "magvitv2" / "pytorch_model.bin"
        path.parent.mkdir()
        weights = network("signs").state_dict()
        sides = {"quant_conv": "encoder.", "post_quant_conv": "decoder."}
        torch.save({sides.get(n.partition(".")[0], "") + n: w for n, w in weights.items()}, path)
        return path, 256 * 8
    return path, 256 * entries


@pytest.mark.parametrize(
    ("form", "title"),
    [
        ("llamagen", "vqgan:vq_ds16_c2i"),
        ("vqgan", "vqgan:vqgan_imagenet_f16_16384"),
        ("maskgit", "vqgan:maskgit-vqgan-imagenet-f16-256"),
        ("var", "vqgan:vae_ch160v4096z32"),
        ("magvit2", "vqgan:magvitv2"),
    ],
)
def test_released_forms_are_measured(
    form: str, title: str, uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    path, bits = saved(form, tmp_path)
    result = uwt_eval(
        "run", "imagenet-recon", "--data", photo_folder, "-m", f"vqgan:{path}", "--limit", 2,
        "--metrics", "psnr,bpp", "--device", "cpu", "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    (record,) = result.records
    assert record["model"] == title
    assert record["metrics"]["bpp"]["value"] == pytest.approx(bits / 256**2)
    assert record["metrics"]["psnr"]["n"] == 2
    assert "0 of" in record["provenance"]["weights"]


def test_any_size_is_padded_as_ibqs_evaluation_does(tmp_path: Path) -> None:
    path, _ = saved("llamagen", tmp_path)
    model = ModelChoice.parse(f"vqgan:{path}").build()
    model.load("cpu")
    images = torch.rand(2, 3, 37, 50, generator=torch.Generator().manual_seed(0)) * 2 - 1
    codes = model.encode(images)  # type: ignore[attr-defined]
    assert [code.bits for code in codes] == pytest.approx([3 * 4 * 8.9657843] * 2)
    found = model.decode(codes, [0, 0])  # type: ignore[attr-defined]
    padded = torch.zeros(2, 3, 48, 64)
    padded[:, :, 5:42, 7:57] = images
    plain = network("cosine")
    torch.testing.assert_close(found, plain.decode(plain.encode(padded))[:, :, 5:42, 7:57])


@pytest.mark.parametrize("takes", ["vqgan", "wetok", "bitdance-tokenizer", "uniwetok"])
@pytest.mark.parametrize("form", ["llamagen", "vqgan", "maskgit", "var", "magvit2", "open-magvit2"])
def test_a_file_of_another_kind_names_the_plugin_that_takes_it(
    form: str, takes: str, tmp_path: Path
) -> None:
    if form == "open-magvit2":
        config = UniWeTokConfig.wetok(
            channels=32, channel_multipliers=(1, 1, 1, 1, 2), num_res_blocks=1,
            latent_channels=18, groups=1, generative=False,
        )  # fmt: skip
        path, own = tmp_path / "imagenet_256_L.ckpt", {"wetok", "bitdance-tokenizer"}
        torch.save({"epoch": 1, "state_dict": UniWeTok(config).state_dict()}, path)
    else:
        (path, _), own = saved(form, tmp_path), {"vqgan"}
    model = ModelChoice.parse(f"{takes}:{path}").build()
    if takes in own:
        assert model.card.parameters
        return
    with pytest.raises(UserError) as caught:
        _ = model.card
    hint = "vqgan" if "vqgan" in own else "wetok"
    assert f"{path} is " in str(caught.value)
    assert str(caught.value).endswith(f": --model {hint}:… takes it")


def test_a_folder_of_diffusers_names_the_plugin_that_takes_it(tmp_path: Path) -> None:
    """An autoencoder with one file of weights, and a pipeline, which has none beside its index."""
    vae = tmp_path / "vae"
    vae.mkdir()
    save_file({"quant_conv.bias": torch.zeros(8)}, vae / "diffusion_pytorch_model.safetensors")
    (vae / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    for folder, name in ((vae, "AutoencoderKL"), (tmp_path, "StableDiffusionPipeline")):
        with pytest.raises(UserError, match=rf"is diffusers' {name}: .*diffusers-vae"):
            _ = ModelChoice.parse(f"vqgan:{folder}").build().card


@pytest.mark.parametrize(
    ("form", "dtype", "side"), [("var", "bfloat16", 256), ("llamagen", "float16", 48)]
)
def test_half_precisions_are_other_models(form: str, dtype: str, side: int, tmp_path: Path) -> None:
    path, _ = saved(form, tmp_path)
    float32, half = (
        ModelChoice.parse(f"vqgan:{path}{query}").build() for query in ("", f"?dtype={dtype}")
    )
    assert float32.card.digest != half.card.digest
    assert float32.card.tokens == (680 if form == "var" else 256)
    assert float32.card.sizes == ((256, 512) if form == "var" else ())
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    decoded = []
    for model in (float32, half):
        model.load("cpu")
        decoded.append(model.decode(float32.encode(images), [0]))  # type: ignore[attr-defined]
    assert (decoded[1] - decoded[0]).abs().mean() < 0.02


def test_one_file_of_a_folder_or_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uwt_images import hub

    cached = tmp_path / "0123abc"
    cached.mkdir()
    saved("magvit2", cached)
    (cached / "magvitv2" / "pytorch_model.bin").rename(cached / "pytorch_model.bin")
    (cached / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    monkeypatch.setattr(hub, "snapshot", lambda *_: cached)
    card = ModelChoice.parse("vqgan:showlab/magvitv2?file=pytorch_model.bin").build().card
    assert card.title == "vqgan:magvitv2"
    assert (card.source, card.revision) == ("showlab/magvitv2", "0123abc")
    assert card.licence == "apache-2.0"
    assert card.stated["codebook"] == "256"
    assert ModelChoice.parse(f"vqgan:{cached}").build().card.weights_sha256 == card.weights_sha256
    saved("maskgit", cached)
    with pytest.raises(UserError, match=r"by file=…: it has maskgit-vqgan.*, pytorch_model\.bin"):
        _ = ModelChoice.parse(f"vqgan:{cached}").build().card
    torch.save({"encoder.conv_in.weight": torch.zeros(1)}, cached / "a.pt")
    with pytest.raises(UserError, match=r"model 'vqgan': .*no tokenizer of VQGAN's family"):
        _ = ModelChoice.parse(f"vqgan:{cached}?file=a").build().card


@pytest.mark.parametrize("missing", range(4))
def test_convolutions_between_scales_may_not_be_left_out(missing: int, tmp_path: Path) -> None:
    weights = network("scales").state_dict()
    place = f"quantize.quant_resi.qresi_ls.{missing}."
    del weights[f"{place}weight"]
    weights["quantize.ema_vocab_hit_SV"] = torch.zeros(10, 500)
    torch.save(weights, tmp_path / "vae.pth")
    with pytest.raises(UserError) as caught:
        ModelChoice.parse(f"vqgan:{tmp_path / 'vae.pth'}").build().load("cpu")
    assert place in str(caught.value)
    assert "ema_vocab_hit_SV" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vqgan:owner/name?file=", "file= names no file"),
        ("vqgan:owner/name?file=..", "file=.. names no file"),
        (f"vqgan:{'a' * 300}", "can be no path: File name too long"),
        (f"bitdance-t2i:{'a' * 300}", "can be no path: File name too long"),
        (f"vqgan:tests?file={'a' * 300}", "can be no file: File name too long"),
    ],
)
def test_names_of_no_file_are_one_line(text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        _ = ModelChoice.parse(text).build().card
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "hinted"), [("../x", False), ("no such", False), ("a/b", True)])
def test_what_can_be_no_repository_is_not_said_to_have_files(name: str, hinted: bool) -> None:
    with pytest.raises(UserError, match="there is no such place") as caught:
        _ = ModelChoice.parse(f"uniwetok:{name}").build().card
    assert ("?file=NAME" in str(caught.value)) == hinted


def test_a_hub_that_may_not_be_waited_for_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "abc")
    with pytest.raises(UserError, match=r"^model 'uniwetok': HF_HUB_ETAG_TIMEOUT=abc: .* as 5$"):
        _ = ModelChoice.parse("uniwetok:owner/name").build().card
