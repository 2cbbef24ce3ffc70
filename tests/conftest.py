"""Fixtures for all tests: an isolated environment, photos, and the command line in this process."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from harness.data import digests
from harness.interfaces import errors, registry

REPOSITORY = Path(__file__).parent.parent
# No example has a wall clock: a busy machine may take long over any.
settings.register_profile(
    "timeless", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("timeless")


@pytest.fixture(autouse=True)
def isolated_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configured data, no weights at hand, no downloads, a cache of the test's own, no past."""
    for name in ("IMAGENET", "IMAGENET_REFERENCE", "COCO", "GEDIT", "JUDGE_URL", "ASSETS", "OUT"):
        monkeypatch.delenv(f"UWT_EVAL_{name}", raising=False)
    monkeypatch.setenv("UWT_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("UWT_EVAL_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    errors.warn.cache_clear()  # What another test was warned of once is said to this one too.


@pytest.fixture(autouse=True)
def plugins_forgotten() -> Iterator[None]:
    """What a test's `--plugin` registers goes with its file: a later test would look for that."""
    kept = [
        (each, each._registered, dict(each._registered), dict(each._files))
        for each in registry.REGISTRIES
    ]
    loaded = list(registry._LOADED)
    yield
    for each, registered, plugins, files in kept:
        each._registered = registered
        registered.clear()
        registered.update(plugins)
        each._files.clear()
        each._files.update(files)
    registry._LOADED[:] = loaded


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour has passed since the files of the test were written: their digests are kept."""
    now = time.time_ns
    monkeypatch.setattr(digests, "time", SimpleNamespace(time_ns=lambda: now() + 3600 * 10**9))


@pytest.fixture(scope="module", autouse=True)
def memory_given_back() -> Iterator[None]:
    """What a module's tests and fixtures held goes back to the system, where libc can be asked."""
    yield
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def pytest_collection_finish() -> None:
    """What the imports made stays: no collection looks at its 800,000 objects again, in 0.5 s."""
    gc.collect()
    gc.freeze()


def _freed_memory_is_given_back() -> None:
    """Hold a worker's memory down: what is freed above 8 MiB goes back to the system at once.

    By itself glibc raises that size up to 32 MiB as a process frees larger blocks, and keeps what
    is smaller, in an arena for each thread: 0.6 GB of a worker. Less than 8 MiB would be slower:
    each of a network's activations would be new pages, in which a CPU spends a third of its time.
    oneDNN keeps the code that it made for each of the last 1024 shapes it met, a MB or so for a
    shape: 0.3 GB more.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    m_mmap_threshold, m_arena_max = -3, -8
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(m_mmap_threshold, 8 << 20)
        libc.mallopt(m_arena_max, 2)


_freed_memory_is_given_back()


@pytest.fixture(scope="session")
def photos() -> list[Image.Image]:
    """Six real photos of different sizes, none larger than 320 pixels."""
    from skimage import data

    names = ("astronaut", "chelsea", "coffee", "rocket", "immunohistochemistry", "retina")
    images = [Image.fromarray(getattr(data, name)()).convert("RGB") for name in names]
    for image in images:
        image.thumbnail((320, 320))
    return images


@pytest.fixture
def photo_folder(tmp_path: Path, photos: list[Image.Image]) -> Path:
    """An ImageFolder with two classes of three photos below `val`."""
    root = tmp_path / "imagenet"
    for index, photo in enumerate(photos):
        folder = root / "val" / f"n{index % 2:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        photo.save(folder / f"photo_{index}.png")
    return root


@dataclass(frozen=True)
class CommandResult:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records that `--json` printed."""
        return json.loads(self.out)


CommandLine = Callable[..., CommandResult]


@pytest.fixture
def uwt_eval(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run `uwt-eval` with the given arguments in this process."""
    from harness.cli import main

    def run(*arguments: object) -> CommandResult:
        monkeypatch.setattr(sys, "argv", ["uwt-eval", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return CommandResult(code, captured.out, captured.err)

    return run
