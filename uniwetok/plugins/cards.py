"""The hub's card of a model of ours: what it is, and what the records of its evaluations hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from harness.commands.console import label
from harness.commands.formats import markdown
from harness.commands.model_index import model_index
from harness.data.digests import Damaged, read_record
from harness.interfaces.errors import UserError
from harness.interfaces.types import ResultRecord

_RECORD_FILE = "record.json"
_LIBRARY = "uniwetok"


def make_card(
    repo: str, kind: str, records: Sequence[str | Path], license_: str | None
) -> ModelCard:
    """Write the card.

    Args:
        repo: OWNER/NAME on the hub.
        kind: the model's class.
        records: run directories of `uwt-eval run`, or their record files.
        license_: of the weights, as the hub names it.

    Raises:
        ValueError: a record cannot be read, or they are of several models.
    """
    found = [_read(Path(each)) for each in records]
    try:
        results = model_index(found)
    except UserError as error:
        raise ValueError(str(error)) from error
    name = repo.rpartition("/")[2]
    data = ModelCardData(
        library_name=_LIBRARY,
        license=license_,
        tags=[_LIBRARY, kind.lower()],
        # A `model-index` without results is refused.
        model_name=name if results else None,
        eval_results=results or None,
    )
    lines = [f"# {name}", "", f"A `{kind}` of UniWeTok, as its `save_pretrained` writes it."]
    if results:
        lines += ["", "## Evaluation", "", "With `uwt-eval run`; intervals are of 95%.", ""]
        lines += ["| task | protocol | data | samples | failed | metric | value | interval |"]
        lines += ["| --- | --- | --- | ---: | ---: | --- | ---: | --- |"]
        lines += [row for record in found for row in _rows(record)]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(lines) + "\n")


def _read(place: Path) -> ResultRecord:
    path = place / _RECORD_FILE if place.is_dir() else place
    try:
        return ResultRecord.model_validate(read_record(path))
    except (Damaged, OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no record of `uwt-eval run` ({error})") from error


def _rows(record: ResultRecord) -> Iterator[str]:
    where = [record.task, record.protocol, record.dataset, str(record.n), str(record.n_failed)]
    for key, cell in record.metrics.items():
        if cell.value is None:
            continue
        shown, ends = label(key), (cell.ci_low, cell.ci_high)
        interval = " to ".join(shown.text(end) for end in ends if end is not None)
        cells = (*where, shown.title, f"{shown.text(cell.value)} {cell.unit}".strip(), interval)
        yield f"| {' | '.join(map(markdown, cells))} |"
