"""Training learns: the loss falls, and held-out photographs come back better."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from tests.uniwetok.train.tiny import TINY
from uniwetok.tokenizer import UniWeTok
from uniwetok.train.data.opening import open_images
from uniwetok.train.engine.logs import read_log
from uniwetok.train.tokenizer.run import train


@pytest.fixture
def photographs(tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """A folder of two photographs, and crops of a third, (4, 3, 32, 32) in [-1, 1]."""
    for name in ("astronaut", "coffee"):
        image = Image.fromarray(getattr(data, name)()).resize((128, 128))
        (tmp_path / "photos").mkdir(exist_ok=True)
        image.save(tmp_path / "photos" / f"{name}.png")
    heldout = np.asarray(Image.fromarray(data.chelsea()).resize((64, 64)), dtype=np.float32)
    crops = [heldout[y : y + 32, x : x + 32] for y in (0, 32) for x in (0, 32)]
    return tmp_path / "photos", torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) / 127.5 - 1


def psnr(model: Path, images: torch.Tensor) -> float:
    noise = torch.Generator().manual_seed(0)
    again = UniWeTok.from_pretrained(model).reconstruct(images, generator=noise).clamp(-1, 1)
    return float(-10 * torch.log10(((again - images) / 2).square().mean()))


@pytest.mark.slow
def test_the_loss_falls_and_held_out_psnr_rises(
    tmp_path: Path, photographs: tuple[Path, torch.Tensor]
):
    folder, heldout = photographs
    loss = dataclasses.replace(TINY.loss, adversarial=None)
    config = dataclasses.replace(
        TINY, loss=loss, prior=None, batch_size=8, log_every=10, checkpoint_every=100, ema_decay=0.9
    )
    source = open_images(folder)
    quality = []
    for steps in (1, 150):
        finished = train(
            dataclasses.replace(config, steps=steps), source, tmp_path / "run", device="cpu"
        )
        quality.append(psnr(finished.model, heldout))
    losses = [row["l1"] for row in read_log(tmp_path / "run")]
    assert losses[-1] < 0.6 * losses[0]
    assert quality[1] > quality[0] + 1
