"""How many of our files one command enters on its way from the command line to a number.

A file counts when any of its code runs after the command line has been put together: a function or
method of it is called, an instance of a class of it is made, or it is imported on the way. Files
that hold nothing but a docstring do not count, nor those of an environment inside the checkout, as
nox makes it. What the reader of a PSNR has to open is this list.
"""

from __future__ import annotations

import ast
import json
import os
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("uwt_eval", "uniwetok", "harness", "tasks", "reports", "uwt_images")
_LAST = "write_result"
"""Writes `record.json`: what draws pictures and prints tables after it does not count."""
COMMAND = ("run", "imagenet-recon", "--model", "webp")


def files_entered(*arguments: str) -> list[str]:
    """Our files that a command enters, in a process that has not run one before."""
    entered: set[str] = set()
    written = False

    def watch(frame: FrameType, event: str, _: object) -> None:
        nonlocal written
        if event == "return" and frame.f_code.co_name == _LAST:
            written = True
        if event != "call" or written:
            return
        entered.add(frame.f_code.co_filename)
        if frame.f_code.co_filename == "<string>":  # A dataclass's own constructor.
            made = type(frame.f_locals.get("self"))
            entered.add(getattr(sys.modules.get(made.__module__), "__file__", None) or "")

    from harness.cli import build_app

    app = build_app()
    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        app(list(arguments))
    except SystemExit as stop:
        if stop.code:
            raise
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    packages = tuple(f"{REPOSITORY / name}{os.sep}" for name in PACKAGES)
    ours = {Path(name) for name in entered if name.startswith(packages)}
    return sorted(str(path.relative_to(REPOSITORY)) for path in ours if _has_code(path))


def _has_code(path: Path) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return not all(
        isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant) for each in body
    )


def main() -> None:
    """Print the files on the way to a PSNR in `record.json`, then their number."""
    # To fetch weights, or to find that they cannot be fetched, is no step to a PSNR.
    os.environ["UWT_EVAL_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        files = files_entered(*COMMAND, "--out", folder, "--quiet")
        (record,) = Path(folder).glob("*/record.json")
        psnr = json.loads(record.read_text(encoding="utf-8"))["metrics"]["psnr"]["value"]
    print("\n".join(files))
    print(f"{len(files)} files from `uwt-eval {' '.join(COMMAND)}` to {psnr:.3f} dB")
