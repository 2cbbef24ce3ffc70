"""Where a result came from: code, packages, machine, command and settings of the arithmetic."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.interfaces.errors import PACKAGES as OURS
from harness.interfaces.observing import gpu_name

PACKAGES = (
    "uwt-eval",
    "torch",
    "torchvision",
    "torch-fidelity",
    "clean-fid",
    "lpips",
    "scikit-image",
    "open_clip_torch",
    "numpy",
    "scipy",
    "pillow",
    "pyarrow",
    "pandas",
)


def now() -> str:
    """The present time, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that decide numbers."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def _git(*arguments: str) -> str | None:
    root = Path(__file__).resolve().parent.parent.parent
    if not (root / ".git").exists():
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def code_revision() -> dict[str, Any]:
    """Git commit of this code and whether it was changed; empty when installed from a package.

    What else lies in the checkout, such as runs, changes no code.
    """
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {}
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain", "--", *OURS))}


def machine(device: str) -> dict[str, Any]:
    """The hardware and the arithmetic it was told to use."""
    import torch

    facts: dict[str, Any] = {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
    }
    if device.startswith("cuda"):
        facts["gpu"] = gpu_name(device)
        facts["cuda"] = torch.version.cuda
        facts["tf32"] = torch.backends.cuda.matmul.allow_tf32
    elif device == "mps":
        facts["gpu"] = gpu_name(device)
    return facts


def command() -> list[str]:
    """The command line of this process, without the folder of its program."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def collect(device: str) -> dict[str, Any]:
    """Everything about the origin of a result that is known before it is computed."""
    return {
        "command": command(),
        "code": code_revision(),
        "packages": package_versions(),
        "machine": machine(device),
    }
