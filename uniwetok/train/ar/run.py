"""A training run of the class-to-image model: codes, steps, pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from uniwetok.ar.guidance import Guidance
from uniwetok.ar.sampler import sample
from uniwetok.randomness import stream
from uniwetok.tokenizer import UniWeTok
from uniwetok.tokenizer.model import encoder_digest
from uniwetok.train import TrainingError
from uniwetok.train.ar.config import ARTraining
from uniwetok.train.ar.plan import measure
from uniwetok.train.ar.trainer import ARTrainer
from uniwetok.train.codes.blocks import left_out
from uniwetok.train.codes.build import build_codes
from uniwetok.train.codes.cache import (
    Codes,
    Origin,
    check_origin,
    class_labels,
    data_digest,
    data_stamp,
    open_codes,
    write_header,
)
from uniwetok.train.codes.stream import CachedCodes, CodeBatch, EncodedCodes
from uniwetok.train.data.mixed import MixedImages
from uniwetok.train.data.reading import OnBlock
from uniwetok.train.data.schedule import Place
from uniwetok.train.data.source import ImageSource, listing_digest
from uniwetok.train.engine.checkpoints import settle
from uniwetok.train.engine.logs import write_grid
from uniwetok.train.engine.loop import Finished, Hooks, Loop, MakePicture, Stream
from uniwetok.train.engine.machine import on_cpu

_PICTURES = 8
_PICTURE_STEPS = 25
_PICTURE_GUIDANCE = Guidance(scale=3.0)
_IDENTITY_FILE = "encoder.txt"


def train_ar(
    config: ARTraining,
    source: ImageSource | None,
    tokenizer: UniWeTok | None,
    codes_folder: Path,
    out: Path,
    *,
    device: str = "auto",
    hooks: Hooks | None = None,
    on_block: OnBlock = lambda *_: None,
) -> Finished:
    """Train, or resume from the last checkpoint in ``out``; codes are made first where missing.

    Args:
        config: the run.
        source: images with classes; None trains from codes that are there.
        tokenizer: on the CPU; None trains from codes that are there, and makes no pictures.
        codes_folder: of the cache of codes; not used where ``config.data.views`` is 0.
        out: the run's folder: configuration, checkpoints, logs, pictures and the model.
        device: "cpu", or "auto" for this process's GPU where there is one.
        hooks: what the caller does along the way.
        on_block: called with the images that are encoded and the number of all.

    Raises:
        TrainingError: tokenizer, codes, images and model do not fit each other, a part is missing,
            ``out`` holds another run, the disk is full, or the loss is not finite.
    """
    config, chosen = settle(config, out, device)
    if tokenizer is not None:
        check_sizes(config, tokenizer)
        tokenizer = tokenizer.eval().to(PartialState(cpu=on_cpu(device)).device)
    digest = encoder_digest(tokenizer) if tokenizer is not None else None
    codes = None if config.data.views == 0 else _find_codes(config, source, digest, codes_folder)
    if codes is not None:
        digest = codes.header.origin.tokenizer
    check_parts(codes_folder, codes, source is not None, tokenizer is not None)
    assert digest is not None
    _check_same_tokenizer(out, digest)
    trainer = ARTrainer(config, digest, device=device)
    if codes is None and config.data.views and source is not None and tokenizer is not None:
        stamp = data_stamp(source)
        data = data_digest(source) if trainer.accelerator.is_main_process else ""
        origin = Origin(tokenizer=digest, data=data, **_fields(config))
        codes = build_codes(
            codes_folder,
            source,
            tokenizer,
            origin,
            config.data,
            config.model.classes,
            trainer.accelerator,
            on_block,
            stamp=stamp,
        )
    if codes is None and source is not None:
        class_labels(source, config.model.classes)
    if codes is not None and max(codes.labels) >= config.model.classes:
        raise TrainingError(
            f"{codes_folder}: holds class {max(codes.labels)}, the model has classes "
            f"0..{config.model.classes - 1}; raise model.classes"
        )
    if trainer.accelerator.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
        (out / _IDENTITY_FILE).write_text(f"{digest}\n", encoding="utf-8")

    sizes = source.sizes if isinstance(source, MixedImages) else None
    if source is None and len(config.data.mixture) > 1:
        raise TrainingError("codes of several sources: give --data, which says where each begins")

    def open_stream(place: Place) -> Stream[CodeBatch]:
        if codes is not None:
            return CachedCodes(codes, config.data, place, sizes)
        assert source is not None
        assert tokenizer is not None
        return EncodedCodes(source, tokenizer, config.data, place)

    loop = Loop(
        trainer,
        open_stream,
        out,
        measure,
        picture=None if tokenizer is None else _picturer(trainer, tokenizer),
        hooks=hooks,
        notices=[
            *chosen,
            *(() if source is None else source.notices),
            *_unseen(source, config.model.classes),
            *_without_codes(codes, source),
        ],
        data="" if source is None else listing_digest(source),
    )
    return loop.finish()


def _unseen(source: ImageSource | None, classes: int) -> list[str]:
    """Say where the data has fewer classes than the model."""
    named = len(getattr(source, "class_names", ()))
    if not 0 < named < classes:
        return []
    return [
        f"the data has {named} classes, the model {classes}, of which the others are never seen: "
        f"--set model.classes={named} makes a model of these alone"
    ]


def _without_codes(codes: Codes | None, source: ImageSource | None) -> tuple[str, ...]:
    """Say which images the cache has no codes of."""
    if codes is None:
        return ()
    read = None if source is None else source.read
    return left_out(codes.header.unreadable, len(codes), read)


def check_parts(folder: Path, codes: Codes | None, has_data: bool, has_tokenizer: bool) -> None:
    """Make sure that there are codes, or what they are made of.

    Raises:
        TrainingError: a part is missing, which is named.
    """
    given = {"--data": has_data, "--tokenizer": has_tokenizer}
    missing = [option for option, there in given.items() if not there]
    if codes is None and missing:
        raise TrainingError(
            f"{folder}: no codes are there yet; give {' and '.join(missing)} to make them"
        )


def check_sizes(config: ARTraining, tokenizer: UniWeTok) -> None:
    """Make sure that a tokenizer's codes are what the model takes.

    Raises:
        TrainingError: they differ in bits a token or tokens a side.
    """
    sizes, model = tokenizer.config, config.model
    if sizes.latent_channels != model.latent_channels:
        raise TrainingError(
            f"the tokenizer has {sizes.latent_channels} bits a token, the model "
            f"{model.latent_channels}; --set model.latent_channels={sizes.latent_channels}, or "
            f"give another tokenizer"
        )
    if config.data.resolution != model.grid * sizes.downsample:
        raise TrainingError(
            f"images of {config.data.resolution} pixels are "
            f"{config.data.resolution / sizes.downsample:g} tokens a side of {sizes.downsample} "
            f"pixels, the model has model.grid={model.grid}; "
            f"--set data.resolution={model.grid * sizes.downsample}"
        )


def _find_codes(
    config: ARTraining, source: ImageSource | None, digest: str | None, folder: Path
) -> Codes | None:
    """Open the cache if it is whole, and make sure that it is the one that is asked for."""
    codes = open_codes(folder)
    if codes is not None:
        wanted = _fields(config)
        if digest is not None:
            wanted["tokenizer"] = digest
        stamp = "" if source is None else data_stamp(source)
        changed = not stamp or stamp != codes.header.stamp
        if source is not None and changed:
            wanted["data"] = data_digest(source)
        check_origin(folder, codes.header.origin, wanted)
        if stamp and changed and PartialState().is_main_process:
            write_header(folder, replace(codes.header, stamp=stamp))
    return codes


def _fields(config: ARTraining) -> dict[str, Any]:
    return {
        "resolution": config.data.resolution,
        "views": config.data.views,
        "smallest_crop": config.data.smallest_crop,
        "latent_channels": config.model.latent_channels,
        "grid": config.model.grid,
        "precision": config.data.precision,
    }


def _check_same_tokenizer(out: Path, digest: str) -> None:
    path = out / _IDENTITY_FILE
    if path.is_file() and path.read_text(encoding="utf-8").strip() != digest:
        raise TrainingError(
            f"{out} holds a run on another tokenizer's codes; give that one, or another --out"
        )


def _picturer(trainer: ARTrainer, tokenizer: UniWeTok) -> MakePicture:
    """Draw one sample each of some classes, the same ones with the same noise every time."""
    config = trainer.config
    count = min(_PICTURES, config.model.classes)
    labels = torch.linspace(0, config.model.classes - 1, count).round().long()
    guidance = _PICTURE_GUIDANCE if config.model.label_dropout else Guidance()

    def picture(path: Path) -> None:
        averaged = trainer.averaged_model()
        if not trainer.accelerator.is_main_process:
            return
        model = averaged.to(trainer.accelerator.device)
        noise = [stream(config.seed, "pictures", index) for index in range(count)]
        codes = sample(model, labels, noise, guidance=guidance, steps=_PICTURE_STEPS)
        images = tokenizer.decode(codes.float(), generator=noise)
        write_grid(path, images.cpu())

    return picture
