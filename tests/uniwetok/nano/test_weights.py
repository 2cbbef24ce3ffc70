"""The tokenizer that ships, and what puts it there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from benchmarks.nano import ship as shipping
from benchmarks.nano.ship import LARGEST, ship
from uniwetok.nano import WEIGHTS
from uniwetok.plugins.tokenizer import NanoPlugin
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig


def test_the_weights_are_small_and_in_half_precision():
    assert (WEIGHTS / "model.safetensors").stat().st_size <= LARGEST
    with safe_open(WEIGHTS / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_a_photograph_comes_back_from_one_kilobyte(photos: list[Image.Image]):
    plugin = NanoPlugin()
    plugin.load("cpu")
    assert plugin.card.title == "uniwetok-nano"
    pixels = np.asarray(photos[0].resize((256, 256)), dtype=np.float32)
    images = torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)[None]
    codes = plugin.encode(images)
    assert [code.bits for code in codes] == [8192]
    again = plugin.decode(codes, [0]).clamp(-1, 1)
    psnr = -10 * torch.log10(((again - images) / 2).square().mean())
    grey = -10 * torch.log10(((images.mean((2, 3), keepdim=True) - images) / 2).square().mean())
    assert psnr > grey + 6


def test_saturated_colours_come_back():
    plugin = NanoPlugin()
    plugin.load("cpu")
    colours = torch.tensor([[0.8, -0.8, -0.8], [-0.8, -0.8, 0.8]])[:, :, None, None]
    square = torch.zeros(2, 3, 256, 256)
    square[:, :, 64:192, 64:192] = colours
    for images, least in ((square, 1.0), (colours.expand_as(square), 1.0)):
        shown = plugin.decode(plugin.encode(images), [0, 0])[:, :, 80:176, 80:176].mean((2, 3))
        red, blue = shown
        assert red[0] > red[1:].max() + least
        assert blue[2] > blue[:2].max() + least


@pytest.mark.parametrize(
    ("colour", "most"),
    [((0, 0, 0), 12), ((255, 255, 255), 4), ((128, 128, 128), 4), ((255, 0, 0), 16)],
)
def test_pictures_of_one_colour_come_back(colour: tuple[int, int, int], most: float):
    plugin = NanoPlugin()
    plugin.load("cpu")
    wanted = torch.tensor(colour).view(1, 3, 1, 1) / 127.5 - 1
    shown = plugin.decode(plugin.encode(wanted.expand(1, 3, 256, 256)), [0]).clamp(-1, 1)
    assert (shown - wanted).abs().mean() * 127.5 < most


def test_shipping_rounds_to_half_precision(tmp_path: Path):
    small = UniWeTokConfig(
        channels=32, channel_multipliers=(1, 1), num_res_blocks=0, attention_blocks=0
    )
    network = UniWeTok(small)
    network.save_pretrained(tmp_path / "model")
    size = ship(tmp_path / "model", tmp_path / "weights")
    assert size == 2 * sum(weight.numel() for weight in network.parameters())
    again = UniWeTok.from_pretrained(tmp_path / "weights")
    for name, weight in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight.half().float())


def test_what_is_too_large_does_not_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shipping, "LARGEST", 1000)
    with pytest.raises(ValueError, match="MB in float16"):
        ship(WEIGHTS, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()
