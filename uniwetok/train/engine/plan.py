"""What a run will take: parameters, data, memory, work and hours, before it is started."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uniwetok.train.engine.footprint import Footprint, measure
from uniwetok.train.engine.settings import check_parts
from uniwetok.train.tokenizer.config import LITE_TEACHER

if TYPE_CHECKING:
    from rich.table import Table

    from uniwetok.train.engine.settings import RunSettings
    from uniwetok.train.tokenizer.config import TokenizerTraining

DATASETS = {"ImageNet": 1_281_167, "DataComp-1B": 1_400_000_000}
"""Training images, to count epochs by."""
UTILISATION = 0.3
"""Share of a GPU's peak that hours are reckoned with where no step was measured: an assumption."""
_FLOAT = 4
_HALF = 2
_HOUR = 3600
_GIB = 2**30

Row = tuple[str, str, str]
"""What is counted, how much it is, and a remark."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU's peak as its maker states it, without sparsity."""

    name: str
    half_flops: float
    """FLOP a second in bfloat16 or float16."""
    single_flops: float
    """FLOP a second in float32."""
    memory: int
    """Bytes."""


H100 = Gpu(name="H100 SXM", half_flops=989e12, single_flops=67e12, memory=80 * 10**9)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run's cost; what is an estimate is named so."""

    world: int
    """Processes, one a GPU."""
    parameters: dict[str, int]
    """Of every network."""
    images_per_pass: int
    """That one GPU holds at a time."""
    tokens_per_step: int
    tokens: int
    """Of the whole run."""
    images: int
    """Seen in the whole run."""
    epochs: dict[str, float]
    """That many images are, by data set."""
    memory: dict[str, int]
    """Bytes on one GPU, exact."""
    activations: int
    """Bytes on one GPU, estimated: what autograd keeps, without what kernels use meanwhile."""
    gpu: str
    """What is planned with."""
    gpu_memory: int
    """Its bytes."""
    flops: dict[str, int]
    """Of one step over all GPUs, by network."""
    seconds_per_step: float
    basis: str
    """Where ``seconds_per_step`` comes from."""
    hours: float
    """Of the whole run, steps alone."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, and their totals, ready for JSON."""
        return {
            **vars(self),
            "memory_total_estimate": self.memory_total,
            "flops_per_step": sum(self.flops.values()),
            "gpu_hours": self.hours * self.world,
        }

    @property
    def memory_total(self) -> int:
        """Bytes on one GPU, activations included."""
        return sum(self.memory.values()) + self.activations

    def table(self, title: str) -> Table:
        """Lay the plan out for a terminal."""
        return sections_table(f"plan of {title} on {self.world} GPUs", self._sections())

    def _sections(self) -> dict[str, list[Row]]:
        memory = [(name, gib(size), "") for name, size in self.memory.items()]
        memory.append(("activations", gib(self.activations), "estimate"))
        fits = self.memory_total <= self.gpu_memory
        much = f"more than {self.gpu} has: raise world or accumulation"
        remark = "estimate; kernels need some more" if fits else f"estimate; {much}"
        memory.append(("together", gib(self.memory_total), remark))
        flops = [(name, _teraflop(count), "") for name, count in self.flops.items()]
        flops.append(("together", _teraflop(sum(self.flops.values())), "counted"))
        return {
            "parameters": [(name, f"{n / 1e6:,.3f} M", "") for name, n in self.parameters.items()],
            "data": [
                ("images a pass and GPU", f"{self.images_per_pass:,}", ""),
                ("tokens a step", f"{self.tokens_per_step:,}", ""),
                ("tokens", f"{self.tokens / 1e9:,.2f} B", ""),
                ("images", f"{self.images / 1e6:,.2f} M", ""),
                *((f"epochs of {name}", f"{n:,.3g}", "") for name, n in self.epochs.items()),
            ],
            "memory a GPU": memory,
            "work a step, all GPUs": flops,
            "time": [
                ("a step", f"{self.seconds_per_step:,.3g} s", self.basis),
                ("the run", f"{self.hours:,.1f} h", "steps alone"),
                ("GPU hours", f"{self.hours * self.world:,.0f}", ""),
            ],
        }


