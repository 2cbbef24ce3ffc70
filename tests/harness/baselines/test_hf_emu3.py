"""A tiny Emu3 draws what the library's documented call draws."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoProcessor,
    Emu3Config,
    Emu3ForConditionalGeneration,
    Emu3ImageProcessor,
    Emu3Processor,
    Emu3TextConfig,
    Emu3VQVAEConfig,
    PreTrainedTokenizerFast,
)

from harness.baselines.hf_emu3 import TransformersEmu3
from harness.interfaces.errors import UserError
from tests.conftest import CommandLine

SPECIAL = {
    "image_token": "<image>",
    "boi_token": "<|image start|>",
    "eoi_token": "<|image end|>",
    "image_wrapper_token": "<|image token|>",
    "eof_token": "<|extra_201|>",
}
VISUAL = [f"<|visual token {index:06d}|>" for index in range(40)]
WORDS = [
    *("<pad>", "<begin>", "<end>", "<unk>", "<|extra_200|>", *SPECIAL.values(), *VISUAL),
    *("a", "photo", "of", "bench", "two", "cups", "3*3", "4*4"),
]


def save(folder: Path) -> Path:
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    vocabulary = {word: index for index, word in enumerate(WORDS)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens([AddedToken(word, special=True) for word in SPECIAL.values()])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<begin>", eos_token="<end>",
        unk_token="<unk>", extra_special_tokens=SPECIAL,
    )  # fmt: skip
    config = Emu3Config(
        vq_config=Emu3VQVAEConfig(
            codebook_size=len(VISUAL), base_channels=32, channel_multiplier=[1, 1, 1, 1],
            num_res_blocks=1, attn_resolutions=[], hidden_size=32,
        ).to_dict(),
        text_config=Emu3TextConfig(
            vocab_size=len(WORDS), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256,
            pad_token_id=0, bos_token_id=1, eos_token_id=2,
        ).to_dict(),
        vocabulary_map=vocabulary,
    )  # fmt: skip
    torch.manual_seed(0)
    network = Emu3ForConditionalGeneration(config).eval()
    with torch.no_grad():  # Its initial weights hardly look at the text.
        for weight in network.model.text_model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape))
    network.generation_config.update(pad_token_id=0, bos_token_id=1, eos_token_id=2)
    network.save_pretrained(folder)
    Emu3Processor(Emu3ImageProcessor(), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("emu3") / "tiny-emu3")


def loaded(saved: Path, area: int = 24 * 24) -> TransformersEmu3:
    model = TransformersEmu3(str(saved), dtype="float32", area=area)
    model.load("cpu")
    return model


def documented(saved: Path, prompt: str, negative: str, seed: int, area: int) -> np.ndarray:
    """The call of the library's documentation, guided as the authors' script guides."""
    processor = AutoProcessor.from_pretrained(saved)
    network = Emu3ForConditionalGeneration.from_pretrained(saved).eval()
    settings = {"return_for_image_generation": True, "image_area": area, "return_tensors": "pt"}
    inputs = processor(text=[prompt], **settings)
    away = processor(text=[negative], **settings)
    height, width = (int(side) for side in inputs.pop("image_sizes")[0])
    words = processor.tokenizer

    def allowed(batch: int, tokens: torch.Tensor) -> list[int]:
        begin = torch.nonzero(tokens == words.image_wrapper_token_id, as_tuple=True)[0][0]
        offset = tokens.shape[0] - begin
        if offset % (width + 1) == 0:
            return [words.convert_tokens_to_ids("<|extra_200|>")]
        if offset == (width + 1) * height + 1:
            return [words.eof_token_id]
        if offset == (width + 1) * height + 2:
            return [words.eoi_token_id]
        if offset == (width + 1) * height + 3:
            return [words.eos_token_id]
        return list(network.model.vocabulary_mapping.image_tokens)

    torch.manual_seed(seed)
    found = network.generate(
        **inputs, max_new_tokens=50, do_sample=True, top_k=2048, guidance_scale=3.0,
        prefix_allowed_tokens_fn=allowed, negative_prompt_ids=away["input_ids"],
        negative_prompt_attention_mask=away["attention_mask"],
    )  # fmt: skip
    tokens = found[:, inputs["input_ids"].shape[1] :]
    image = network.decode_image_tokens(image_tokens=tokens, height=height, width=width)
    images = processor.postprocess(list(image.float()), return_tensors="PIL.Image.Image")
    return np.asarray(images["pixel_values"][0])


@pytest.mark.parametrize("area", [24 * 24, 32 * 32])
def test_it_draws_what_the_documented_call_draws(saved: Path, area: int) -> None:
    model = loaded(saved, area)
    (code,) = model.generate(["two cups"], [5])
    expected = documented(saved, f"two cups{model.positive}", model.negative, 5, area)
    found = np.asarray(Image.open(io.BytesIO(code.payload)))
    assert found.shape == expected.shape == (area**0.5, area**0.5, 3)
    assert found.std() > 0
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)


def test_a_picture_is_its_seeds(saved: Path) -> None:
    model = loaded(saved)
    first = model.generate(["a photo of a bench", "two cups"], [1, 2])
    again = model.generate(["two cups"], [2])
    other = model.generate(["two cups"], [3])
    assert first[1].payload == again[0].payload != other[0].payload


def test_geneval_is_drawn(uwt_eval: CommandLine, tmp_path: Path, saved: Path) -> None:
    result = uwt_eval(
        "run", "geneval", "--model", f"hf-emu3:{saved}?dtype=float32&area=576", "--limit", 1,
        "--device", "cpu", "--out", tmp_path, "--json",
    )  # fmt: skip
    assert result.code in {0, 3}, result.err
    assert result.records[0]["n_failed"] == 0


def test_identity_and_other_models(saved: Path, tmp_path: Path) -> None:
    card = TransformersEmu3(str(saved)).card
    for other in ({"guidance": 2.0}, {"negative": ""}, {"area": 256}):
        assert TransformersEmu3(str(saved), **other).card.digest != card.digest  # type: ignore[arg-type]
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(UserError, match="is a llava, no Emu3; hf-vlm takes it"):
        _ = TransformersEmu3(str(tmp_path)).card
