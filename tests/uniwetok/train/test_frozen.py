"""Training the decoder alone: codes, and what was trained on them, stay what they were."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from tests.uniwetok.train.tiny import TINY
from uniwetok.tokenizer import UniWeTok
from uniwetok.tokenizer.model import encoder_digest
from uniwetok.train.data.opening import open_images
from uniwetok.train.engine.logs import read_log
from uniwetok.train.tokenizer.run import train


def test_the_decoder_learns_and_the_encoder_keeps_its_bits(
    tmp_path: Path, photo_folder: Path
) -> None:
    torch.manual_seed(0)
    before = UniWeTok(TINY.model).eval()
    with torch.no_grad():
        before.encoder.conv_in.weight[0] = -0.0  # Averaged, it would be 0.0.
    before.save_pretrained(tmp_path / "before")
    loss = dataclasses.replace(TINY.loss, l2_weight=10.0)
    config = dataclasses.replace(
        TINY, loss=loss, init=str(tmp_path / "before"), freeze_encoder=True, steps=6
    )
    source = open_images(photo_folder)
    whole = train(config, source, tmp_path / "whole", device="cpu")
    after = UniWeTok.from_pretrained(whole.model)
    assert encoder_digest(after) == encoder_digest(before)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert torch.equal(after.encode(images), before.encode(images))
    moved = [
        name
        for name, weight in after.decoder.state_dict().items()
        if not torch.equal(weight, before.decoder.state_dict()[name])
    ]
    assert len(moved) > len(after.decoder.state_dict()) / 2
    # The other losses' weights go on being trained, and an interrupted run is the same run.
    train(dataclasses.replace(config, steps=4), source, tmp_path / "cut", device="cpu")
    cut = train(config, source, tmp_path / "cut", device="cpu")
    assert (cut.model / "model.safetensors").read_bytes() == (
        whole.model / "model.safetensors"
    ).read_bytes()
    assert [row["loss"] for row in read_log(tmp_path / "cut")][-1] == [
        row["loss"] for row in read_log(tmp_path / "whole")
    ][-1]


def test_an_untrained_encoder_is_not_frozen() -> None:
    with pytest.raises(ValueError, match="freeze_encoder needs init"):
        dataclasses.replace(TINY, freeze_encoder=True)
