"""A tiny random model that chats about images, as transformers saves one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BlipConfig,
    BlipForQuestionAnswering,
    BlipImageProcessor,
    BlipProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

WORDS = ["<unk>", "<pad>", "<s>", "</s>", "<image>", "yes", "no", "is", "there", "a", "cat", "dog"]
CHAT = (
    "{% for m in messages %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }} {% endif %}"
    "{% endfor %}{% endfor %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    words = {word: place for place, word in enumerate(WORDS)}
    fast = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    extra = {"additional_special_tokens": ["<image>"]}
    return PreTrainedTokenizerFast(tokenizer_object=fast, **special, **extra)


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    vision = CLIPVisionConfig(image_size=16, patch_size=8, num_attention_heads=2, **small)
    text = LlamaConfig(
        vocab_size=len(WORDS), num_attention_heads=2, pad_token_id=1, eos_token_id=3, **small
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=4)
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    processor = LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer(),
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=CHAT,
        image_token="<image>",
        num_additional_image_tokens=1,
    )
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def answering_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answering")
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    vision = {"image_size": 16, "patch_size": 8, "num_attention_heads": 2, **small}
    text = {
        "vocab_size": len(WORDS),
        "num_attention_heads": 2,
        "encoder_hidden_size": 16,
        "bos_token_id": 2,
        "sep_token_id": 3,
        "eos_token_id": 3,
        "pad_token_id": 1,
        **small,
    }
    torch.manual_seed(0)
    config = BlipConfig(vision_config=vision, text_config=text)
    BlipForQuestionAnswering(config).save_pretrained(folder)
    images = BlipImageProcessor(size={"height": 16, "width": 16})
    BlipProcessor(images, tokenizer()).save_pretrained(folder)
    return folder
