"""The machine: devices, the precision of their arithmetic, image codecs, free disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from harness.data.settings import read_settings
from harness.doctor.finding import Finding
from harness.interfaces.observing import gpu_name

_LEAST_FREE_BYTES = 5 * 10**9
_FORCED = ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")
"""Variables that turn TF32 on over the head of whoever turns it off."""


def find() -> Iterator[Finding]:
    """Devices first, then their arithmetic, codecs and disk."""
    try:
        import torch  # noqa: F401
    except Exception:  # Said with the packages already.
        pass
    else:
        yield from _devices()
        yield from _arithmetic()
    yield from _codecs()
    yield from _disk()


def _devices() -> Iterator[Finding]:
    import torch

    if torch.backends.mps.is_available():
        text = f"{gpu_name('mps')}, by --device mps alone; float64 is the processor's"
        yield Finding("mps", "ok", text)
        return
    if not torch.cuda.is_available():
        built = torch.version.cuda
        fix = (
            "nothing, if there is no NVIDIA GPU; else install the driver that CUDA "
            f"{built} needs (see `nvidia-smi`)"
            if built
            else "nothing, if there is no NVIDIA GPU; else install a CUDA build of torch"
        )
        text = f"no CUDA device, {torch.get_num_threads()} CPU threads: everything runs, slowly"
        yield Finding("device", "warning", text, fix)
        return
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        major, minor = torch.cuda.get_device_capability(index)
        yield Finding(
            f"cuda:{index}",
            "ok",
            f"{torch.cuda.get_device_name(index)}, capability {major}.{minor}, "
            f"{free / 2**30:.0f} of {total / 2**30:.0f} GiB free, CUDA {torch.version.cuda}",
        )


def _arithmetic() -> Iterator[Finding]:
    import torch

    for name in _FORCED:
        if os.environ.get(name) == "1":
            text = f"{name}=1 forces TF32: features move by as much as a wrong protocol moves them"
            yield Finding("tf32", "error", text, f"unset {name}")
    flags = {
        "matmul": torch.backends.cuda.matmul.allow_tf32,
        "cuDNN": torch.backends.cudnn.allow_tf32,
    }
    starts = ", ".join(f"{name} {'on' if on else 'off'}" for name, on in flags.items())
    yield Finding(
        "precision",
        "ok",
        f"TF32 as torch starts: {starts}; evaluations turn it and cuDNN's benchmark off; float32 "
        f"matmul precision {torch.get_float32_matmul_precision()!r}, default "
        f"{str(torch.get_default_dtype()).removeprefix('torch.')}",
    )


def _codecs() -> Iterator[Finding]:
    from PIL import features

    for name, feature in (("webp", "webp"), ("jpeg", "jpg"), ("avif", "avif")):
        if features.check(feature):
            yield Finding(f"codec {name}", "ok", "built into Pillow")
        else:
            fix = "pip install --force-reinstall pillow, whose wheels have all three codecs"
            yield Finding(f"codec {name}", "warning", "not in this Pillow", fix)


def _disk() -> Iterator[Finding]:
    settings = read_settings()
    for name, place in (("runs", settings.out), ("cache", settings.cache)):
        folder = next(
            path for path in (place.absolute(), *place.absolute().parents) if path.exists()
        )
        variable = f"UWT_EVAL_{'OUT' if name == 'runs' else 'CACHE'}"
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            text = f"{folder} cannot be written, and {place} is to lie there"
            yield Finding(f"disk {name}", "error", text, f"set {variable} to a folder of yours")
            continue
        free = shutil.disk_usage(folder).free
        text = f"{free / 1e9:.0f} GB free at {Path(place)}"
        if free > _LEAST_FREE_BYTES:
            yield Finding(f"disk {name}", "ok", text)
        else:
            fix = f"make room, or set {variable} to a larger disk"
            yield Finding(f"disk {name}", "warning", text, fix)