def make_plan(
    config: TokenizerTraining,
    world: int = 1,
    *,
    seconds_per_step: float | None = None,
    footprint: Footprint | None = None,
    gpu: Gpu = H100,
    utilisation: float = UTILISATION,
) -> Plan:
    """Plan a run.

    With several sizes of images it is that of ``data.resolution``, whose pixels every size fills.

    Args:
        config: the run.
        world: processes, one a GPU.
        seconds_per_step: as measured with this many GPUs; None reckons from the work.
        footprint: of the networks; None measures it, which takes seconds.
        gpu: what is reckoned with.
        utilisation: share of its peak that is reached.

    Raises:
        TrainingError: the teacher is unknown, or the batch does not divide.
    """
    if not config.data.buckets:
        check_parts(config.batch_size, config.accumulation, world)
    footprint = footprint or measure(config)
    tokens = config.batch_size * (config.data.resolution // config.model.downsample) ** 2
    return reckon(
        config,
        world,
        footprint,
        memory=_memory(config, footprint, world),
        tokens_per_step=tokens,
        seconds_per_step=seconds_per_step,
        gpu=gpu,
        utilisation=utilisation,
    )


def reckon(
    config: RunSettings,
    world: int,
    footprint: Footprint,
    *,
    memory: dict[str, int],
    tokens_per_step: int,
    seconds_per_step: float | None,
    gpu: Gpu = H100,
    utilisation: float = UTILISATION,
) -> Plan:
    """Plan a run of any recipe from what its networks take; see `make_plan`."""
    flops = {name: count * config.batch_size for name, count in footprint.flops.items()}
    basis = "as measured"
    if seconds_per_step is None:
        peak = gpu.single_flops if config.precision == "float32" else gpu.half_flops
        seconds_per_step = sum(flops.values()) / (peak * utilisation * world)
        basis = f"assumes {utilisation:.0%} of {gpu.name}'s {peak / 1e12:g} TFLOP/s; not measured"
    images = config.batch_size * config.steps
    images_per_pass = math.ceil(config.batch_size / world / config.accumulation)
    return Plan(
        world=world,
        parameters=footprint.parameters,
        images_per_pass=images_per_pass,
        tokens_per_step=tokens_per_step,
        tokens=tokens_per_step * config.steps,
        images=images,
        epochs={name: images / count for name, count in DATASETS.items()},
        memory=memory,
        activations=footprint.copy_bytes + footprint.activation_bytes * images_per_pass,
        gpu=gpu.name,
        gpu_memory=gpu.memory,
        flops=flops,
        seconds_per_step=seconds_per_step,
        basis=basis,
        hours=seconds_per_step * config.steps / _HOUR,
    )


def _memory(config: TokenizerTraining, footprint: Footprint, world: int) -> dict[str, int]:
    """What lies on a GPU from step to step; the generator may be sharded, all else is whole."""
    shards = world if config.shard else 1
    counts = footprint.parameters
    generator = sum(
        counts.get(name, 0) for name in ("encoder", "decoder", "distillation heads", "prior")
    )
    trained = footprint.trained["generator"] // shards + footprint.trained.get("discriminator", 0)
    memory = {
        "weights": _FLOAT * (generator // shards + counts.get("discriminator", 0)),
        "gradients": _FLOAT * trained,
        "Adam": 2 * _FLOAT * trained,
        "moving average": _FLOAT * footprint.averaged // shards,
        "frozen networks": _FLOAT * counts.get("LPIPS (frozen)", 0)
        + (_FLOAT if config.teacher == LITE_TEACHER else _HALF) * counts.get("teacher (frozen)", 0),
    }
    if world > 1 and not config.shard:
        memory["gradients in transit"] = _FLOAT * trained
    return memory


def _teraflop(count: int) -> str:
    return f"{count / 1e12:,.2f} TFLOP"


def sections_table(title: str, sections: Mapping[str, Sequence[Row]]) -> Table:
    """Lay sections of rows out for a terminal."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("", style="dim")
    for name, rows in sections.items():
        table.add_row(name, style="bold")
        for label, value, remark in rows:
            table.add_row(f"  {label}", value, remark)
        table.add_section()
    return table


def gib(size: int) -> str:
    """Bytes for people."""
    return f"{size / _GIB:,.2f} GiB"
