"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="A Python file that registers models, tasks or metrics."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
