"""`uwt-eval train ar`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import Json
from harness.interfaces.errors import UserError
from uniwetok.commands.shared import (
    Device,
    DryRun,
    Limit,
    Out,
    Quiet,
    Settings,
    StepSeconds,
    Validation,
    WorldSize,
    check_device,
    print_finished,
    print_plan,
    progress,
    user_errors,
)

if TYPE_CHECKING:
    from uniwetok.tokenizer import UniWeTok
    from uniwetok.train.ar.config import ARTraining
    from uniwetok.train.engine.loop import Finished


def ar(
    preset: Annotated[str, typer.Option(help="uniwetok-b, uniwetok-l, uniwetok-h or nano-ar.")],
    tokenizer: Annotated[
        Path | None, typer.Option(help="The tokenizer that codes come from: a folder or file.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="ImageFolder with a sub-folder a class, or shards.")
    ] = None,
    out: Out = None,
    codes: Annotated[
        Path | None, typer.Option(help="Folder of the cache of codes (default: OUT/codes).")
    ] = None,
    on_the_fly: Annotated[
        bool, typer.Option("--on-the-fly", help="Encode each image anew, as --set data.views=0.")
    ] = False,
    settings: Settings = None,
    reference: Annotated[
        str | None, typer.Option(help="Reference of a validation's FID, as --data of `run`.")
    ] = None,
    limit: Limit = 256,
    device: Device = "auto",
    world: WorldSize = 8,
    seconds_per_step: StepSeconds = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train the class-to-image model on a tokenizer's codes, which are made and kept first.

    The same command again goes on after the last checkpoint. Several GPUs or nodes:
    `torchrun --no-python --nproc-per-node 8 uwt-eval train ar …`.
    """
    with user_errors():
        from uniwetok.presets import get_ar
        from uniwetok.train.engine.overrides import override

        config = override(get_ar(preset).config, settings or [])
        if on_the_fly:
            config = dataclasses.replace(config, data=dataclasses.replace(config.data, views=0))
        folder = out or Path("runs") / "train" / preset
        if dry_run:
            from uniwetok.train.ar.plan import measure
            from uniwetok.train.engine.plan import make_plan

            plan = make_plan(config, measure(config), world, seconds_per_step=seconds_per_step)
            print_plan(preset, plan, as_json=as_json)
            return
        check_device(device)
        finished = _train(
            config,
            data,
            tokenizer,
            codes or folder / "codes",
            folder,
            reference,
            limit,
            device,
            quiet=quiet or as_json,
        )
    if finished is not None:
        evaluation = (
            f"uwt-eval run imagenet-gen -m uniwetok-ar:{finished.model}?tokenizer="
            f"{tokenizer or 'PATH'}"
        )
        print_finished(finished, evaluation, as_json=as_json)


def _train(
    config: ARTraining,
    data: str | None,
    tokenizer: Path | None,
    codes: Path,
    out: Path,
    reference: str | None,
    limit: int,
    device: str,
    *,
    quiet: bool,
) -> Finished | None:
    """Train; the main process returns what it prints."""
    from accelerate import PartialState

    from uniwetok.train.ar.run import train_ar
    from uniwetok.train.data.opening import open_images

    if config.validate_every and tokenizer is None:
        raise UserError("--tokenizer is missing: validation decodes samples with it")
    source = open_images(data) if data is not None else None
    loaded = _load(tokenizer) if tokenizer is not None else None
    is_main = PartialState(cpu=device == "cpu").is_main_process
    silent = quiet or not is_main
    validation = Validation(
        "imagenet-gen", lambda model: f"uniwetok-ar:{model}?tokenizer={tokenizer}", reference, limit
    )
    with progress(config.steps, validation, out, device, quiet=silent) as (hooks, on_block):
        finished = train_ar(
            config, source, loaded, codes, out, device=device, hooks=hooks, on_block=on_block
        )
    return finished if is_main else None


def _load(path: Path) -> UniWeTok:
    from uniwetok.tokenizer import CheckpointError, UniWeTok

    try:
        return UniWeTok.from_checkpoint(path)
    except CheckpointError as error:
        raise UserError(f"--tokenizer {path}: {error}") from error
