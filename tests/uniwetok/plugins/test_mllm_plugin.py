"""The multimodal model as a model of the harness."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.engine.models import ModelChoice
from harness.interfaces import Question
from harness.interfaces.errors import SampleFailure, UserError
from harness.interfaces.types import Status
from tests.uniwetok.mllm import toys
from uniwetok.mllm import Assistant, Drawing, Sampling


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as training leaves it."""
    return toys.saved(tmp_path_factory.mktemp("runs") / "flowers" / "model")


def built(text: str) -> Any:
    plugin: Any = ModelChoice.parse(text).build()
    plugin.load("cpu")
    return plugin


def test_prompts_become_images_each_from_its_own_seed(folder: Path) -> None:
    plugin = built(f"uniwetok-gen:{folder}?height=64&width=96&steps=2&cfg=3")
    prompts, seeds = ["A red square", "红色", "A red square"], [1, 2, 3]
    together = plugin.generate(prompts, seeds)
    alone = [plugin.generate([p], [s])[0] for p, s in zip(prompts, seeds, strict=True)]
    assert together == alone
    assert {(len(code.payload), code.height, code.width) for code in together} == {(12, 64, 96)}
    images = plugin.decode(together, seeds)
    assert images.shape == (3, 3, 64, 96)
    pixels = Assistant.from_pretrained(folder).generate(
        ["A red square"], [3], Drawing(height=64, width=96, steps=2, cfg=3)
    )
    levels = ((images[2] + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0).numpy()
    assert np.abs(levels - pixels[0]).max() <= 1


def test_edited_images_have_the_sizes_of_their_sources(folder: Path) -> None:
    plugin = built(f"uniwetok-edit:{folder}?steps=1&cfg=3&image_cfg=2")
    codes = plugin.edit(["A", "B"], [toys.picture(64, 96), toys.picture(130, 70)], [1, 2])
    assert [(code.height, code.width) for code in codes] == [(64, 96), (128, 64)]
    assert plugin.decode(codes[1:], [2]).shape == (1, 3, 128, 64)
    assert plugin.edit(["B"], [toys.picture(130, 70)], [2]) == codes[1:]


def test_questions_are_answered_in_text(folder: Path) -> None:
    plugin = built(f"uniwetok-chat:{folder}")
    questions = [Question("What colour?", [toys.picture(64, 64)]), Question("红色?")]
    replies = plugin.reply(questions, max_new_tokens=6)
    assistant = Assistant.from_pretrained(folder)
    turns = [[assistant.question(each.text, each.images)] for each in questions]
    expected = assistant.chat(turns, sampling=Sampling(max_new_tokens=6))
    assert replies == [reply.text for reply in expected]
    stop = next(character for character in replies[0] if character.isalnum())
    assert stop not in plugin.reply(questions[:1], max_new_tokens=6, stop=[stop])[0]


def test_cards_tell_what_decides_the_images(folder: Path, tmp_path: Path) -> None:
    card = built(f"uniwetok-gen:{folder}?height=64&width=64&steps=2").card
    assert card.title == "uniwetok-gen:flowers?cfg=7.5&steps=2&height=64&width=64"
    assert (card.codebook.groups, card.codebook.bits_per_group) == (2, 8)
    others = [
        f"uniwetok-gen:{folder}?height=64&width=64&steps=3",
        f"uniwetok-gen:{folder}?height=64&width=96&steps=2",
        f"uniwetok-gen:{folder}?height=64&width=64&steps=2&cfg=2",
        f"uniwetok-gen:{folder}?height=64&width=64&steps=2&dtype=bfloat16",
    ]
    copy = shutil.copytree(folder, tmp_path / "copy")
    same = built(f"uniwetok-gen:{copy}?height=64&width=64&steps=2").card
    assert same.digest == card.digest
    toys.image_tokenizer().save_pretrained(tmp_path / "tokenizer")
    head = copy / "vision_head.safetensors"
    head.write_bytes(head.read_bytes()[:-1] + b"\0")
    others.append(f"uniwetok-gen:{copy}?height=64&width=64&steps=2")
    assert len({card.digest, *(built(text).card.digest for text in others)}) == 6
    assert built(f"uniwetok-chat:{folder}").card.title == "uniwetok-chat:flowers"
    assert built(f"uniwetok-edit:{folder}?image_cfg=2").card.title == (
        "uniwetok-edit:flowers?cfg=7.5&image_cfg=2&steps=50"
    )


def test_the_image_tokenizer_may_be_elsewhere(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "ae.safetensors").unlink()
    with pytest.raises(UserError, match="the image tokenizer, is missing"):
        built(f"uniwetok-chat:{copy}")
    toys.image_tokenizer().save_pretrained(tmp_path / "tokenizer")
    text = f"uniwetok-gen:{copy}?tokenizer={tmp_path / 'tokenizer'}&height=64&width=64&steps=1"
    expected = built(f"uniwetok-gen:{folder}?height=64&width=64&steps=1").generate(["A"], [1])
    assert built(text).generate(["A"], [1]) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("uniwetok-gen", "needs 'folder': --model uniwetok-gen:FOLDER"),
        ("uniwetok-gen:{folder}", "size 1024x1024 is not supported"),
        ("uniwetok-gen:{folder}?height=64&width=70", "the nearest is 64x64"),
        ("uniwetok-gen:{folder}?cfg=-1", "cfg=-1 must be"),
        ("uniwetok-gen:{folder}?steps=0", "steps=0 must be"),
        ("uniwetok-gen:{folder}?height=x", "height=x must be"),
        ("uniwetok-edit:{folder}?image_cfg=inf", "image_cfg=inf must be"),
        ("uniwetok-chat:{folder}?dtype=int8", "dtype=int8 must be 'float32' or"),
        ("uniwetok-chat:{folder}?cfg=2", "has no option 'cfg'"),
        ("uniwetok-chat:nowhere", "nowhere: no such folder"),
    ],
)
def test_wrong_options_are_refused(folder: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        built(text.format(folder=folder))


def test_a_prompt_that_is_too_long_fails_alone(folder: Path) -> None:
    plugin = built(f"uniwetok-gen:{folder}?height=64&width=64&steps=1")
    with pytest.raises(SampleFailure, match="context of 512 tokens") as failure:
        plugin.generate(["red square " * 300], [1])
    assert failure.value.status is Status.MODEL_ERROR


def test_half_precision_draws_codes(folder: Path) -> None:
    plugin = built(f"uniwetok-gen:{folder}?height=64&width=64&steps=1&dtype=bfloat16")
    codes = plugin.generate(["A"], [1])
    assert plugin.decode(codes, [1]).dtype == torch.float32
