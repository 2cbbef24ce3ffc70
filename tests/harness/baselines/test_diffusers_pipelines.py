"""Pipelines of diffusers, made tiny from configurations, in the tasks that they fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from harness.baselines.diffusers_pipelines import (
    DiffusersClassToImage,
    DiffusersEditor,
    DiffusersTextToImage,
)
from harness.interfaces.errors import UserError
from tests.conftest import CommandLine

diffusers = pytest.importorskip("diffusers", reason="needs diffusers")


def autoencoder(levels: int) -> Any:
    return diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        block_out_channels=[8] * levels,
        norm_num_groups=4,
    )


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<end>", "<unk>", "a", "photo", "of", "bench", "two", "cups", "red"]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<end>", unk_token="<unk>",
        model_max_length=8,
    )  # fmt: skip


def stable_diffusion(kind: str, channels: int, levels: int = 2) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    text = CLIPTextConfig(
        vocab_size=10, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=8, projection_dim=8, pad_token_id=0,
        bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    unet = diffusers.UNet2DConditionModel(
        sample_size=16, in_channels=channels, cross_attention_dim=8, layers_per_block=1,
        block_out_channels=[8, 8], norm_num_groups=4, attention_head_dim=4,
        down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
    )  # fmt: skip
    return getattr(diffusers, kind)(
        vae=autoencoder(levels), text_encoder=CLIPTextModel(text), tokenizer=tokenizer(), unet=unet,
        scheduler=diffusers.DDIMScheduler(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


def diffusion_transformer() -> Any:
    network = diffusers.DiTTransformer2DModel(
        sample_size=16, num_layers=1, patch_size=4, attention_head_dim=8, num_attention_heads=2,
        in_channels=4, out_channels=8, num_embeds_ada_norm=1000,
    )  # fmt: skip
    return diffusers.DiTPipeline(network, autoencoder(5), diffusers.DDIMScheduler())


@pytest.fixture(scope="session")
def text_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("pipelines") / "tiny-sd"
    stable_diffusion("StableDiffusionPipeline", 4).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def edit_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("pipelines") / "tiny-pix2pix"
    stable_diffusion("StableDiffusionInstructPix2PixPipeline", 8).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def class_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("pipelines") / "tiny-dit"
    diffusion_transformer().save_pretrained(folder)
    return folder


def test_pictures_are_the_pipelines_own(text_pipeline: Path) -> None:
    model = DiffusersTextToImage(str(text_pipeline), steps=2, guidance=3.0, size="48x32")
    model.load("cpu")
    prompts = ["a photo of a bench", "two cups", "a red cup"]
    codes = model.generate(prompts, [5, 6, 7])
    pipeline = diffusers.DiffusionPipeline.from_pretrained(text_pipeline)
    noise = [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)]
    expected = pipeline(
        prompts, num_inference_steps=2, guidance_scale=3.0, width=48, height=32, generator=noise
    ).images
    decoded = model.decode(codes, [0, 0, 0])
    assert decoded.shape == (3, 3, 32, 48)
    for found, image in zip(decoded, expected, strict=True):
        levels = ((found.permute(1, 2, 0).numpy() + 1) * 127.5).round()
        # An uint8 level may turn where the two calls round a product in another order.
        assert np.abs(levels - np.asarray(image)).max() <= 1


def test_a_picture_depends_on_its_own_seed(text_pipeline: Path) -> None:
    model = DiffusersTextToImage(str(text_pipeline), steps=1, batch=2)
    model.load("cpu")
    together = model.decode(model.generate(["two cups"] * 3, [1, 2, 3]), [])
    alone = model.decode(model.generate(["two cups"], [3]), [])
    assert (together[2] - alone[0]).abs().max() <= 2.1 / 127.5
    assert (together[0] - together[1]).abs().max() > 0.1


def test_loading_draws_no_bars(text_pipeline: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for package in (diffusers, transformers):
        package.utils.logging.enable_progress_bar()
    DiffusersTextToImage(str(text_pipeline)).load("cpu")
    assert "%|" not in capfd.readouterr().err


def test_defaults_of_the_call_are_part_of_the_identity(text_pipeline: Path) -> None:
    card = DiffusersTextToImage(str(text_pipeline)).card
    assert card.config["call"]["num_inference_steps"] == 50
    assert card.config["call"]["guidance_scale"] == 7.5
    same = DiffusersTextToImage(str(text_pipeline), steps=50, guidance=7.5).card
    assert same.digest == card.digest
    for options in (
        {"steps": 20}, {"negative": "blur"}, {"scheduler": "EulerDiscreteScheduler"},
        {"dtype": "bfloat16"}, {"size": "32"}, {"safety": True},
    ):  # fmt: skip
        other = DiffusersTextToImage(str(text_pipeline), **options)  # type: ignore[arg-type]
        assert other.card.digest != card.digest, options


def test_what_does_not_fit_is_one_line(text_pipeline: Path, class_pipeline: Path) -> None:
    with pytest.raises(UserError, match="StableDiffusionPipeline takes no class_labels"):
        _ = DiffusersClassToImage(str(text_pipeline)).card
    with pytest.raises(UserError, match="takes no prompt: it draws no texts"):
        _ = DiffusersTextToImage(str(class_pipeline)).card
    with pytest.raises(UserError, match="takes no image"):
        _ = DiffusersEditor(str(text_pipeline)).card
    with pytest.raises(UserError, match="no scheduler 'Nonsense'"):
        DiffusersTextToImage(str(text_pipeline), scheduler="Nonsense").load("cpu")


def test_code_of_a_repository_is_never_run(text_pipeline: Path, tmp_path: Path) -> None:
    folder = tmp_path / "evil"
    folder.mkdir()
    index = json.loads((text_pipeline / "model_index.json").read_text())
    index["_class_name"] = ["pipeline", "Evil"]
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "pipeline.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UserError, match="code in a repository is not run"):
        _ = DiffusersTextToImage(str(folder)).card


@pytest.mark.parametrize(
    ("component", "weight"), [("unet", "conv_out.bias"), ("vae", "decoder.conv_in.weight")]
)
def test_weights_that_are_not_finite_are_refused(
    text_pipeline: Path, tmp_path: Path, component: str, weight: str
) -> None:
    shutil.copytree(text_pipeline, tmp_path / "damaged")
    (file,) = (tmp_path / "damaged" / component).glob("*.safetensors")
    weights = load_file(file)
    weights[weight].flatten()[0] = torch.inf
    save_file(weights, file)
    with pytest.raises(UserError, match=rf"damaged: {component}: weight {weight} is not finite"):
        DiffusersTextToImage(str(tmp_path / "damaged")).load("cpu")


def test_geneval_is_drawn(uwt_eval: CommandLine, tmp_path: Path, text_pipeline: Path) -> None:
    result = uwt_eval(
        "run", "geneval", "--model", f"diffusers-t2i:{text_pipeline}?steps=1&size=32",
        "--limit", 2, "--device", "cpu", "--out", tmp_path, "--json",
    )  # fmt: skip
    assert result.code in {0, 3}, result.err
    (record,) = result.records
    assert len(list((tmp_path / record["run_id"]).glob("images/*/samples/*.png"))) == 2


def test_classes_are_drawn(uwt_eval: CommandLine, tmp_path: Path, class_pipeline: Path) -> None:
    result = uwt_eval(
        "run", "imagenet-gen", "--model", f"diffusers-class:{class_pipeline}?steps=1",
        "--limit", 2, "--device", "cpu", "--out", tmp_path, "--json",
    )  # fmt: skip
    assert result.code in {0, 3}, result.err
    (record,) = result.records
    with np.load(tmp_path / record["run_id"] / "samples.npz") as file:
        assert file["arr_0"].shape == (2, 256, 256, 3)


@pytest.fixture(scope="session")
def omnigen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = diffusers.OmniGenTransformer2DModel(
        hidden_size=16, num_attention_heads=4, num_key_value_heads=4, intermediate_size=16,
        num_layers=1, pad_token_id=0, vocab_size=10, in_channels=4, time_step_dim=4,
        rope_scaling={"long_factor": [1, 2], "short_factor": [1, 2]},
    )  # fmt: skip
    pipeline = diffusers.OmniGenPipeline(
        network, diffusers.FlowMatchEulerDiscreteScheduler(), autoencoder(4), tokenizer()
    )
    folder = tmp_path_factory.mktemp("pipelines") / "tiny-omnigen"
    pipeline.save_pretrained(folder)
    return folder


def test_omnigen_edits_the_image_that_its_prompt_names(omnigen: Path) -> None:
    model = DiffusersEditor(str(omnigen), steps=1, image_guidance=1.2)
    model.load("cpu")
    assert model.card.config["call"]["img_guidance_scale"] == 1.2
    assert model.card.config["call"]["use_input_image_size_as_output"] is True
    image = np.full((32, 48, 3), 90, np.uint8)
    codes = model.edit(["a red bench"] * 2, [image, 255 - image], [1, 1])
    assert [(code.height, code.width) for code in codes] == [(32, 48), (32, 48)]
    again = model.edit(["a red bench"], [image], [1])
    assert again[0].payload == codes[0].payload, "its latents are drawn too"
    pipeline = diffusers.DiffusionPipeline.from_pretrained(omnigen)
    torch.manual_seed(1)
    expected = pipeline(
        "<img><|image_1|></img> a red bench", [Image.fromarray(image)], num_inference_steps=1,
        img_guidance_scale=1.2, use_input_image_size_as_output=True,
        generator=torch.Generator().manual_seed(1),
    ).images[0]  # fmt: skip
    levels = ((model.decode(codes[:1], [0])[0].permute(1, 2, 0).numpy() + 1) * 127.5).round()
    assert np.abs(levels - np.asarray(expected)).max() <= 1
    assert codes[0].payload != codes[1].payload


def test_images_of_any_size_are_edited(edit_pipeline: Path) -> None:
    model = DiffusersEditor(str(edit_pipeline), steps=1, image_guidance=1.2)
    model.load("cpu")
    assert model.card.config["call"]["image_guidance_scale"] == 1.2
    pictures = [np.full((32, 48, 3), 90, np.uint8), np.full((40, 32, 3), 200, np.uint8)]
    codes = model.edit(["a red bench", "two cups"], pictures, [1, 2])
    assert [(code.height, code.width) for code in codes] == [(32, 48), (40, 32)]
    assert model.decode(codes[:1], [0]).shape == (1, 3, 32, 48)
