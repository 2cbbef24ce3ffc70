"""A small multimodal model with random weights, and a text tokenizer of bytes."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from uniwetok.mllm import MLLM, Assistant, MLLMConfig
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig

BITS = 32
_WIDTH = 256


def small_assistant() -> Assistant:
    """Build it: 8 layers of 256 channels, a head of 3 blocks, images of 32 pixels a token."""
    torch.manual_seed(0)
    sizes = Qwen3Config(
        vocab_size=256,
        hidden_size=_WIDTH,
        intermediate_size=3 * _WIDTH,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        initializer_range=0.1,
    )
    config = MLLMConfig(
        width=_WIDTH,
        latent_channels=BITS,
        diffusion_width=_WIDTH,
        diffusion_blocks=3,
        diffusion_modulations=1,
        max_side=512,
    )
    text = _bytes()
    model = MLLM.build(Qwen3ForCausalLM(sizes), text, config)
    with torch.no_grad():
        for weight in [*model.vision_head.parameters(), *model.projector.parameters()]:
            weight.add_(0.05 * torch.randn(weight.shape))
        # Never the likeliest, so that all replies have the same length.
        model.output_layer.weight[text.convert_tokens_to_ids("<|im_end|>")] = 0
    images = UniWeTok(
        UniWeTokConfig(
            channels=32,
            channel_multipliers=(1, 1, 1, 1, 1, 2),
            num_res_blocks=1,
            latent_channels=BITS,
            groups=4,
            attention_blocks=1,
            heads=1,
        )
    )
    return Assistant(model.eval(), text, images.eval())


def _bytes() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: index for index, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)
