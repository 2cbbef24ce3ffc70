"""The unified multimodal model: chat about images, generate and edit them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uniwetok.lazy import lazy

if TYPE_CHECKING:
    from uniwetok.mllm.assistant import Assistant
    from uniwetok.mllm.batch import Batch, collate
    from uniwetok.mllm.chat import Replies, Reply, Sampling
    from uniwetok.mllm.config import LANGUAGE_MODELS, PRESETS, MLLMConfig, MLLMError
    from uniwetok.mllm.drawing import Drawing, draw
    from uniwetok.mllm.layout import SequenceBuilder, TokenSequence
    from uniwetok.mllm.model import MLLM
    from uniwetok.mllm.segments import Turn, add_special_tokens, check_tokenizer
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "LANGUAGE_MODELS": "config",
            "MLLM": "model",
            "PRESETS": "config",
            "Assistant": "assistant",
            "Batch": "batch",
            "Drawing": "drawing",
            "MLLMConfig": "config",
            "MLLMError": "config",
            "Replies": "chat",
            "Reply": "chat",
            "Sampling": "chat",
            "SequenceBuilder": "layout",
            "TokenSequence": "layout",
            "Turn": "segments",
            "add_special_tokens": "segments",
            "check_tokenizer": "segments",
            "collate": "batch",
            "draw": "drawing",
        },
    )

__all__ = [
    "LANGUAGE_MODELS",
    "MLLM",
    "PRESETS",
    "Assistant",
    "Batch",
    "Drawing",
    "MLLMConfig",
    "MLLMError",
    "Replies",
    "Reply",
    "Sampling",
    "SequenceBuilder",
    "TokenSequence",
    "Turn",
    "add_special_tokens",
    "check_tokenizer",
    "collate",
    "draw",
]
