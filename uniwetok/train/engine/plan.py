"""What a run will take: parameters, data, memory, work and hours, before it is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from uniwetok.train.data.mixture import read_weights
from uniwetok.train.engine.footprint import Footprint
from uniwetok.train.engine.machine import H100, Processor, product_flops
from uniwetok.train.engine.memory import fitting, held, kept, per_pass
from uniwetok.train.engine.settings import RunSettings, check_parts
from uniwetok.train.engine.trainer import checkpoint_bytes

DATASETS = {"ImageNet": 1_281_167, "DataComp-1B": 1_400_000_000}
"""Training images, to count epochs by."""
UTILISATION = 0.3
"""Share of a processor's peak that hours assume where no step was measured."""
_MINUTE, _HOUR = 60, 3600
_GIB = 2**30

Row = tuple[str, str, str]
"""What is counted, how much it is, and a remark."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run's cost; what is an estimate is named so."""

    world: int
    """Processes, each with a GPU of its own; 1 on a CPU."""
    sharded: bool
    """Whether weights, gradients and optimiser state are shared out (FSDP)."""
    examples: str
    """What a batch consists of: "images", or "rows" of packed samples."""
    parameters: dict[str, int]
    """Parameters by network."""
    batch_size: int
    """Examples of one step."""
    examples_per_pass: int
    """Examples that one process holds at a time."""
    tokens_per_step: int
    """Tokens of one step; at most so many, where rows are packed."""
    tokens: int
    """Tokens of the whole run."""
    examples_seen: int
    """Examples of the whole run."""
    epochs: dict[str, float]
    """Passes over each data set that ``examples_seen`` amounts to, by its name."""
    sources: dict[str, Source]
    """What the data is mixed of, by name; empty for one source without a name."""
    partition: Sequence[tuple[str, str]]
    """Processes, and the images that each takes in a step; empty where all take the same."""
    memory: dict[str, int]
    """Bytes of one process from step to step, exact."""
    activations: dict[str, int]
    """Bytes of one process, estimated: what autograd keeps, without what kernels use meanwhile."""
    fits_with: Sequence[str]
    """Changes each of which makes it fit where it does not."""
    less_with: Sequence[str]
    """Settings that take less memory then; how much is not known."""
    checkpoint: int
    """Bytes of a checkpoint on disk."""
    checkpoints_kept: int
    """How many of the last ones are kept."""
    processor: Processor
    """What is planned for."""
    precision: str
    """Of the passes."""
    compiled: bool
    """Whether the networks are compiled."""
    reasons: Mapping[str, str]
    """Why ``precision`` and ``compile`` are so, of each that the machine decides."""
    flops: dict[str, int]
    """Floating-point operations of one step over all processes, by network."""
    assumed: str
    """What memory and FLOPs assume beside the settings."""
    seconds_per_step: float
    basis: str
    """Where ``seconds_per_step`` comes from."""
    hours: float
    """Hours of the whole run's steps, without validations and checkpoints."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, and their totals, ready for JSON."""
        return {
            **vars(self),
            "sources": {name: vars(source) for name, source in self.sources.items()},
            "partition": [{"who": who, "images": images} for who, images in self.partition],
            "processor": self.processor.name,
            "processor_memory": self.processor.memory,
            "memory_total_estimate": self.memory_total,
            "fits_estimate": self.memory_total <= self.processor.memory,
            "flops_per_step": sum(self.flops.values()),
            "gpu_hours": self.hours * self.world,
        }

    @property
    def memory_total(self) -> int:
        """Bytes of one process, activations included."""
        return sum(self.memory.values()) + sum(self.activations.values())

    def table(self, title: str) -> Table:
        """Lay the plan out for a terminal."""
        from rich import box
        from rich.table import Table

        spread = ", sharded (FSDP)" if self.sharded else ""
        heading = f"plan of {title} on {self._place}{spread}"
        table = Table(title=heading, box=box.SIMPLE_HEAD)
        table.add_column("")
        table.add_column("", justify="right")
        table.add_column("", style="dim")
        for name, rows in self._sections().items():
            table.add_row(name, style="bold")
            for label, value, remark in rows:
                table.add_row(f"  {label}", value, remark)
            table.add_section()
        return table

    @property
    def _place(self) -> str:
        """The processors, as a reader counts them."""
        name = self.processor.name
        return name if self.processor.kind == "cpu" else f"{self.world} x {name}"

    def _sections(self) -> dict[str, list[Row]]:
        much = self.memory_total - self.processor.memory
        over = f"{_gib(much)} more than {self.processor.name} has"
        remark = f"estimate; {over if much > 0 else 'kernels need some more'}"
        return {
            "parameters": [(name, f"{n / 1e6:,.3f} M", "") for name, n in self.parameters.items()],
            "data": [
                (f"{self.examples} a step", f"{self.batch_size:,}", self._a_step()),
                (f"{self.examples} a pass and process", f"{self.examples_per_pass:,}", ""),
                ("tokens a step", f"{self.tokens_per_step:,}", ""),
                ("tokens", _many(self.tokens), ""),
                (self.examples, _many(self.examples_seen), ""),
                *((f"epochs of {name}", f"{n:,.3g}", "") for name, n in self.epochs.items()),
                *(source.row(name) for name, source in self.sources.items()),
            ],
            **({"sizes of a step": self._sizes()} if self.partition else {}),
            "memory a process": [
                *((name, _gib(size), "") for name, size in self.memory.items()),
                *((name, _gib(size), "estimate") for name, size in self.activations.items()),
                ("together", _gib(self.memory_total), remark),
                *self._remedies(),
            ],
            "disk": [("a checkpoint", _gib(self.checkpoint), f"{self.checkpoints_kept} are kept")],
            "work a step, all processes": [
                *((name, _teraflop(flops), "") for name, flops in self.flops.items()),
                ("together", _teraflop(sum(self.flops.values())), self.assumed or self._counted()),
            ],
            "time": [
                ("precision", self.precision, self.reasons.get("precision", "")),
                ("compiled", "yes" if self.compiled else "no", self.reasons.get("compile", "")),
                ("a step", f"{self.seconds_per_step:,.3g} s", self.basis),
                ("the run", _time(self.hours * _HOUR), "steps alone"),
                *self._gpu_hours(),
            ],
        }

    def _a_step(self) -> str:
        """How many images are as many pixels as the batch counts, where they have several sizes."""
        if not self.partition:
            return ""
        mean = self.examples_seen * self.tokens_per_step / self.tokens
        return f"of data.resolution; {mean:,.0f} of all sizes have as many pixels"

    def _counted(self) -> str:
        return "counted; other sizes as that of data.resolution" if self.partition else "counted"

    def _remedies(self) -> list[Row]:
        told = {"fits with": self.fits_with, "takes less with": self.less_with}
        return [(label, "", ", or ".join(changes)) for label, changes in told.items() if changes]

    def _sizes(self) -> list[Row]:
        return [(who, "", images) for who, images in self.partition]

    def _gpu_hours(self) -> list[Row]:
        if self.processor.kind == "cpu":
            return []
        return [("GPU hours", f"{self.hours * self.world:,.0f}", "")]


