"""What the viewer shows of runs: their samples with values, words, verdicts and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from harness.commands.console import label
from harness.interfaces import Label
from harness.interfaces.errors import Status, UserError, counted, one_line
from harness.interfaces.types import CARDS_FILE, SampleCard
from reports.comparability import protocol_settings, told_apart
from reports.pictures import kept_pictures, safe_picture
from reports.records import Loaded, higher_is_better, load_records, metric_names, record_files
from reports.samples import Samples, contributions, read_samples

FAILED = "failed"
"""The name by which samples are sorted by whether they failed."""
VERDICT = "verdict"
"""The name by which they are sorted by whether they were judged right."""
_CARDS = TypeAdapter(list[SampleCard])


@dataclass(frozen=True, slots=True)
class ViewedRun:
    """A run and what it tells of each of its samples."""

    loaded: Loaded
    samples: Samples
    place: dict[str, int]
    """The row of each sample."""
    values: dict[str, NDArray[np.float64]]
    """Float (n,) by metric: what each sample contributes; NaN where it does not count."""
    cards: dict[str, SampleCard]
    kept: dict[str, Path]
    """The few outputs that it kept as pictures; none where its task keeps all of them."""

    def pictures_of(self, sample: str) -> list[tuple[Path | None, str]]:
        """A sample's pictures with captions; None for one that is not there or is no picture."""
        assert self.loaded.root is not None
        if sample in self.cards and (shots := self.cards[sample].pictures):
            return [(safe_picture(self.loaded.root, name), caption) for name, caption in shots]
        if sample in self.kept:
            return [(safe_picture(self.loaded.root, f"pictures/{self.kept[sample].name}"), "")]
        return []


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric by which samples can be sorted."""

    name: str
    label: Label
    better: bool | None


@dataclass(frozen=True, slots=True)
class Group:
    """Runs of one task on the same samples."""

    title: str
    names: list[str]
    """How each run is called: its model, and what else it takes to tell them apart."""
    runs: list[ViewedRun]
    ids: list[str]
    metrics: list[Metric]


def read_groups(paths: Iterable[Path]) -> tuple[list[Group], list[str]]:
    """All runs below the places by task and samples, and a line for each that was left out.

    Raises:
        UserError: Nothing is there that could be shown, or two results of one run differ.
    """
    left_out: list[str] = []
    whole = []
    for file in (each for path in paths for each in record_files(path)):
        try:
            load_records([file])
        except UserError as error:
            left_out.append(str(error))
        else:
            whole.append(file)
    found: dict[tuple[str, str], list[ViewedRun]] = {}
    for loaded in load_records(whole):
        try:
            run = _viewed(loaded)
        except UserError as error:
            left_out.append(str(error))
            continue
        record = loaded.record
        found.setdefault((record.task, record.dataset_digest), []).append(run)
    if not found:
        raise UserError(f"no run can be shown: {left_out[0]}")
    return [_group(runs) for runs in found.values()], left_out


def _viewed(loaded: Loaded) -> ViewedRun:
    if loaded.root is None:
        raise UserError(
            f"{loaded.path} shows no samples: give the directory of a run (one that "
            "`metrics --record` keeps has none to show)"
        )
    rows = read_samples(loaded)
    counted = contributions(rows, loaded.record.metrics, protocol_settings(loaded) or {})
    finished = np.flatnonzero(rows.ok)
    values: dict[str, NDArray[np.float64]] = {FAILED: (~rows.ok).astype(np.float64)}
    for name, each in counted.values.items():
        values[name] = np.full(len(rows.ids), np.nan)
        values[name][finished] = each
    place = {name: at for at, name in enumerate(rows.ids)}
    cards, kept = _cards(loaded.root / CARDS_FILE), kept_pictures(loaded)
    if any(card.pictures for card in cards.values()):
        kept = {}
    verdicts = [cards[name].good if name in cards else None for name in rows.ids]
    values[VERDICT] = np.array([np.nan if good is None else good for good in verdicts], np.float64)
    return ViewedRun(loaded, rows, place, values, cards, kept)


def _cards(path: Path) -> dict[str, SampleCard]:
    if not path.is_file():
        return {}
    try:
        return {card.id: card for card in _CARDS.validate_json(path.read_bytes())}
    except (OSError, ValidationError) as error:
        raise UserError(
            f"{path} is damaged ({one_line(str(error))[:80]}): without it the run is shown "
            "with neither prompts nor verdicts"
        ) from error


def _group(runs: Sequence[ViewedRun]) -> Group:
    records = [run.loaded.record for run in runs]
    ids = dict.fromkeys(name for run in runs for name in run.samples.ids)
    metrics = [
        Metric(name, label(name), higher_is_better(name, records))
        for name in metric_names(records)
        if any(name in run.values for run in runs)
    ]
    if any(np.isfinite(run.values[VERDICT]).any() for run in runs):
        metrics.append(Metric(VERDICT, Label(VERDICT, digits=0), better=True))
    if any(record.n_failed for record in records):
        metrics.append(Metric(FAILED, Label(FAILED, digits=0), better=False))
    title = one_line(f"{records[0].task} · {records[0].dataset}, {counted(len(ids), 'sample')}")
    return Group(title, _names(runs), list(runs), list(ids), metrics)


def _names(runs: Sequence[ViewedRun]) -> list[str]:
    records = [run.loaded.record for run in runs]
    apart = told_apart(records)
    return [
        one_line(" · ".join(filter(None, (record.model, apart[record.run_id]))))
        for record in records
    ]


def words_of(run: ViewedRun, row: int) -> Iterator[tuple[str, str]]:
    """What was asked, replied and observed of a sample, as far as there is any."""
    for name, texts in run.samples.texts.items():
        if texts[row]:
            yield name, texts[row]


def failure_of(run: ViewedRun, row: int) -> str:
    """Why a sample failed; empty where it did not."""
    status = run.samples.status[row]
    return "" if status == Status.OK else f"{status}: {run.samples.error[row]}"
