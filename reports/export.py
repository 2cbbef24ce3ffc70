"""Results for spreadsheets, tables, model cards of the hub, and trackers of experiments."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.commands.formats import csv_text, record_rows, to_csv
from harness.commands.model_index import model_index
from harness.data.digests import Damaged, read_table
from harness.interfaces.errors import UserError, first_line
from reports.records import Loaded

if TYPE_CHECKING:
    import pandas as pd
    from huggingface_hub import EvalResult


def sample_rows(runs: Sequence[Loaded]) -> pd.DataFrame:
    """A row a sample of each run: run_id, task, model and protocol, then what was observed.

    Raises:
        UserError: A record without its samples, or damaged ones.
    """
    import pandas as pd

    frames = []
    for loaded in runs:
        record = loaded.record
        if loaded.samples is None:
            raise UserError(f"{loaded.path}: --samples needs run directories, this is a record")
        try:
            frame = read_table(loaded.samples).to_pandas()
        except (OSError, Damaged) as error:
            raise UserError(
                f"{loaded.samples} is damaged ({error}): `uwt-eval score RUN` writes it again"
            ) from error
        names = ("run_id", "task", "model", "protocol")
        facts = pd.DataFrame({name: [getattr(record, name)] * len(frame) for name in names})
        frames.append(pd.concat([facts, frame], axis=1))
    whole: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return whole


def as_csv(runs: Sequence[Loaded], *, samples: bool) -> str:
    """A row a metric, or a row a sample."""
    if not samples:
        return to_csv(record_rows([loaded.record for loaded in runs]))
    frame = sample_rows(runs)
    harmless = frame.map(lambda cell: csv_text(cell) if isinstance(cell, str) else cell)
    return str(harmless.to_csv(index=False, lineterminator="\n"))


def as_parquet(runs: Sequence[Loaded], *, samples: bool) -> bytes:
    """The same rows, typed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if samples:
        table = pa.Table.from_pandas(sample_rows(runs), preserve_index=False)
    else:
        table = pa.Table.from_pylist(record_rows([loaded.record for loaded in runs]))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def as_card(runs: Sequence[Loaded], card: Path | None) -> str:
    """Metadata of a hub card with the results in `model-index`, or a whole card with them.

    Args:
        runs: Results of one model.
        card: A card whose text and other results stay; the metadata alone where None.

    Raises:
        UserError: Results of several models, none with a value, or a card that cannot be read.
    """
    from huggingface_hub import ModelCard, ModelCardData

    records = [loaded.record for loaded in runs]
    results = model_index(records)
    if not results:
        raise UserError("no metric of these runs has a value: there is nothing to put into a card")
    if card is None or not card.exists():
        made = ModelCardData(model_name=records[0].model, eval_results=results)
        text = f"---\n{made.to_yaml()}\n---\n"
        return text if card is None else f"{text}\n# {records[0].model}\n"
    try:
        found = ModelCard(card.read_text(encoding="utf-8"))
    except Exception as error:  # Whatever a YAML parser makes of a stranger's file.
        raise UserError(f"{card} is no model card: {first_line(error)}") from error
    data: Any = found.data
    new = {_place(result) for result in results}
    kept = [each for each in data.eval_results or [] if _place(each) not in new]
    data.model_name = data.model_name or records[0].model
    data.eval_results = [*kept, *results]
    return str(found)


def _place(result: EvalResult) -> tuple[object, ...]:
    """What a result is of; two of one place are an older and a newer."""
    return (*result.unique_identifier, result.metric_type, result.metric_config)


def log_runs(runs: Sequence[Loaded], tracker: str, project: str, *, samples: bool) -> None:
    """Log each result as a run of wandb or trackio, whose functions these need are alike.

    Args:
        runs: The results.
        tracker: Name of the package.
        project: Project of the tracker.
        samples: Log the table of samples too.

    Raises:
        UserError: The package is not installed, or says what it cannot do.
    """
    try:
        module = import_module(tracker)
    except ImportError as error:
        raise UserError(f"--to {tracker} needs its package: pip install {tracker}") from error
    for loaded in runs:
        record = loaded.record
        facts = record.model_dump(mode="json", exclude={"metrics", "provenance"})
        values: dict[str, Any] = {}
        for key, cell in record.metrics.items():
            ends = {"": cell.value, "_low": cell.ci_low, "_high": cell.ci_high}
            found = {f"{record.task}/{key}{end}": value for end, value in ends.items()}
            values |= {name: value for name, value in found.items() if value is not None}
        if samples:
            values[f"{record.task}/samples"] = module.Table(dataframe=sample_rows([loaded]))
        try:
            run = module.init(project=project, name=record.run_id, config=facts)
            run.log(values)
            run.finish()
        except Exception as error:
            raise UserError(f"{tracker}: {first_line(error)}") from error
