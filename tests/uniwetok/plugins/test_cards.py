"""Cards are known from configuration and file headers: no network is built, no weight is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from harness.engine.models import ModelChoice
from harness.interfaces.types import ModelCard
from tests.uniwetok.ar.toys import tiny
from tests.uniwetok.mllm import toys
from tests.uniwetok.train.ar.tiny import tiny_tokenizer
from uniwetok.ar import BitDance
from uniwetok.mllm import Assistant
from uniwetok.nano import AR_WEIGHTS, WEIGHTS
from uniwetok.tokenizer import UniWeTok, checkpoint

NANO = {
    "uniwetok-nano": "2ce66812",
    "uniwetok-nano?dtype=bfloat16": "ff4aa0b5",
    "uniwetok-ar-nano": "351fbe65",
    "uniwetok-ar-nano?cfg=3&steps=10&dtype=bfloat16&schedule=linear": "83f07fef",
}
"""First digits of the digests under which results of these models are stored."""


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModelCard]:
    """The card of a model where no network can be built and no tensor of safetensors be read."""

    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError("a card needs no network")

    def read(text: str) -> ModelCard:
        with monkeypatch.context() as patch:
            patch.setattr(nn.Module, "__init__", refuse)
            patch.setattr("safetensors.torch.load_file", refuse)
            return ModelChoice.parse(text).build().card

    return read


def parameters(*networks: nn.Module) -> int:
    return sum(weight.numel() for network in networks for weight in network.parameters())


@pytest.mark.parametrize("text", NANO)
def test_identities_of_the_models_that_ship_stay(
    text: str, card: Callable[[str], ModelCard]
) -> None:
    found = card(text)
    assert found.digest[:8] == NANO[text]
    network = (
        BitDance.from_checkpoint(AR_WEIGHTS)
        if "-ar-" in text
        else (UniWeTok.from_checkpoint(WEIGHTS))
    )
    assert found.parameters == parameters(network)


def test_torch_files_are_described_without_their_weights(
    card: Callable[[str], ModelCard], tmp_path: Path
) -> None:
    tokenizer, model = UniWeTok.from_checkpoint(WEIGHTS), BitDance(tiny())
    averages = {
        "model_ema." + name.replace(".", ""): weight
        for name, weight in tokenizer.named_parameters()
    }
    state = {**tokenizer.state_dict(), **averages, "loss.scale": torch.zeros(3)}
    torch.save({"state_dict": state}, tmp_path / "a.ckpt")
    assert checkpoint.describe(tmp_path / "a.ckpt")[1] == parameters(tokenizer)
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    state = {**model.state_dict(), "vae.encoder.conv_in.weight": torch.zeros(3)}
    torch.save({"model": state}, tmp_path / "b.pt")
    found = card(f"uniwetok-ar:{tmp_path / 'b.pt'}?tokenizer={tmp_path / 'tokenizer'}")
    assert found.parameters == parameters(model)


@pytest.mark.parametrize("text", ["uniwetok-chat:{}", "uniwetok-gen:{}?height=64&width=64"])
def test_a_multimodal_models_card(
    text: str, card: Callable[[str], ModelCard], tmp_path: Path
) -> None:
    folder = toys.saved(tmp_path / "model")
    found = card(text.format(folder))
    assert found.parameters == parameters(Assistant.from_pretrained(folder).model)
    # The same in two shards, as large models are stored, and with its table tied.
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    for tied in (False, True):
        (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": tied}))
        if tied:
            del weights["lm_head.weight"]
        shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
        names = {name: shards[place % 2] for place, name in enumerate(weights)}
        for shard in shards:
            some = {name: weights[name] for name in weights if names[name] == shard}
            safetensors.torch.save_file(some, folder / shard, {"format": "pt"})
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
        expected = parameters(Assistant.from_pretrained(folder).model)
        assert card(text.format(folder)).parameters == expected
        assert (expected < found.parameters) == tied


def test_shipped_models_say_what_they_are_and_do() -> None:
    from uniwetok.plugins.ar import UniWeTokARNano
    from uniwetok.plugins.tokenizer import NanoPlugin

    tokenizer, drawer = NanoPlugin().card, UniWeTokARNano().card
    for card in (tokenizer, drawer):
        assert (card.licence, card.dtype, card.tokens) == ("Apache-2.0", "float32", 64)
        assert card.stated["bits"] == 8192
    assert (tokenizer.sizes, drawer.sizes) == ((), (256,))
