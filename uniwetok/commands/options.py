"""The options that trainings share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import Json
from harness.interfaces.errors import UserError
from uwt_images.hub import DATA_PREFIX


def _positive(seconds: float | None) -> float | None:
    if seconds is not None and not 0 < seconds < math.inf:
        raise UserError(f"--seconds-per-step {seconds:g}: give seconds above 0")
    return seconds


def _weights(tokenizer: Path | None) -> Path | None:
    """The path that `--tokenizer` means: a place that is there, or the weights that ship."""
    from uniwetok.nano import WEIGHTS

    if tokenizer is None or not absent(tokenizer):
        return tokenizer
    if str(tokenizer) == "uniwetok-nano":
        return WEIGHTS
    if str(tokenizer).startswith("uniwetok:"):
        raise UserError(f"--tokenizer {tokenizer}: give the path alone, without uniwetok:")
    return tokenizer


Tokenizer = Annotated[
    Path | None,
    typer.Option(
        callback=_weights,
        help="The tokenizer that codes come from, which stays frozen: a folder, a file, or "
        "uniwetok-nano, which ships.",
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PLACE | NAME=PLACE@WEIGHT … | FILE.toml",
        help="Images: a folder, WebDataset shards (a folder, or DIR/{000..009}.tar), Parquet, or "
        "hf:REPO[:CONFIG][@SPLIT]. Several sources are named and weighed.",
    ),
]
More = Annotated[list[str] | None, typer.Argument(hidden=True)]
"""What follows the first source of `--data`."""
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
Codes = Annotated[
    Path | None, typer.Option(help="Folder of the cache of codes (default: OUT/codes).")
]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of every training command."""

    out: Annotated[
        Path | None, typer.Option(help="Folder of the run (default: runs/train/PRESET).")
    ] = None
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE over the preset; repeat.")
    ] = None
    keep_last: Annotated[
        int | None, typer.Option(min=1, help="Checkpoints to keep, as --set keep_last=K.")
    ] = None
    compile: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            help="As --set compile=true or false (default: on GPUs that Triton compiles for).",
        ),
    ] = None
    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto"
    gpus: Annotated[
        int | None, typer.Option(min=1, help="GPUs that --dry-run plans for (default: those here).")
    ] = None
    gpu: Annotated[
        str | None,
        typer.Option(help="Kind of them, such as h100 (default: the one here, else h100)."),
    ] = None
    seconds_per_step: Annotated[
        float | None,
        typer.Option(
            callback=_positive, help="Measured seconds, for the hours that --dry-run gives."
        ),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan: sizes, memory, work, hours.")
    ] = False
    as_json: Json = False
    quiet: Quiet = False
    log: Annotated[
        list[str] | None,
        typer.Option(
            help="wandb, trackio or tensorboard, beside log.jsonl; repeat (default: tensorboard)."
        ),
    ] = None

    @property
    def changes(self) -> list[str]:
        """All settings that are given, as `--set` takes them."""
        own = {"keep_last": self.keep_last, "compile": self.compile}
        given = [f"{name}={value}".lower() for name, value in own.items() if value is not None]
        return [*(self.settings or []), *given]

    @property
    def trackers(self) -> list[str]:
        """What is told all that is logged."""
        return self.log or ["tensorboard"]

    def folder(self, preset: str) -> Path:
        """Give the run's folder."""
        return self.out or Path("runs") / "train" / preset


def check_places(**options: str | Path | None) -> None:
    """Raise `UserError` where a path that an option names is absent, before networks are imported.

    Shards may be named by a brace pattern, which their reader expands, and data sets of the Hub.
    """
    for option, place in options.items():
        if place is not None and absent(place):
            raise UserError(f"--{option.replace('_', '-')}: {place} does not exist")


def absent(place: str | Path) -> bool:
    """Whether a local path is missing; brace patterns and data sets of the Hub never are."""
    elsewhere = "{" in str(place) or str(place).startswith(DATA_PREFIX)
    return not (elsewhere or Path(str(place)).expanduser().exists())
