"""A training run of the tokenizer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import Tensor

from uniwetok.randomness import stream
from uniwetok.train.data.mixed import MixedImages
from uniwetok.train.data.schedule import Place
from uniwetok.train.data.source import ImageSource, listing_digest
from uniwetok.train.data.stream import TrainingImages
from uniwetok.train.engine.checkpoints import settle
from uniwetok.train.engine.logs import write_pairs
from uniwetok.train.engine.loop import Finished, Hooks, Loop
from uniwetok.train.tokenizer.config import TokenizerTraining
from uniwetok.train.tokenizer.plan import measure
from uniwetok.train.tokenizer.trainer import TokenizerTrainer

_PICTURES = 8


def train(
    config: TokenizerTraining,
    source: ImageSource,
    out: Path,
    *,
    device: str = "auto",
    vgg16: Path | None = None,
    heldout: ImageSource | None = None,
    hooks: Hooks | None = None,
) -> Finished:
    """Train, or resume from the last checkpoint in ``out``.

    Args:
        config: the run.
        source: images to train on.
        out: the run's folder: configuration, checkpoints, logs, pictures and the model.
        device: "cpu", or "auto" for this process's GPU where there is one.
        vgg16: file of VGG16's weights for LPIPS.
        heldout: images that pictures are made of; those trained on if None.
        hooks: what the caller does along the way.

    Raises:
        TrainingError: a part is missing, ``out`` holds another run, images cannot be read, the
            disk is full, or the loss is not finite; the last good checkpoint is kept.
    """
    config, chosen = settle(config, out, device)
    trainer = TokenizerTrainer(config, device=device, vgg16=vgg16)

    def open_stream(place: Place) -> TrainingImages:
        return TrainingImages(source, config.data, place, device=trainer.accelerator.device)

    def picture(path: Path) -> None:
        _write_picture(trainer, heldout or source, path)

    notices = [*chosen, *source.notices]
    return Loop(
        trainer,
        open_stream,
        out,
        measure,
        picture=picture,
        hooks=hooks,
        notices=notices,
        data=listing_digest(source),
    ).finish()


def _write_picture(trainer: TokenizerTrainer, shown: ImageSource, path: Path) -> None:
    tokenizer = trainer.averaged_tokenizer()
    if trainer.accelerator.is_main_process:
        images = _pictured(trainer.config, shown)
        noise = stream(trainer.config.seed, "pictures")
        reconstruction = tokenizer.to(trainer.accelerator.device).reconstruct(
            images, generator=noise
        )
        write_pairs(path, images, reconstruction.cpu())


def _pictured(config: TokenizerTraining, shown: ImageSource) -> Tensor:
    centered = dataclasses.replace(
        config.data,
        crop="center",
        buckets=(),
        workers=0,
        mixture=config.data.mixture if isinstance(shown, MixedImages) else (),
    )
    place = Place(batch_size=min(_PICTURES, len(shown)), seed=config.seed)
    return next(iter(TrainingImages(shown, centered, place))).images
