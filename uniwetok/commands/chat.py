"""`uwt-eval chat`: a conversation about pictures, for people."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from harness.commands.console import Json, terminal
from harness.interfaces.errors import UserError, counted, json_text
from uniwetok.commands import assistant as common
from uniwetok.commands.shared import user_errors

if TYPE_CHECKING:
    import numpy as np

    from uniwetok.mllm import Assistant, Reply, Sampling, Turn

_EMPTY = "(the model gave an empty reply)"


def chat(
    model: common.ModelFolder,
    text: Annotated[
        str | None, typer.Argument(help="The question; without one, a conversation line by line.")
    ] = None,
    images: common.Images = None,
    tokenizer: common.Tokenizer = None,
    max_new_tokens: Annotated[int, typer.Option(help="Tokens after which a reply ends.")] = 512,
    temperature: Annotated[
        float, typer.Option(help="Temperature of sampling; 0 takes the likeliest token.")
    ] = 0.0,
    top_p: Annotated[
        float, typer.Option(help="Share of the likeliest tokens that is chosen from.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of sampling.")] = 0,
    dtype: common.Dtype = "float32",
    device: common.Device = "auto",
    as_json: Json = False,
) -> None:
    """Ask about pictures; the reply appears as it is made.

    A conversation reads a line a question from the terminal or a pipe, and ends at its end.
    """
    if text is not None and not text.strip():
        raise UserError("no question: give a text beside the pictures")
    if text is None and as_json:
        raise UserError("--json answers one question: give it as text")
    pictures = common.read_pictures(images or [])
    common.check_folder(model)
    with user_errors():
        from uniwetok.mllm import Sampling

        sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p)
        assistant = common.load(model, tokenizer, dtype, device)
        if text is None:
            _converse(assistant, pictures, sampling, seed)
        elif as_json:
            turns = [assistant.question(text, pictures)]
            (reply,) = assistant.chat([turns], seeds=[seed], sampling=sampling)
            _print_json(text, reply)
        else:
            _answer(assistant, [assistant.question(text, pictures)], sampling, seed)


def _converse(
    assistant: Assistant, pictures: list[np.ndarray], sampling: Sampling, seed: int
) -> None:
    """Answer line after line, each knowing those before; the pictures come with the first."""
    console = terminal(stderr=True)
    turns: list[Turn] = []
    if sys.stdin.isatty():
        console.print("Ask, a line each; end with Ctrl-D.", style="dim")
    while (line := _read_line(console)) is not None:
        if line.strip():
            turns.append(assistant.question(line, [] if turns else pictures))
            turns.append(_answer(assistant, turns, sampling, seed))
    if not turns:
        raise UserError("no question: give a text, or lines on standard input")


def _read_line(console: Console) -> str | None:
    if sys.stdin.isatty():
        console.print("> ", end="", style="bold")
    line = sys.stdin.readline()
    return line.removesuffix("\n") if line else None


def _answer(assistant: Assistant, turns: list[Turn], sampling: Sampling, seed: int) -> Turn:
    """Print a reply as it comes, then a notice if it is empty or cut off; return it as a turn."""
    from uniwetok.mllm import Turn

    console = terminal(soft_wrap=True)
    replies = assistant.stream([turns], seeds=[seed], sampling=sampling)
    for (piece,) in replies:
        console.print(piece, end="", markup=False, highlight=False)
    (reply,) = replies.replies
    console.print()
    if reply.empty:
        common.notice(_EMPTY)
    elif reply.finish == "length":
        common.notice(f"(cut off after {counted(reply.tokens, 'token')})")
    return Turn("assistant", [reply.text])


def _print_json(text: str, reply: Reply) -> None:
    facts = {
        "question": text,
        "reply": reply.text,
        "tokens": reply.tokens,
        "finish": reply.finish,
        "empty": reply.empty,
    }
    print(json_text(facts))
