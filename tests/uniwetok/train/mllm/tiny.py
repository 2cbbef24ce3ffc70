"""A run of the multimodal model's training that is small enough for tests."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.uniwetok.mllm import toys
from uniwetok.mllm import SequenceBuilder
from uniwetok.mllm.segments import add_special_tokens
from uniwetok.train.engine.settings import OptimizerConfig
from uniwetok.train.mllm.config import MLLMTraining, SequenceData
from uniwetok.train.mllm.data.sizes import SizeRule

RULE = SizeRule(multiple=32, most_area=128 * 128, least_side=64, most_side=512)


def tiny_run(language_model: Path, **changes: Any) -> MLLMTraining:
    """A run whose rows hold two or three samples."""
    run = MLLMTraining(
        model=toys.config(),
        language_model=str(language_model),
        optimizer=OptimizerConfig(
            learning_rate=1e-3, betas=(0.9, 0.95), epsilon=1e-15, max_gradient_norm=1.0
        ),
        data=SequenceData(row_tokens=160, image_area=128 * 128, workers=0),
        batch_size=2,
        steps=6,
        precision="float32",
        compile=False,
        gradient_checkpointing=False,
        log_every=2,
        checkpoint_every=2,
    )
    return dataclasses.replace(run, **changes)


def builder() -> SequenceBuilder:
    text = toys.text_tokenizer()
    add_special_tokens(text, toys.config())
    return SequenceBuilder(text, toys.config())


def write_language_model(folder: Path) -> Path:
    """A text model without any special token."""
    toys.language_model().save_pretrained(folder)
    toys.text_tokenizer().save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path) -> Path:
    toys.image_tokenizer().save_pretrained(folder)
    return folder


def write_images(folder: Path, count: int = 4) -> list[str]:
    """Pictures of several sizes; returns their names."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    names = []
    for number in range(count):
        rng = np.random.default_rng(number)
        height, width = ((64, 64), (64, 100), (130, 70), (300, 200))[number % 4]
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        names.append(f"images/{number}.png")
        Image.fromarray(pixels).save(folder / names[-1])
    return names


def records(names: list[str]) -> list[dict[str, Any]]:
    """Two records of every kind."""
    red, blue, green, grey = names[:4]
    return [
        {"kind": "text-image", "text": "A red square", "image": red},
        {"kind": "text-image", "text": "一个红色的正方形", "image": grey, "id": "second"},
        {
            "kind": "interleaved",
            "parts": [{"text": "Here is"}, {"image": blue}, {"text": "and there the end."}],
        },
        {
            "kind": "interleaved",
            "parts": [{"image": red, "generated": False}, {"text": "is"}, {"image": green}],
        },
        {"kind": "edit", "source": red, "instruction": "Make it blue", "target": blue},
        {"kind": "edit", "source": [red, green], "instruction": "Join", "target": blue},
        {
            "kind": "chat",
            "messages": [
                {"role": "system", "content": "Be short."},
                {"role": "user", "content": [{"image": green}, {"text": "What is it?"}]},
                {"role": "assistant", "content": "A circle."},
            ],
        },
        {
            "kind": "chat",
            "messages": [
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": [{"text": "Good day"}]},
            ],
        },
    ]


def write_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> Path:
    text = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    path.write_text(text, encoding="utf-8")
    return path


def write_data(folder: Path) -> Path:
    """A file of records with its images."""
    return write_lines(folder / "data.jsonl", records(write_images(folder)))
