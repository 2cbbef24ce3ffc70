"""Two hundred files that are not what they should be, each where a user could give it: one line."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import CommandLine

Count = Callable[[str, str], None]


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _zip(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def _tar(name: str, size: int) -> bytes:
    buffer = io.BytesIO()
    info = tarfile.TarInfo(name)
    info.size = size
    buffer.write(info.tobuf())
    return buffer.getvalue()


CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "zeros": bytes(4096),
    "noise": np.random.default_rng(0).bytes(4096),
    "text": "# Ä title\n\nwords — and more words\n".encode(),
    "not UTF-8": b"\xff\xfe\x00bad\n",
    "null": b"null",
    "number": b"1" * 5000,
    "list": b"[1, 2, 3]",
    "object": b'{"a": {"b": null}}',
    "deep": b"[" * 100_000,
    "infinity": b'{"value": Infinity, "metrics": NaN}',
    "surrogate": b'{"id": "\\ud800", "name": "\\u001b[2J"}',
    "TOML": b"name = 3\n[settings]\nx = 1e999\n",
    "png": _png(),
    "half a png": _png()[:60],
    "npz of text": _npz(arr_0=np.array(["a", "b"])),
    "npz of one number": _npz(mu=np.array(1.0), sigma=np.array(1.0)),
    "zip of nothing we know": _zip("readme.txt", b"hello"),
    "zip that climbs": _zip("../../escape.png", _png()),
    "tar with a huge size": _tar("a.png", 2**33 - 1),
}

SINKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "zip": ("x.zip", ("run", "imagenet-recon", "-m", "webp", "--data", "{file}")),
    "tar": ("x.tar", ("run", "imagenet-recon", "-m", "webp", "--data", "{file}")),
    "npz": ("x.npz", ("metrics", "{file}", "{photos}", "--metrics", "fid")),
    "protocol": ("x.toml", ("run", "imagenet-recon", "-m", "webp", "--protocol", "{file}")),
    "plug-in": ("x.py", ("run", "imagenet-recon", "-m", "webp", "--plugin", "{file}")),
    "checkpoint": ("x.pt", ("run", "imagenet-recon", "-m", "uniwetok:{file}")),
    "safetensors": ("x.safetensors", ("run", "imagenet-recon", "-m", "uniwetok:{file}")),
    "index": ("x.index.json", ("run", "imagenet-recon", "-m", "uniwetok:{file}")),
    "AR checkpoint": ("x.ckpt", ("sample", "-m", "uniwetok-ar:{file}", "--classes", "1")),
    "record": ("record.json", ("leaderboard", "build", "{file}", "--out", "{out}.md")),
    "baseline": ("baseline.json", ("gate", "{run}", "--baseline", "{file}")),
    "rules": ("x.toml", ("gate", "{run}", "--baseline", "{run}", "--rules", "{file}")),
    "observations": ("x.jsonl", ("score", "geneval", "--observations", "{file}")),
    "replies": ("x.jsonl", ("score", "vqa-gqa", "--observations", "{file}")),
    "answers": ("x.txt", ("score", "dpg", "--observations", "{file}")),
    "judgements": ("x.csv", ("score", "gedit-en", "--observations", "{file}")),
}
"""What a file is given as: its name, and the command line."""


@pytest.fixture
def small_run(uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path) -> Path:
    given = ("--data", photo_folder, "--limit", 2, "--metrics", "psnr", "--out", tmp_path / "runs")
    assert uwt_eval("run", "imagenet-recon", "-m", "webp", *given, "--quiet").code == 0
    (root,) = (tmp_path / "runs").iterdir()
    return root


@pytest.mark.parametrize("sink", SINKS)
def test_no_file_brings_a_traceback(
    sink: str,
    uwt_eval: CommandLine,
    small_run: Path,
    photo_folder: Path,
    tmp_path: Path,
    count: Count,
) -> None:
    name, command = SINKS[sink]
    given = tmp_path / "given"
    given.mkdir()
    places = {
        "file": str(given / name),
        "out": str(tmp_path / "out"),
        "photos": str(photo_folder),
        "run": str(small_run),
    }
    for content, data in CONTENTS.items():
        (given / name).write_bytes(data)
        done = uwt_eval(*(part.format(**places) for part in command))
        if done.code == 0 and sink == "plug-in" and content in HARMLESS:
            count("hostile inputs", "harmless")
            continue
        _check_one_line(done, f"{sink}: {content}")
        count("hostile inputs", "refused in one line")
    assert not (tmp_path.parent / "escape.png").exists()


HARMLESS = {"empty", "null", "number", "list", "object", "surrogate"}
"""What is valid Python that does nothing."""


def _check_one_line(done: object, what: str) -> None:
    code, err = done.code, done.err  # type: ignore[attr-defined]
    errors = [line for line in err.splitlines() if line.startswith(("error: ", "Error"))]
    assert code in (2, 3), (what, code, err)
    assert len(errors) == 1, (what, err)
    assert len(errors[0]) < 1000, (what, err)
    assert "Traceback" not in err, what
    assert "\x1b[2J" not in err, what


@pytest.mark.parametrize("part", ["run.json", "record.json", "samples.parquet", "outputs"])
def test_parts_of_a_run_that_are_something_else(
    part: str, uwt_eval: CommandLine, small_run: Path, photo_folder: Path, count: Count
) -> None:
    """A folder, a FIFO and a link to itself where a file should be."""
    path = small_run / part
    if part == "outputs":
        path = next(path.glob("*.parquet"))
    for kind, make in (
        ("a folder", lambda: path.mkdir()),
        ("a FIFO", lambda: os.mkfifo(path)),
        ("a link to itself", lambda: path.symlink_to(path.name)),
    ):
        kept = path.read_bytes()
        path.unlink()
        make()
        for command in (("compare", small_run, small_run), ("score", small_run)):
            done = uwt_eval(*command)
            if done.code not in (0, 3):  # An incomplete result says in its table what is missing.
                _check_one_line(done, f"{part} as {kind}: {command[0]}")
            count(
                "parts of a run that are no files", "refused or told" if done.code else "not needed"
            )
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        path.write_bytes(kept)
    assert json.loads((small_run / "run.json").read_text())["task"] == "imagenet-recon"
