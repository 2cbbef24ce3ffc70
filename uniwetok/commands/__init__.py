"""`uwt-eval train`: what this package adds to the command line."""

from __future__ import annotations

import typer

from uniwetok.commands.ar import ar
from uniwetok.commands.mllm import mllm
from uniwetok.commands.tokenizer import tokenizer

app = typer.Typer(help="Train the paper's models.", no_args_is_help=True)
app.command()(tokenizer)
app.command()(ar)
app.command()(mllm)
