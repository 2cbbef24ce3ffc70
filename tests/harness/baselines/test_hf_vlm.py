"""Vision-language models of transformers, made tiny from configurations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from harness.baselines.hf_vlm import TransformersVLM
from harness.interfaces import Question
from harness.interfaces.errors import UserError
from tests.harness.baselines.suite import answered

TEMPLATE = (
    "{% for turn in messages %}{{ turn['role'] }} : {% for part in turn['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}assistant :{% endif %}"
)
WORDS = tuple(
    "<pad> <end> <unk> <image> user assistant system : what is this yes no a cat dog".split()  # noqa: SIM905
)


def save(folder: Path, template: str | None = TEMPLATE) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<end>", unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer, patch_size=16, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=template,
    )  # fmt: skip
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=32, patch_size=16, num_hidden_layers=2, **sizes),
        text_config=LlamaConfig(vocab_size=len(WORDS), num_hidden_layers=1, num_key_value_heads=2,
                    eos_token_id=1, bos_token_id=1, pad_token_id=0, **sizes),
        image_token_index=3, vision_feature_layer=-1,
    )  # fmt: skip
    network = LlavaForConditionalGeneration(config)
    with torch.no_grad():  # Replies depend on the picture, and do not end at once.
        for weight in network.parameters():
            weight.normal_(std=0.5)
        network.lm_head.weight[[0, 1, 3]] = 0
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("vlm") / "tiny-llava")


def picture(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    pixels: np.ndarray = np.random.default_rng(seed).integers(
        0, 256, (height, width, 3), dtype=np.uint8
    )
    return pixels


def loaded(folder: Path, **options: Any) -> TransformersVLM:
    model = TransformersVLM(str(folder), dtype="float32", **options)
    model.load("cpu")
    return model


def test_the_reply_is_that_of_generate(saved: Path) -> None:
    from PIL import Image
    from transformers import AutoProcessor

    image = picture(0)
    found = loaded(saved).reply([Question("what is this", [image])], max_new_tokens=6)
    processor = AutoProcessor.from_pretrained(saved)
    network = LlavaForConditionalGeneration.from_pretrained(saved).eval()
    text = "user : <image> what is this assistant :"
    inputs = processor(text=text, images=Image.fromarray(image), return_tensors="pt")
    tokens = network.generate(**inputs, max_new_tokens=6, do_sample=False)
    expected = processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert expected
    assert found == [expected.strip()]


def test_questions_together_and_alone(saved: Path) -> None:
    questions = [
        Question("what is this", [picture(1)]), Question("is this a cat", [picture(2, 33, 90)]),
        Question("a dog"),
    ]  # fmt: skip
    alone = loaded(saved).reply(questions, max_new_tokens=5)
    together = loaded(saved, batch=2).reply(questions, max_new_tokens=5)
    assert alone == together
    assert len(alone) == 3


def test_first_tokens_are_as_likely_as_the_scores_of_generate_say(saved: Path) -> None:
    """As GenEval 2's script sums them: `probs[ids of the spellings' first tokens]`."""
    from PIL import Image
    from transformers import AutoProcessor

    questions = [Question("what is this", [picture(1)]), Question("is a dog", [picture(2, 33, 90)])]
    spellings = [["yes", "no cat", "yes"], ["cat"]]
    found = loaded(saved).first_tokens(questions, spellings)
    processor = AutoProcessor.from_pretrained(saved)
    network = LlavaForConditionalGeneration.from_pretrained(saved).eval()
    for question, ids, token in zip(questions, (["yes", "no"], ["cat"]), found, strict=True):
        inputs = processor(
            text=f"user : <image> {question.text} assistant :",
            images=Image.fromarray(question.images[0]),
            return_tensors="pt",
        )
        made = network.generate(
            **inputs, max_new_tokens=1, do_sample=False, output_scores=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        probabilities = made.scores[0].softmax(-1)[0]
        expected = sum(float(probabilities[WORDS.index(word)]) for word in ids)
        assert token.probability == pytest.approx(expected, rel=1e-5)
        assert token.text == WORDS[int(probabilities.argmax())]
    together = loaded(saved, batch=2).first_tokens(questions, spellings)
    assert [each.text for each in together] == [each.text for each in found]
    for one, other in zip(together, found, strict=True):
        assert one.probability == pytest.approx(other.probability, rel=1e-4)


def test_a_reply_ends_at_a_stop(saved: Path) -> None:
    model, question = loaded(saved), Question("what is this", [picture(0)])
    (whole,) = model.reply([question], max_new_tokens=8)
    last = whole.split()[-1]
    (cut,) = model.reply([question], max_new_tokens=8, stop=["\n\n", last])
    assert cut == whole[: whole.index(last)].strip()


def test_without_a_template_the_question_stands_alone(tmp_path: Path) -> None:
    model = loaded(save(tmp_path / "bare", None))
    assert model.reply([Question("<image> what is this", [picture(0)])], max_new_tokens=3)


def test_options_are_part_of_the_identity(saved: Path) -> None:
    card = TransformersVLM(str(saved)).card
    assert card.label == "tiny-llava"
    assert card.parameters == sum(
        weight.numel()
        for weight in LlavaForConditionalGeneration.from_pretrained(saved).parameters()
    )
    for options in ({"system": "be short"}, {"dtype": "float16"}, {"max_pixels": 999}):
        other = TransformersVLM(str(saved), **options).card  # type: ignore[arg-type]
        assert other.digest != card.digest
    template = saved / "chat_template.jinja"
    before = template.read_text()
    template.write_text(before + " ")
    assert TransformersVLM(str(saved)).card.digest != card.digest
    template.write_text(before)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"model_type": "bert"}, "no model of images and text of the type 'bert'"),
        ({"model_type": "mine", "auto_map": {"AutoModel": "m.M"}}, "code of its own, which is not"),
        ({}, "its config.json names no model_type"),
        (
            {"_class_name": "AutoencoderKL"},
            "is diffusers' AutoencoderKL: --model diffusers-vae:",
        ),
        ({"_class_name": "UNet2DConditionModel"}, "give the folder of a whole pipeline"),
    ],
)
def test_other_models_are_refused_before_loading(
    tmp_path: Path, config: dict[str, Any], text: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=text):
        _ = TransformersVLM(str(tmp_path)).card


def test_a_pipeline_names_the_plugins_that_take_it(tmp_path: Path) -> None:
    index = {"_class_name": "StableDiffusionPipeline", "vae": ["diffusers", "AutoencoderKL"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"' StableDiffusionPipeline: .*-t2i"):
        _ = TransformersVLM(str(tmp_path)).card


@pytest.mark.slow
def test_a_suite_is_answered(saved: Path, tmp_path: Path) -> None:
    pytest.importorskip("lmms_eval")
    record = answered(f"hf-vlm:{saved}?dtype=float32", tmp_path)
    assert record["status"] == "complete"
    assert record["model"].startswith("tiny-llava")