@dataclass(frozen=True)
class Source:
    """One source of the data."""

    share: float
    """Of all examples, in 0..1."""
    size: int | None = None
    """What it holds: images, or records; None where no place was given."""
    samples: float | None = None
    """Images of it that the run sees; None where rows are packed."""
    epochs: float | None = None
    """How often it is seen."""

    def row(self, name: str) -> Row:
        """Give the plan's line."""
        facts = [] if self.size is None else [f"of {self.size:,} there"]
        if self.samples is not None:
            facts.insert(0, f"{_many(self.samples)} seen")
        if self.epochs is not None:
            facts.append(f"{self.epochs:,.3g} epochs")
        return f"source {name}" if name else "source", f"{self.share:.1%}", ", ".join(facts)


def _sources(
    mixture: Sequence[str], sizes: Mapping[str, int], seen: int | None
) -> dict[str, Source]:
    # One source, which has no weight, stands without a name.
    weights = read_weights(mixture) or dict.fromkeys(list(sizes)[:1], 1.0)
    sources = {}
    for name, weight in weights.items():
        share, size = weight / sum(weights.values()), sizes.get(name)
        samples = None if seen is None else share * seen
        epochs = samples / size if samples is not None and size else None
        sources[name] = Source(share, size, samples, epochs)
    return sources


