"""A small multimodal model around a random Qwen3, with a text tokenizer trained on the spot."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from uniwetok.mllm import MLLM, Assistant, MLLMConfig
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig

CORPUS = [
    "A red square on a blue ground, and a green circle beside it.",
    "What colour is the shape? The shape is red. Make the circle yellow, please.",
    "一个红色的正方形在蓝色的背景上，旁边有一个绿色的圆。把圆变成黄色。",
    "system user assistant\nDescribe the picture in one sentence.\n",
]
MERGES = 300
BITS = 16


@functools.cache
def _trained() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + MERGES,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer.to_str()


def text_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer without special tokens."""
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(_trained()))


def config(parallel_tokens: int = 1, **changes: object) -> MLLMConfig:
    sizes: dict[str, object] = {
        "width": 32,
        "latent_channels": BITS,
        "downsample": 32,
        "max_side": 512,
        "parallel_tokens": parallel_tokens,
        "diffusion_width": 128,
        "diffusion_blocks": 2,
        "diffusion_modulations": 1,
    }
    return MLLMConfig(**(sizes | changes))  # type: ignore[arg-type]


def image_tokenizer() -> UniWeTok:
    torch.manual_seed(3)
    sizes = UniWeTokConfig(
        channels=32,
        channel_multipliers=(1, 1, 1, 1, 1, 2),
        num_res_blocks=1,
        latent_channels=BITS,
        groups=2,
        attention_blocks=1,
        heads=1,
    )
    return UniWeTok(sizes).eval()


def language_model(context: int = 512) -> Qwen3ForCausalLM:
    torch.manual_seed(1)
    sizes = Qwen3Config(
        vocab_size=256 + MERGES,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=context,
        tie_word_embeddings=False,
        initializer_range=0.3,
    )
    sizes._attn_implementation = "sdpa"
    return Qwen3ForCausalLM(sizes).eval()


def randomize(model: MLLM) -> MLLM:
    """Weights that are not zero, so that every part of the head has an effect."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in [*model.vision_head.parameters(), *model.projector.parameters()]:
            weight.add_(0.15 * torch.randn(weight.shape, generator=generator))
    return model


def assistant(parallel_tokens: int = 1, context: int = 512, **changes: object) -> Assistant:
    text = text_tokenizer()
    model = MLLM.build(language_model(context), text, config(parallel_tokens, **changes))
    return Assistant(randomize(model).eval(), text, image_tokenizer())


def codes(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BITS, rows, columns, generator=generator).sign()


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(folder: Path, parallel_tokens: int = 1) -> Path:
    assistant(parallel_tokens).save_pretrained(folder)
    return folder
