"""The machine that a run is planned for or trained on, and what suits it."""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Literal, TypeVar

import torch

from uniwetok.fields import did_you_mean
from uniwetok.train import TrainingError
from uniwetok.train.engine.settings import RunSettings

C = TypeVar("C", bound=RunSettings)
Kind = Literal["cuda", "cpu", "other"]
_LEAST_CAPABILITY = (7, 0)
"""Of CUDA, that Triton compiles for."""


@dataclass(frozen=True, kw_only=True)
class Processor:
    """A GPU, or all cores of a CPU."""

    name: str
    kind: Kind
    memory: int
    """Bytes."""
    bfloat16: bool
    """Whether it has units that multiply matrices in bfloat16."""
    uncompiled: str = ""
    """Why networks are not compiled for it unless that is asked for; empty where they are."""
    half_flops: float | None = None
    """FLOP a second in bfloat16 or float16, as its maker states them without sparsity; None for
    the machine's own, where it can be measured."""
    single_flops: float | None = None
    """FLOP a second in float32, likewise."""
    driver_name: str = ""
    """Regular expression of the names that its driver gives it."""

    def peak_flops(self, precision: str) -> float | None:
        """FLOP a second in a precision, as its maker states them; None where that is not known."""
        return self.single_flops if precision == "float32" else self.half_flops


def _gpu(
    name: str, driver: str, half: float, single: float, memory: int, *, bfloat16: bool = True
) -> Processor:
    """Build one from its maker's TFLOP/s and GB."""
    return Processor(
        driver_name=driver,
        name=name,
        kind="cuda",
        memory=memory * 10**9,
        bfloat16=bfloat16,
        half_flops=half * 1e12,
        single_flops=single * 1e12,
    )


H100 = _gpu("H100 SXM", "NVIDIA H100 80GB HBM3", 989, 67, 80)
GPUS = {
    "h100": H100,
    "h200": _gpu("H200 SXM", "NVIDIA H200", 989, 67, 141),
    "b200": _gpu("B200", "NVIDIA B200", 2250, 75, 180),
    "a100": _gpu("A100 SXM", "(NVIDIA )?A100(-SXM4-80GB|-PCIE-80GB| 80GB PCIe)", 312, 19.5, 80),
    "a100-40": _gpu("A100 SXM 40 GB", "(NVIDIA )?A100-(SXM4|PCIE)-40GB", 312, 19.5, 40),
    "l40s": _gpu("L40S", "NVIDIA L40S", 362, 91.6, 48),
    "a6000": _gpu("RTX A6000", "(NVIDIA )?RTX A6000", 155, 38.7, 48),
    "rtx4090": _gpu("RTX 4090", "NVIDIA GeForce RTX 4090", 165, 82.6, 24),
    "rtx3090": _gpu("RTX 3090", "(NVIDIA )?GeForce RTX 3090", 71, 35.6, 24),
    "v100": _gpu("V100 SXM", "Tesla V100-SXM.*", 125, 15.7, 32, bfloat16=False),
    "t4": _gpu("T4", "(Tesla|NVIDIA) T4", 65, 8.1, 16, bfloat16=False),
}
"""GPUs that can be planned for elsewhere, by name; figures of their data sheets."""


def named(name: str) -> Processor:
    """Give a GPU of `GPUS`.

    Raises:
        TrainingError: there is none of this name; the message names the nearest.
    """
    key = name.lower().replace(" ", "").replace("_", "-")
    if key not in GPUS:
        raise TrainingError(f"--gpu {name}: {did_you_mean(key, GPUS)}")
    return GPUS[key]


def on_cpu(device: str) -> bool:
    """Tell whether a run trains on the CPU: where it is asked for, or there is no GPU.

    Accelerate has to be told: processes that find no GPU by themselves would each train alone.
    """
    return device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())


def here(device: str = "auto") -> Processor:
    """Look at what this process trains on.

    Args:
        device: "cpu", or "auto" for its GPU where there is one.
    """
    if device != "cpu" and torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(torch.cuda.current_device())
        known = next(
            (gpu for gpu in GPUS.values() if re.fullmatch(gpu.driver_name, facts.name)), None
        )
        return Processor(
            name=facts.name,
            kind="cuda",
            memory=facts.total_memory,
            bfloat16=torch.cuda.is_bf16_supported(including_emulation=False),
            uncompiled=_uncompiled((facts.major, facts.minor)),
            half_flops=known.half_flops if known else None,
            single_flops=known.single_flops if known else None,
        )
    if device != "cpu" and torch.backends.mps.is_available():
        return Processor(
            name="Apple GPU",
            kind="other",
            memory=_main_memory(),
            bfloat16=False,
            uncompiled="is no GPU that Triton compiles for",
        )
    threads = torch.get_num_threads()
    return Processor(
        name=f"this CPU ({threads} thread{'s' * (threads > 1)})",
        kind="cpu",
        memory=_main_memory(),
        # AVX-512's bfloat16 instructions are no such unit: on an EPYC that has them, steps of nano
        # took 1.7 times as long as in float32, most of it in casts; without them, four times.
        bfloat16=torch.cpu._is_amx_tile_supported(),
        # On an EPYC a step of nano took a twentieth less after four minutes, nano-ar's a tenth.
        uncompiled="gains little by it, after minutes of compiling",
    )


def _uncompiled(capability: tuple[int, int]) -> str:
    """Say what compiling for a GPU of CUDA lacks."""
    if capability < _LEAST_CAPABILITY:
        return "is older than what Triton compiles for"
    if find_spec("triton") is None:
        return "would need Triton, which is not installed"
    if not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
        return "would need a C compiler, which is not installed"
    return ""


def planned_for(gpu: str | None, gpus: int | None, device: str) -> tuple[Processor, int]:
    """Give the processor that is planned for, and how many of it: those here unless told otherwise.

    Raises:
        TrainingError: there is no GPU of this name.
    """
    if gpu is not None:
        return named(gpu), gpus or 1
    own = here(device)
    if gpus is not None:
        return (own if own.kind == "cuda" else H100), gpus
    return own, torch.cuda.device_count() if own.kind == "cuda" else 1


def decide(config: C, processor: Processor) -> tuple[C, dict[str, str]]:
    """Choose what a run leaves to the machine.

    Returns:
        The run with a precision and with compiling or not; and why, of each that was chosen here.
    """
    reasons = {}
    if config.precision == "auto":
        units = "has units" if processor.bfloat16 else "has no units"
        slower = "" if processor.bfloat16 else ", which would take longer there"
        reasons["precision"] = f"{processor.name} {units} for bfloat16{slower}"
        config = replace(config, precision="bfloat16" if processor.bfloat16 else "float32")
    if config.compile is None:
        # On an H100's machine the small tokenizer had not ended its first size after 55 s.
        compiles = "is a GPU that Triton compiles for; each size's first step waits minutes for it"
        reason = processor.uncompiled or compiles
        reasons["compile"] = f"{processor.name} {reason}"
        config = replace(config, compile=not processor.uncompiled)
    return config, reasons


def product_flops(precision: str) -> float:
    """Measure the FLOP a second that matrix products reach on this machine, in about a second."""
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    device, side = ("cuda", 8192) if torch.cuda.is_available() else ("cpu", 1024)
    matrix = torch.ones(side, side, dtype=dtype, device=device)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        # Summed and read, so that the device has done it; the first one warms up.
        (matrix @ matrix).sum().item()
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds[1:])


def _main_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