def make_plan(
    config: RunSettings,
    footprint: Footprint,
    world: int = 1,
    *,
    seconds_per_step: float | None = None,
    processor: Processor = H100,
    reasons: Mapping[str, str] | None = None,
    utilisation: float = UTILISATION,
    sizes: Mapping[str, int] | None = None,
) -> Plan:
    """Plan a run of any of the models.

    Args:
        config: the run, decided.
        footprint: what the recipe's ``measure`` found of its networks.
        world: processes, each with a GPU of its own; 1 on a CPU.
        seconds_per_step: as measured with this many; None estimates it from the FLOPs.
        processor: what is planned for; where its peak is unknown it is this machine's and measured.
        reasons: why the run has what the machine decides, see `decide`.
        utilisation: share of its peak that is reached.
        sizes: images or records of each source that was named, where it is known.

    Raises:
        TrainingError: the batch does not divide.
    """
    check_parts(config.batch_size, config.accumulation, world)
    batch = config.batch_size
    schedule = footprint.schedule and footprint.schedule(batch, world)
    whole = batch * config.steps
    # At other sizes a step's pixels, and so its tokens, are as many, but not its images.
    seen = whole if schedule is None else schedule.share(config.steps, 0).first
    flops = {
        name: round(each * (seen / config.steps if name in footprint.resized else batch))
        for name, each in footprint.flops.items()
    }
    basis = "as measured"
    if seconds_per_step is None:
        peak, source = processor.peak_flops(config.precision), "its maker's"
        if peak is None:
            peak, source = product_flops(config.precision), "matrix products' measured"
        seconds_per_step = sum(flops.values()) / (peak * utilisation * world)
        basis = f"assumes {utilisation:.0%} of {source} {peak / 1e12:.3g} TFLOP/s; not measured"
    memory, activations = held(config, footprint, world), kept(config, footprint, world)
    fits_with: list[str] = []
    less_with: list[str] = []
    if sum(memory.values()) + sum(activations.values()) > processor.memory:
        fits_with, less_with = fitting(config, footprint, world, processor)
    return Plan(
        world=world,
        sharded=config.shard,
        examples="rows" if footprint.packed else "images",
        parameters=footprint.parameters,
        batch_size=batch,
        examples_per_pass=per_pass(config, footprint, world),
        tokens_per_step=footprint.tokens * batch,
        tokens=footprint.tokens * whole,
        examples_seen=seen,
        epochs={} if footprint.packed else {name: seen / n for name, n in DATASETS.items()},
        sources=_sources(footprint.mixture, sizes or {}, None if footprint.packed else seen),
        partition=[] if schedule is None else schedule.partition(),
        memory=memory,
        activations=activations,
        fits_with=fits_with,
        less_with=less_with,
        checkpoint=checkpoint_bytes(config, sum(footprint.held.values())),
        checkpoints_kept=config.keep_last,
        processor=processor,
        precision=config.precision,
        compiled=bool(config.compile),
        reasons=reasons or {},
        flops=flops,
        assumed=footprint.assumed,
        seconds_per_step=seconds_per_step,
        basis=basis,
        hours=seconds_per_step * config.steps / _HOUR,
    )


def _many(count: float) -> str:
    for unit, size in ((" B", 1e9), (" M", 1e6)):
        if count >= size:
            return f"{count / size:,.2f}{unit}"
    return f"{count:,.0f}"


def _time(seconds: float) -> str:
    if seconds < 2 * _MINUTE:
        return f"{seconds:,.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:,.0f} min"
    return f"{seconds / _HOUR:,.1f} h"


def _teraflop(count: int) -> str:
    return f"{count / 1e12:,.2f} TFLOP"


def _gib(size: int) -> str:
    return f"{size / _GIB:,.2f} GiB"
