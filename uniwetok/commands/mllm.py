"""`uwt-eval train mllm`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import Json
from harness.interfaces.errors import UserError
from uniwetok.commands.shared import (
    Device,
    DryRun,
    Out,
    Quiet,
    Settings,
    StepSeconds,
    WorldSize,
    check_device,
    print_finished,
    print_plan,
    progress,
    user_errors,
)

if TYPE_CHECKING:
    from uniwetok.train.engine.loop import Finished
    from uniwetok.train.mllm.config import MLLMTraining


def mllm(
    preset: Annotated[str, typer.Option(help="pretrain, gen, edit or chat.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Records: a .jsonl, a .tar, or a folder of either; docs/mllm-data.md."),
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="The image tokenizer, which stays frozen: folder or file.")
    ] = None,
    language_model: Annotated[
        str | None,
        typer.Option(help="Text model to start from: a folder, or a name on the Hub."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder that a .jsonl names images in (default: its own).")
    ] = None,
    out: Out = None,
    codes: Annotated[
        Path | None, typer.Option(help="Folder of the cache of codes (default: OUT/codes).")
    ] = None,
    settings: Settings = None,
    device: Device = "auto",
    world: WorldSize = 8,
    seconds_per_step: StepSeconds = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train the multimodal model on packed sequences of text and a tokenizer's codes.

    The same command again goes on after the last checkpoint. Several GPUs or nodes:
    `torchrun --no-python --nproc-per-node 8 uwt-eval train mllm …`.
    """
    with user_errors():
        from dataclasses import replace

        from uniwetok.presets import get_mllm
        from uniwetok.train.engine.overrides import override

        chosen = get_mllm(preset)
        config = override(chosen.config, settings or [])
        if language_model is not None:
            if config.init is not None:
                raise UserError(
                    f"--language-model {language_model} and init={config.init}: give one of them"
                )
            config = replace(config, language_model=language_model)
        folder = out or Path("runs") / "train" / chosen.name
        if dry_run:
            from uniwetok.train.engine.plan import make_plan
            from uniwetok.train.mllm.plan import measure

            plan = make_plan(config, measure(config), world, seconds_per_step=seconds_per_step)
            print_plan(chosen.name, plan, as_json=as_json)
            return
        if data is None:
            raise UserError(f"--data is missing: {chosen.name} trains on records of {chosen.data}")
        check_device(device)
        finished = _train(
            config,
            data,
            images,
            tokenizer,
            codes or folder / "codes",
            folder,
            device,
            quiet=quiet or as_json,
        )
    if finished is not None:
        print_finished(finished, f"uwt-eval chat --model {finished.model}", as_json=as_json)


def _train(
    config: MLLMTraining,
    data: Path,
    images: Path | None,
    tokenizer: Path | None,
    codes: Path,
    out: Path,
    device: str,
    *,
    quiet: bool,
) -> Finished | None:
    """Train; the main process returns what it prints."""
    from accelerate import PartialState

    from uniwetok.train.mllm.data.source import open_records
    from uniwetok.train.mllm.run import train_mllm

    source = open_records(data, images)
    is_main = PartialState(cpu=device == "cpu").is_main_process
    silent = quiet or not is_main
    with progress(config.steps, None, out, device, quiet=silent) as (hooks, on_block):
        finished = train_mllm(
            config, source, tokenizer, codes, out, device=device, hooks=hooks, on_block=on_block
        )
    return finished if is_main else None
