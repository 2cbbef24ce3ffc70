"""Frozen records that every stage reads and writes: protocol, task, sample, metric, result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.interfaces.errors import (
    COMPUTED as COMPUTED,
    TRIED_AGAIN as TRIED_AGAIN,
    RunStatus as RunStatus,
    Stage as Stage,
    Status as Status,
    canonical_json as canonical_json,
    digest_of as digest_of,
)

if TYPE_CHECKING:
    import numpy as np

SCHEMA_VERSION = "1.0"
"""Version of `ResultRecord`'s JSON; the major part grows when a reader would break."""


class Record(BaseModel):
    """Base of all records: immutable, and a misspelt field is an error."""

    # Validators are built on first use: listing and help never pay for them.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Protocol(Record):
    """Every choice that moves a number, under a name. Results compare only if digests agree."""

    name: str
    title: str
    description: str = ""
    settings: dict[str, Any]
    stages: dict[str, Stage] = Field(
        default={},
        description="Stage of each setting by its dotted name; one without is of the first.",
    )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the settings alone, so that renaming or describing moves nothing."""
        return digest_of(self.settings)

    @cached_property
    def digests(self) -> dict[Stage, str]:
        """By stage, SHA-256 of the settings that its results depend on; the last is `digest`."""
        return {stage: digest_of(self.until(stage)) for stage in Stage}

    def until(self, stage: Stage) -> dict[str, Any]:
        """The settings of all stages up to one: those that the one's results depend on."""
        stages = list(Stage)
        return self._until(set(stages[: stages.index(stage) + 1]), self.settings, "")

    def _until(self, stages: set[Stage], table: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in table.items():
            name = f"{prefix}{key}"
            if isinstance(value, Mapping) and value:
                if below := self._until(stages, value, f"{name}."):
                    kept[key] = below
            elif self.stages.get(name, Stage.GENERATE) in stages:
                kept[key] = value
        return kept


def dotted(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


class TaskSpec(Record):
    """What a task is, readable without importing a model."""

    name: str
    version: int = Field(description="Raised whenever the task's numbers could change.")
    title: str
    kind: str = Field(description="Family of tasks that share protocol settings: 'recon', 'c2i' …")
    interface: str | tuple[str, ...] = Field(
        description="Of `INTERFACES`, which a model must offer, or of which any; empty for none."
    )
    dataset: str = Field(description="The data the paper used, in words.")
    layout: str = Field(description="How that data is expected to lie on disk.")
    metrics: tuple[str, ...]
    protocols: tuple[str, ...] = Field(description="Named protocols; the first is the default.")
    groups: tuple[str, ...] = Field(default=(), description="Groups that run this task: 'table8' …")
    default_models: tuple[str, ...] = Field(
        default=(), description="Models that run when none is named."
    )

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The interfaces of which a model must offer any."""
        named = (self.interface,) if isinstance(self.interface, str) else self.interface
        return tuple(name for name in named if name)


class Codebook(Record):
    """A tokenizer's discrete codes: `groups` symbols a token, each one of `size`.

    A payload holds its tokens in raster order; a token's bits run through its groups, the least
    significant bit of a symbol first, and are padded to whole bytes.
    """

    groups: int = Field(default=1, ge=1)
    bits_per_group: int = Field(default=0, ge=1, description="Bits that store a symbol.")
    size: int = Field(
        default=0, ge=2, description="Symbols of a group: 64,000 for FSQ of 8, 8, 8, 5, 5, 5."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_from_the_other(cls, values: Any) -> Any:
        """A power of two is known by its bits, and any size by itself."""
        if isinstance(values, Mapping):
            size, bits = values.get("size"), values.get("bits_per_group")
            if isinstance(bits, int) and size is None:
                return {**values, "size": 2**bits}
            if isinstance(size, int) and bits is None:
                return {**values, "bits_per_group": max(1, (size - 1).bit_length())}
        return values

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.size:
            raise ValueError("give a codebook's size, or its bits_per_group")
        if self.size > 2**self.bits_per_group:
            raise ValueError(f"{self.size} symbols do not fit into {self.bits_per_group} bits")
        return self

    def bits(self, tokens: int) -> float:
        """Rate of so many tokens: tokens x groups x log2(size), as papers count it."""
        return tokens * self.groups * math.log2(self.size)

    def pack(self, symbols: np.ndarray) -> bytes:
        """Pack integers (tokens, groups) in [0, size); raise `ValueError` for others."""
        import numpy as np

        if not isinstance(symbols, np.ndarray):
            raise ValueError(
                f"symbols are {type(symbols).__name__}: give a NumPy array of integers"
            )
        if symbols.ndim != 2 or symbols.shape[1] != self.groups or symbols.dtype.kind not in "iu":
            raise ValueError(
                f"symbols are {symbols.dtype} {symbols.shape}: give integers (tokens, groups), of "
                f"{self.groups} groups"
            )
        self._check(symbols)
        digits = symbols.astype(np.int64)[..., None] >> np.arange(self.bits_per_group) & 1
        rows = digits.astype(np.uint8).reshape(len(symbols), self.groups * self.bits_per_group)
        return np.packbits(rows, axis=1, bitorder="little").tobytes()

    def unpack(self, payload: bytes) -> np.ndarray:
        """A payload's symbols, int64 (tokens, groups); raise `ValueError` where it holds others."""
        import numpy as np

        bits = self.groups * self.bits_per_group
        tokens = np.frombuffer(payload, np.uint8).reshape(-1, -(-bits // 8))
        digits = np.unpackbits(tokens, axis=1, count=bits, bitorder="little")
        digits = digits.reshape(-1, self.groups, self.bits_per_group)
        # A product with the powers of 2 would take five times as long.
        symbols = np.zeros(digits.shape[:2], np.min_scalar_type(2**self.bits_per_group - 1))
        for place in reversed(range(self.bits_per_group)):
            symbols <<= 1
            symbols |= digits[..., place]
        self._check(symbols)
        return symbols.astype(np.int64)

    def _check(self, symbols: np.ndarray) -> None:
        if symbols.size and not (symbols.min() >= 0 and symbols.max() < self.size):
            raise ValueError(
                f"symbols span {symbols.min()} to {symbols.max()}: a codebook of {self.size} has "
                f"0 to {self.size - 1}"
            )


class Latents(Record):
    """Continuous latents of a tokenizer without codebook, as they are stored."""

    channels: int = Field(ge=1, description="Numbers of a token.")
    dtype: Literal["float32", "float16", "bfloat16", "uint8"]

    def bits(self, tokens: int) -> float:
        """Rate of so many tokens: every number in its dtype."""
        return float(tokens * self.channels * _BITS[self.dtype])


_BITS = {"float32": 32, "float16": 16, "bfloat16": 16, "uint8": 8}
IMAGE_SIDE = 256
"""Side of the images that rates of models are stated for, in pixels."""


class ModelCard(Record):
    """Identity of a model: everything that decides what it computes."""

    name: str
    label: str = Field(default="", description="Name in tables where `name` is not enough.")
    config: dict[str, Any] = {}
    weights_sha256: str | None = None
    code_sha256: str | None = Field(
        default=None,
        description="Digest of a plug-in's code and options where it is not ours; set by us.",
    )
    parameters: int | None = None
    codebook: Codebook | None = None
    latents: Latents | None = Field(
        default=None, description="What is stored of a token where there is no codebook."
    )
    tokens: int | None = Field(default=None, ge=1, description="Tokens of a 256x256 image.")
    dtype: str = Field(default="", description="Precision that it computes in.")
    source: str = Field(default="", description="Where its weights are from, for people.")
    revision: str = Field(default="", description="Commit of the repository they are from.")
    licence: str = Field(default="", description="Of the weights, as their source names it.")
    sizes: tuple[int, ...] = Field(
        default=(), description="Sides of the square images that it takes or draws; empty for any."
    )

    @property
    def title(self) -> str:
        """What tables and run directories call the model."""
        return self.label or self.name

    @property
    def stated(self) -> dict[str, Any]:
        """Tokens and rate of a 256x256 image, as tables print them; empty where none are known."""
        codes = self.codebook or self.latents
        if codes is None:
            return {}
        facts: dict[str, Any] = {"continuous": self.latents.dtype} if self.latents else {}
        if self.codebook is not None:
            bits = self.codebook.bits(1)
            whole = 2 ** round(bits) if bits.is_integer() else round(2**bits)
            facts["codebook"] = f"2^{bits:.0f}" if bits.is_integer() and bits > 20 else str(whole)
        if self.tokens is not None:
            total = codes.bits(self.tokens)
            pixels = IMAGE_SIDE**2
            facts |= {"tokens": self.tokens, "bits": total, "bpp": total / pixels}
            facts["compression"] = 24 * pixels / total
        return facts

    @cached_property
    def digest(self) -> str:
        """SHA-256 over name, configuration, weights and code; a file's name moves nothing."""
        facts = [self.name, self.config, self.weights_sha256]
        return digest_of([*facts, self.code_sha256] if self.code_sha256 else facts)


class Sample(Record):
    """One input of a task, known by its id and its content."""

    id: str
    index: int = Field(ge=0, description="Position in the task's order.")
    sha256: str = Field(description="Digest of the sample's content.")


CARDS_FILE = "cards.json"
"""Where a run directory lists what its gallery shows, as `SampleCard`s."""


class SampleCard(Record):
    """What a task says of one sample for people: what was asked, what came, how it was judged."""

    id: str
    title: str = Field(description="The prompt or instruction.")
    verdict: str
    good: bool | None = Field(description="None where it was not judged.")
    words: str = Field(default="", description="What the judge said, or the reason.")
    group: str = ""
    pictures: tuple[tuple[str, str], ...] = Field(
        default=(), description="Names below the run directory, and captions."
    )


class MetricValue(Record):
    """One number with its interval and its failures, or the reason why there is none."""

    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int = Field(default=0, description="Samples the value rests on.")
    n_failed: int = Field(default=0, description="Samples left out because a stage failed.")
    higher_is_better: bool | None = None
    status: str = Field(default=COMPUTED, description="'ok', or why there is no value.")
    unit: str = ""
    method: str = Field(default="", description="How the 95% interval was made.")
    note: str = ""

    @property
    def half_interval(self) -> float | None:
        """Half of the interval, as tables print it; None without one, or of one that is a point."""
        if self.ci_low is None or self.ci_high is None or self.ci_high <= self.ci_low:
            return None
        return (self.ci_high - self.ci_low) / 2

    @classmethod
    def absent(cls, status: str, *, higher_is_better: bool | None = None) -> MetricValue:
        """A cell without a value; `status` says why."""
        return cls(value=None, status=status, higher_is_better=higher_is_better)


class ResultRecord(Record):
    """The published result of one model on one task under one protocol."""

    schema_version: str = SCHEMA_VERSION
    run_id: str
    task: str
    task_version: int
    model: str
    model_digest: str
    protocol: str
    protocol_digest: str
    dataset: str
    dataset_digest: str
    seed: int
    n: int = Field(description="Samples asked for.")
    n_failed: int = Field(description="Samples that failed in any stage.")
    failures: dict[str, int] = Field(default={}, description="Failed samples by status.")
    status: RunStatus
    metrics: dict[str, MetricValue]
    provenance: dict[str, Any] = Field(
        default={}, description="Software, hardware, command and times; not part of the result."
    )

    def value(self, metric: str) -> float | None:
        """The metric's value, or None where it was not computed or not asked for."""
        cell = self.metrics.get(metric)
        return None if cell is None else cell.value


class ReferenceRow(Record):
    """A published row to print beside measured ones."""

    label: str
    source: str
    n: int | None = None
    values: Mapping[str, float]
    note: str = ""


class ReferenceSettings(Record):
    """Published settings of a training run, to print beside a preset's."""

    label: str
    source: str
    title: str
    settings: Mapping[str, Any]
    notes: Sequence[str] = ()
    results: Sequence[ReferenceRow] = ()
