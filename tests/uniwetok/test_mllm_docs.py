"""The examples in docs/mllm.md run just as they stand there, and its tables are true."""

from __future__ import annotations

import inspect
import io
import re
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.conftest import CommandLine
from tests.uniwetok.mllm import toys
from uniwetok.mllm import PRESETS
from uniwetok.mllm.head import Projector, VisionHead
from uniwetok.plugins.mllm import UniWeTokChat, UniWeTokEdit, UniWeTokGen

TEXT = (Path(__file__).parents[2] / "docs" / "mllm.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL)
EXAMPLES = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line
    for language, text in BLOCKS
    if not language
    for line in text.splitlines()
    if line.startswith("uwt-eval ")
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples name."""
    root = tmp_path_factory.mktemp("docs")
    toys.assistant().save_pretrained(root / "model")
    toys.language_model().save_pretrained(root / "text-model")
    toys.text_tokenizer().save_pretrained(root / "text-model")
    toys.image_tokenizer().save_pretrained(root / "image-tokenizer")
    for seed, name in enumerate(("photo.png", "other.png")):
        Image.fromarray(toys.picture(96, 64, seed)).save(root / name)
    return root


def test_the_examples_were_found() -> None:
    assert (len(EXAMPLES), len(COMMANDS)) == (2, 7)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs(
    command: str, places: Path, uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(places)
    monkeypatch.setattr("sys.stdin", io.StringIO("你好\n"))
    result = uwt_eval(*shlex.split(command)[1:])
    assert result.code == 0, result.err
    assert result.out


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_runs(example: str, places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(places)
    exec(example, {})


def test_the_model_that_was_built_is_one(places: Path, uwt_eval: CommandLine) -> None:
    assert uwt_eval("chat", "Hello", "-m", places / "new-model").code == 0


def test_parameters_are_those_of_the_preset() -> None:
    config = PRESETS["qwen3-8b"]
    with torch.device("meta"):
        parts = VisionHead(config), Projector(config.latent_channels, config.width)
    for part in parts:
        assert f"{sum(weight.numel() for weight in part.parameters()):,}" in TEXT


@pytest.mark.parametrize("plugin", [UniWeTokGen, UniWeTokEdit, UniWeTokChat])
def test_every_option_of_a_plugin_is_told(plugin: type) -> None:
    (row,) = [line for line in TEXT.splitlines() if line.startswith(f"| `{plugin._name}:PATH`")]  # type: ignore[attr-defined]
    known = set(inspect.signature(plugin).parameters) - {"folder", "dtype", "tokenizer"}
    assert set(re.findall(r"`(\w+)`", row)) == known
