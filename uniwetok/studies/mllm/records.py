"""easy-VQA as records of the training's format, and a small language model for its words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from uniwetok.files import replaced
from uniwetok.randomness import generator, stream_seed
from uniwetok.studies.mllm.settings import LANGUAGE_MODEL
from uniwetok.studies.mllm.shapes import COLOURS, EasyVqa, Shape

RECOLOUR, REMOVE = "paint it {colour}", "remove the {shape}"
_BLIND_SHARE = 0.15
"""Share of questions that are learned without their picture, so that the blind model is asked what
it was trained for too."""
_QUESTIONS_A_PICTURE = 3
_VOCABULARY = 400


def write_records(data: EasyVqa, folder: Path, seed: int) -> Path:
    """Write captions, questions and edits of the training pictures, and the pictures.

    Returns:
        The file of the records.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    path = folder / "train.jsonl"
    with replaced(path) as partial, partial.open("w", encoding="utf-8") as file:
        for value in _records(data, images, seed):
            file.write(json.dumps(value) + "\n")
    return path


def _records(data: EasyVqa, images: Path, seed: int) -> Iterator[Mapping[str, Any]]:
    asked: dict[int, list[tuple[str, str]]] = {}
    for question in data.questions:
        asked.setdefault(question.picture, []).append((question.text, question.answer))
    for number, shape in data.pictures.items():
        rng = generator(seed, "records", number)
        name = _save(images, f"{number}.png", shape.pixels)
        yield {"kind": "text-image", "text": shape.caption, "image": name}
        questions = asked[number]
        for place in rng.permutation(len(questions))[:_QUESTIONS_A_PICTURE]:
            text, answer = questions[place]
            yield _chat(text, answer, None if rng.random() < _BLIND_SHARE else name)
        colour = other_colour(shape, rng)
        for verb, instruction, pixels in (
            ("painted", RECOLOUR.format(colour=colour), shape.recoloured(colour)),
            ("removed", REMOVE.format(shape=shape.shape), shape.removed()),
        ):
            target = _save(images, f"{number}-{verb}.png", pixels)
            yield {"kind": "edit", "source": name, "instruction": instruction, "target": target}


def other_colour(shape: Shape, rng: np.random.Generator) -> str:
    """Draw a colour that a shape has not."""
    return str(rng.choice([colour for colour in COLOURS if colour != shape.colour]))


def _chat(question: str, answer: str, image: str | None) -> dict[str, Any]:
    shown = [] if image is None else [{"image": image}]
    return {
        "kind": "chat",
        "messages": [
            {"role": "user", "content": [*shown, {"text": question}]},
            {"role": "assistant", "content": answer},
        ],
    }


def _save(folder: Path, name: str, pixels: np.ndarray) -> str:
    Image.fromarray(pixels).save(folder / name)
    return f"{folder.name}/{name}"


def write_language_model(records: Path, folder: Path, seed: int) -> Path:
    """Write an untrained Qwen3 with a byte-level tokenizer that is trained on the records' text."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    lines = records.read_text(encoding="utf-8").splitlines()
    tokenizer.train_from_iterator(_texts(lines), trainer)
    wrapped: Any = PreTrainedTokenizerFast
    wrapped(tokenizer_object=tokenizer).save_pretrained(folder)
    torch.manual_seed(stream_seed(seed, "language model"))
    sizes: dict[str, Any] = {"vocab_size": tokenizer.get_vocab_size(), **LANGUAGE_MODEL}
    Qwen3ForCausalLM(Qwen3Config(**sizes)).save_pretrained(folder)
    return folder


def _texts(lines: list[str]) -> Iterator[str]:
    yield from ("user\n", "assistant\n")
    for line in lines:
        value = json.loads(line)
        yield from (value[name] for name in ("text", "instruction") if name in value)
        for message in value.get("messages", ()):
            content = message["content"]
            yield content if isinstance(content, str) else content[-1]["text"]
