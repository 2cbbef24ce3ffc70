"""`run.json`: what a run directory holds, what its parts are called by, and what reads it."""

from __future__ import annotations

import gc
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from harness.data.digests import Damaged, read_record
from harness.interfaces.errors import UserError, first_line, warn
from harness.interfaces.registry import METRICS
from harness.interfaces.types import (
    ModelCard,
    Protocol,
    Record,
    Sample,
    Stage,
    canonical_json,
    digest_of,
)

_quoted = json.encoder.encode_basestring
"""A text as `canonical_json` writes it."""


def sample_seed(run_seed: int, task: str, version: int, sample_id: str) -> int:
    """Seed in [0, 2**63) of a sample's own random stream.

    It depends on the run's seed, the task, its version and the sample's id, and on nothing else, so
    that no number depends on batch, process or restart.
    """
    text = f"{run_seed}\0{task}\0{version}\0{sample_id}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


class RunFile(Record):
    """`run.json`: what a run directory holds, enough to score it without model or data."""

    run_id: str
    task: str
    task_version: int
    protocol: Protocol
    model: ModelCard
    dataset: str
    dataset_digest: str
    notice: str
    seed: int
    block_size: int
    max_failures: int
    small_sets: bool
    metrics: tuple[str, ...]
    extractors: dict[str, dict[str, Any]] = Field(description="Identity of every one that ran.")
    unavailable: dict[str, str] = Field(description="Extractors that could not run, and why.")
    samples: tuple[Sample, ...]
    provenance: dict[str, Any]
    reference: str = Field(
        default="", description="Digest of the set that a generated set is compared with."
    )
    task_code: str = Field(default="", description="Digest of the task's code if it is not ours.")

    @property
    def reference_file(self) -> str:
        """Name of the file in the run directory that holds the reference's features."""
        return f"reference-{self.reference[:12]}.npz"

    def sample_key(self, sample: Sample, stage: Stage = Stage.GENERATE) -> str:
        """Digest of everything a sample's output depends on; no batch, no process, no path.

        Of the protocol it holds the settings up to a stage: what only a later one reads may change,
        and the files are still found.
        """
        (keys,) = self._sample_keys([sample], [stage])
        return keys[0]

    def _sample_keys(self, block: Sequence[Sample], stages: Iterable[Stage]) -> Iterator[list[str]]:
        """The digests of `[task, version, protocol, id, sha256, model, seed, task's code]` a stage.

        What is the same of all samples is written once: of a million each microsecond counts.
        """
        last = [self.model.digest, self.seed, *([self.task_code] if self.task_code else [])]
        after = canonical_json(last)[1:]
        own = [
            f",{_quoted(sample.id)},{_quoted(sample.sha256)},{after}".encode() for sample in block
        ]
        for stage in stages:
            shared = [self.task, self.task_version, self.protocol.digests[stage]]
            begun = hashlib.sha256(canonical_json(shared)[:-1].encode())
            keys = []
            for each in own:
                digest = begun.copy()
                digest.update(each)
                keys.append(digest.hexdigest())
            yield keys

    def part_keys(self, block: Sequence[Sample]) -> dict[str, str]:
        """The key of every part of a block, by its stage's folder: outputs, then observations."""
        outputs, seen = map(
            _digest_of_keys, self._sample_keys(block, (Stage.GENERATE, Stage.OBSERVE))
        )
        return {
            "outputs": outputs,
            **{
                f"observations/{name}": digest_of([seen, name, identity])
                for name, identity in self.extractors.items()
            },
        }

    def output_key(self, block: Sequence[Sample]) -> str:
        """Digest of everything a block's outputs depend on."""
        (keys,) = self._sample_keys(block, [Stage.GENERATE])
        return _digest_of_keys(keys)

    def observation_key(self, block: Sequence[Sample], extractor: str) -> str:
        """Digest of everything a block's observations by one extractor depend on."""
        return self.observation_keys(block, [extractor])[extractor]

    def observation_keys(
        self, block: Sequence[Sample], extractors: Iterable[str]
    ) -> dict[str, str]:
        """The same by extractor."""
        (keys,) = self._sample_keys(block, [Stage.OBSERVE])
        seen = _digest_of_keys(keys)
        return {name: digest_of([seen, name, self.extractors[name]]) for name in extractors}

    def seeds(self, block: Sequence[Sample]) -> list[int]:
        """One random stream a sample."""
        return [sample_seed(self.seed, self.task, self.task_version, sample.id) for sample in block]


def _digest_of_keys(keys: Sequence[str]) -> str:
    """What `digest_of` gives for them; nothing in them needs escaping."""
    text = '["' + '","'.join(keys) + '"]' if keys else "[]"
    return hashlib.sha256(text.encode()).hexdigest()


def read_run_file(root: Path) -> RunFile:
    """Read `run.json`; raise `UserError` where the folder is no run or of another version."""
    path = root / "run.json"
    if not path.is_file():
        raise UserError(f"{root} is not a run directory: it has no run.json")
    try:
        with _uncollected():
            return RunFile.model_validate(read_record(path))
    except ValidationError as error:
        raise UserError(
            f"{path} was written by another version of uwt-eval "
            f"({error.error_count()} fields differ): run the task again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise Damaged(path, first_line(error)) from error


@contextmanager
def _uncollected() -> Iterator[None]:
    """Make a million samples without the collector's looking through those that are made."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def run_id(task: str, model: ModelCard, protocol: Protocol, data_digest: str, seed: int) -> str:
    """Name of a run and its directory: the same for the same work."""
    digest = digest_of([model.digest, protocol.digest, data_digest, seed])
    return run_name(task, model.title, protocol.name, digest)


def run_name(task: str, model: str, protocol: str, digest: str) -> str:
    """Name of a run from what people look for, and the digest of what tells it apart."""
    # File systems take 255 bytes; the digest tells apart what the name no longer does.
    name = re.sub(r"[^A-Za-z0-9.]+", "-", model).strip("-")[:128]
    return f"{task.replace(':', '-')}-{name}-{protocol}-{digest[:10]}"


def earlier_run(root: Path) -> RunFile | None:
    """What the run directory holds already, if it is one."""
    if not (root / "run.json").is_file():
        return None
    try:
        return read_run_file(root)
    except UserError as error:
        warn(f"{error}; the metrics that this run had are not known")
        return None


def with_earlier(metrics: Sequence[str], earlier: RunFile | None) -> list[str]:
    """The metrics that are asked for, after those that the run has already."""
    if earlier is None:
        return list(metrics)
    if unknown := [key for key in earlier.metrics if key not in METRICS]:
        warn(f"{earlier.run_id}: {', '.join(unknown)} left out, which no plug-in offers any more")
    return list(dict.fromkeys([*(key for key in earlier.metrics if key in METRICS), *metrics]))
