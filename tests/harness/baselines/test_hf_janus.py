"""A tiny Janus answers and draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    JanusConfig,
    JanusForConditionalGeneration,
    JanusImageProcessor,
    JanusProcessor,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from harness.baselines.hf_janus import TransformersJanus
from harness.interfaces import Question
from harness.interfaces.errors import UserError
from tests.conftest import CommandLine
from tests.harness.baselines.test_hf_vlm import TEMPLATE, picture

WORDS = (
    "<pad>", "<end>", "<unk>", "<image_placeholder>", "<begin_of_image>", "<end_of_image>",
    "user", "assistant", ":", "a", "photo", "of", "bench", "two", "cups", "<begin>",
)  # fmt: skip


def save(folder: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers

    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<end>", bos_token="<begin>",
        unk_token="<unk>",
        extra_special_tokens={
            "image_token": WORDS[3], "boi_token": WORDS[4], "eoi_token": WORDS[5],
        },
    )  # fmt: skip
    vision = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    config = JanusConfig(
        text_config=LlamaConfig(
            vocab_size=len(WORDS), intermediate_size=16, num_key_value_heads=2, pad_token_id=0,
            eos_token_id=1, bos_token_id=15, max_position_embeddings=1024, **vision,
        ),
        vision_config=JanusVisionConfig(
            image_size=64, patch_size=16, projection_dim=16, mlp_ratio=1, num_image_tokens=16,
            **vision,
        ),
        vq_config=JanusVQVAEConfig(
            embed_dim=4, num_embeddings=12, double_latent=False, latent_channels=8,
            num_patches=4, base_channels=32, channel_multiplier=[1, 1], num_res_blocks=1,
            projection_dim=16, image_token_embed_dim=16,
        ),
        image_token_id=3,
    )  # fmt: skip
    torch.manual_seed(0)
    network = JanusForConditionalGeneration(config).eval()
    network.generation_config.update(pad_token_id=0, bos_token_id=15, eos_token_id=1)
    network.save_pretrained(folder)
    path = folder / "generation_config.json"
    settings = {**json.loads(path.read_text()), "generation_kwargs": {"boi_token_id": 4}}
    path.write_text(json.dumps(settings))
    JanusProcessor(
        JanusImageProcessor(size={"height": 64, "width": 64}),
        tokenizer,
        TEMPLATE.replace("<image>", WORDS[3]),
        num_image_tokens=16,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("janus") / "tiny-janus")


def loaded(saved: Path) -> TransformersJanus:
    model = TransformersJanus(str(saved), dtype="float32")
    model.load("cpu")
    model._processor.num_image_tokens = 16  # The first of transformers 5 does not read it.
    return model


def test_a_picture_is_its_seeds(saved: Path) -> None:
    model = loaded(saved)
    first = model.generate(["a photo of a bench", "two cups"], [1, 2])
    again = model.generate(["two cups"], [2])
    other = model.generate(["two cups"], [3])
    assert first[1].payload == again[0].payload != other[0].payload
    images = model.decode(first, [0, 0])
    assert images.ndim == 4
    assert images.std() > 0


def test_it_answers(saved: Path) -> None:
    (reply,) = loaded(saved).reply([Question("a photo", [picture(1)])], max_new_tokens=4)
    assert isinstance(reply, str)


def test_geneval_is_drawn(uwt_eval: CommandLine, tmp_path: Path, saved: Path) -> None:
    result = uwt_eval(
        "run", "geneval", "--model", f"hf-janus:{saved}?dtype=float32", "--limit", 1,
        "--device", "cpu", "--out", tmp_path, "--json",
    )  # fmt: skip
    assert result.code in {0, 3}, result.err


def test_identity_and_other_models(saved: Path, tmp_path: Path) -> None:
    card = TransformersJanus(str(saved)).card
    assert TransformersJanus(str(saved), guidance=3.0).card.digest != card.digest
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(UserError, match="is a llava, no Janus; hf-vlm takes it"):
        _ = TransformersJanus(str(tmp_path)).card
