"""Two processes at two resolutions: their gradient is that of all their images in one."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.uniwetok.train.tiny import TINY
from uniwetok.losses.config import EntropyConfig
from uniwetok.randomness import stream
from uniwetok.train.data.config import DataConfig
from uniwetok.train.data.opening import open_images
from uniwetok.train.data.schedule import Place
from uniwetok.train.data.stream import Batch, TrainingImages
from uniwetok.train.tokenizer.trainer import TokenizerTrainer

RUN = dataclasses.replace(
    TINY,
    # Every loss that is a mean over images: the codebook's entropy and BatchNorm couple a batch.
    loss=dataclasses.replace(
        TINY.loss,
        adversarial=None,
        commitment_weight=0.25,
        entropy=EntropyConfig(codebook_weight=0.0, temperature=1.0),
    ),
    prior=None,
    data=DataConfig(resolution=32, buckets=((32, 32), (64, 80)), partition="fixed", workers=0),
    batch_size=6,
    ema_decay=0.0,
)
SCRIPT = """
import sys
import torch
from tests.uniwetok.train.test_pixel_weights import RUN, batch
from uniwetok.train.tokenizer.trainer import TokenizerTrainer
class Kept(TokenizerTrainer):
    def update(self, name, number, loss):
        if self.accelerator.is_main_process:
            weights = self.networks.generator.named_parameters()
            kept = {name: w.grad.clone() for name, w in weights if w.grad is not None}
            torch.save(kept, sys.argv[2])
        return super().update(name, number, loss)
trainer = Kept(RUN, device="cpu")
trainer.step(batch(sys.argv[1], trainer.accelerator.process_index), 0)
trainer.accelerator.wait_for_everyone()
"""


def batch(photos: str, rank: int) -> Batch:
    place = Place(batch_size=RUN.batch_size, seed=RUN.seed, rank=rank, world=2)
    return next(iter(TrainingImages(open_images(photos), RUN.data, place)))


def union_gradient(batches: list[Batch]) -> dict[str, Tensor]:
    """Of all pixels' mean loss, in one process and float64, one image at a time."""
    generator = TokenizerTrainer(RUN, device="cpu").networks.generator.double()
    pixels = sum(each.images[:, 0].numel() for each in batches)
    for rank, each in enumerate(batches):
        rows, columns = (side // RUN.model.downsample for side in each.images.shape[2:])
        noise = torch.randn(
            (len(each), RUN.model.latent_channels, rows, columns),
            generator=stream(RUN.seed, "step", 0, rank, 0, "noise"),
        )
        for image, own in zip(each.images.double(), noise.double(), strict=True):
            result = generator(image[None], own[None], None, None, torch.Generator())
            (result.terms.total * image[0].numel() / pixels).backward()
    weights = generator.named_parameters()
    return {name: weight.grad for name, weight in weights if weight.grad is not None}


@pytest.mark.slow
def test_the_gradient_of_two_resolutions_is_that_of_all_pixels(
    tmp_path: Path, photo_folder: Path
) -> None:
    script, kept = tmp_path / "script.py", tmp_path / "gradients.pt"
    script.write_text(SCRIPT)
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", str(script), str(photo_folder), str(kept)),
        ],
        env=os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
        capture_output=True,
    )
    batches = [batch(str(photo_folder), rank) for rank in range(2)]
    assert [tuple(each.images.shape) for each in batches] == [(3, 3, 32, 32), (1, 3, 64, 80)]
    assert [each.weight for each in batches] == [0.75, 1.25]
    found, expected = torch.load(kept), union_gradient(batches)
    assert found.keys() == expected.keys()
    norm = torch.stack([gradient.norm() for gradient in expected.values()]).norm()
    for name, gradient in expected.items():
        # float32 against float64: 9e-7 of the whole gradient's norm at most when this was written.
        assert (found[name] - gradient).norm() < 1e-5 * norm, name
