"""`uwt-eval train tokenizer`."""

from __future__ import annotations

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
    from uniwetok.train.engine.loop import Finished
    from uniwetok.train.tokenizer.config import TokenizerTraining


def tokenizer(
    preset: Annotated[str, typer.Option(help="Named settings, see `uwt-eval list presets`.")],
    data: Annotated[
        str | None,
        typer.Option(help="ImageFolder, or WebDataset shards: a folder, or DIR/{000..009}.tar."),
    ] = None,
    out: Out = None,
    settings: Settings = None,
    heldout: Annotated[
        str | None, typer.Option(help="Images for pictures and validation, as --data of `run`.")
    ] = None,
    limit: Limit = 256,
    device: Device = "auto",
    world: WorldSize = 8,
    seconds_per_step: StepSeconds = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train the tokenizer; the same command again goes on after the last checkpoint.

    Several GPUs or nodes: `torchrun --no-python --nproc-per-node 8 uwt-eval train tokenizer …`.
    """
    with user_errors():
        from uniwetok.presets import get
        from uniwetok.train.engine.overrides import override

        chosen = get(preset)
        config = override(chosen.config, settings or [])
        given = {item.partition("=")[0].strip() for item in settings or []}
        for name in chosen.needs:
            if name not in given:
                raise UserError(f"preset {preset} needs --set {name}=…, which has no default")
        folder = out or Path("runs") / "train" / preset
        if dry_run:
            from uniwetok.train.engine.plan import make_plan
            from uniwetok.train.tokenizer.plan import measure

            plan = make_plan(config, measure(config), world, seconds_per_step=seconds_per_step)
            print_plan(preset, plan, as_json=as_json)
            return
        if data is None:
            raise UserError(f"--data is missing: preset {preset} trains on {chosen.data}")
        check_device(device)
        finished = _train(config, data, folder, heldout, limit, device, quiet=quiet or as_json)
    if finished is not None:
        evaluation = f"uwt-eval run imagenet-recon -m uniwetok:{finished.model}"
        print_finished(finished, evaluation, as_json=as_json)


def _train(
    config: TokenizerTraining,
    data: str,
    out: Path,
    heldout: str | None,
    limit: int,
    device: str,
    *,
    quiet: bool,
) -> Finished | None:
    """Train; the main process returns what it prints."""
    from accelerate import PartialState

    from harness.data.assets import locate
    from uniwetok.train.data.opening import open_images
    from uniwetok.train.tokenizer.run import train

    source = open_images(data)
    shown = open_images(heldout) if heldout is not None else None
    vgg16 = locate("vgg16") if config.loss.lpips_weight else None
    is_main = PartialState(cpu=device == "cpu").is_main_process
    validation = Validation("imagenet-recon", lambda model: f"uniwetok:{model}", heldout, limit)
    silent = quiet or not is_main
    with progress(config.steps, validation, out, device, quiet=silent) as (hooks, _):
        finished = train(
            config, source, out, device=device, vgg16=vgg16, heldout=shown, hooks=hooks
        )
    return finished if is_main else None
