"""A training run of the multimodal model: records, codes, steps."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from uniwetok.files import write_json
from uniwetok.mllm.assistant import Assistant
from uniwetok.tokenizer.model import encoder_digest
from uniwetok.train import TrainingError
from uniwetok.train.data.reading import OnBlock
from uniwetok.train.data.schedule import Place
from uniwetok.train.engine.checkpoints import settle
from uniwetok.train.engine.loop import Finished, Hooks, Loop, Stream
from uniwetok.train.engine.trainer import make_accelerator
from uniwetok.train.mllm.config import MLLMTraining
from uniwetok.train.mllm.data.codes import ImageCodes, build_image_codes
from uniwetok.train.mllm.data.index import SampleIndex, index_samples
from uniwetok.train.mllm.data.sizes import SizeRule
from uniwetok.train.mllm.data.source import RecordSource
from uniwetok.train.mllm.data.stream import PackedRows, PackedStream
from uniwetok.train.mllm.parts import load_parts
from uniwetok.train.mllm.plan import measure
from uniwetok.train.mllm.trainer import MLLMTrainer

_IDENTITY_FILE = "data.json"


def train_mllm(
    config: MLLMTraining,
    source: RecordSource,
    tokenizer: Path | None,
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
        source: records and their images.
        tokenizer: weights of the image tokenizer; None takes those beside ``config.init``.
        codes_folder: of the cache of codes; not used where ``config.data.cache`` is false.
        out: the run's folder: configuration, checkpoints, logs and the model.
        device: "cpu", or "auto" for this process's GPU where there is one.
        hooks: what the caller does along the way.
        on_block: called with the samples that are looked at or encoded, and the number of all.

    Raises:
        TrainingError: parts do not fit each other or are missing, a record is malformed, ``out``
            holds another run, the disk is full, or the loss is not finite.
    """
    config, chosen = settle(config, out, device)
    accelerator = make_accelerator(config, device)
    parts = load_parts(config, tokenizer, on_gpu=accelerator.device.type == "cuda")
    parts.images.to(accelerator.device)
    index = _index(config, source, parts, out, accelerator, on_block)
    usable, notices = index.usable(config.data)
    _check_identity(out, parts, index, accelerator)
    trainer = MLLMTrainer(config, parts, accelerator)
    images: ImageCodes | None = None
    if config.data.cache:
        codes_folder.mkdir(parents=True, exist_ok=True)
        images = build_image_codes(
            codes_folder,
            source,
            index,
            parts.images,
            accelerator,
            config.data,
            on_block,
        )
        notices += images.notices(source)
    notices += [
        *chosen,
        *source.notices,
        *source.damage,
        f"{len(usable):,} of {len(index):,} samples are trained on",
    ]

    def open_stream(place: Place) -> Stream[PackedRows]:
        return PackedStream(
            source, index, config.data, parts.builder, images or parts.images, place
        )

    return Loop(trainer, open_stream, out, measure, hooks=hooks, notices=notices).finish()


def _index(
    config: MLLMTraining,
    source: RecordSource,
    parts: Assistant,
    out: Path,
    accelerator: Accelerator,
    on_block: OnBlock,
) -> SampleIndex:
    """Look at all samples on the main process; the others are given what it found."""
    rule = SizeRule(
        multiple=config.model.multiple,
        most_area=config.data.image_area,
        least_side=parts.images.config.min_image_size,
        most_side=config.model.max_side,
    )
    found: list[SampleIndex | None] = [None]
    if accelerator.is_main_process:
        found = [index_samples(source, parts.builder, config.data, rule, out, on_block)]
    index: SampleIndex = broadcast_object_list(found)[0]
    return index


def _check_identity(
    out: Path, parts: Assistant, index: SampleIndex, accelerator: Accelerator
) -> None:
    """Refuse to resume with other samples or another image tokenizer: rows would differ."""
    digest = hashlib.sha256()
    for array in (index.tokens, index.kinds, index.images, index.sizes):
        digest.update(array.tobytes())
    asked = {"samples_sha256": digest.hexdigest(), "encoder_sha256": encoder_digest(parts.images)}
    path = out / _IDENTITY_FILE
    if path.is_file():
        try:
            begun = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise TrainingError(f"{path}: not readable ({error}); give another --out") from error
        for name, what in (
            ("encoder_sha256", "another image tokenizer"),
            ("samples_sha256", "other samples"),
        ):
            if begun.get(name) != asked[name]:
                raise TrainingError(f"{out} holds a run on {what}; give the same, or another --out")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_json(path, asked)
