"""Results as the hub's model cards hold them, in their `model-index`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harness.commands.console import label
from harness.interfaces.errors import UserError
from harness.interfaces.registry import TASKS
from harness.interfaces.types import ResultRecord

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_HUB_TASKS = {
    "VisualTokenizer": "image-to-image",
    "ImageEmbedder": "zero-shot-image-classification",
    "ClassToImage": "unconditional-image-generation",
    "TextToImage": "text-to-image",
    "ImageEditor": "image-to-image",
    "MultimodalLM": "image-text-to-text",
}
"""The hub's task of what a task asks of a model."""


def model_index(records: Sequence[ResultRecord]) -> list[EvalResult]:
    """Every metric of one model's results that has a value, unrounded, with its interval.

    Raises:
        UserError: The results are of several models.
    """
    if len({record.model_digest for record in records}) > 1:
        models = dict.fromkeys(record.model for record in records)
        raise UserError(f"a card is of one model, these are of {', '.join(models)}")
    return [result for record in records for result in _results(record)]


def _results(record: ResultRecord) -> Iterator[EvalResult]:
    from huggingface_hub import EvalResult

    asked = TASKS.get(record.task).spec.interfaces if record.task in TASKS else ()
    for key, cell in record.metrics.items():
        if cell.value is None:
            continue
        yield EvalResult(
            task_type=next((_HUB_TASKS[name] for name in asked if name in _HUB_TASKS), "other"),
            task_name=record.task,
            dataset_type=record.dataset,
            dataset_name=f"{record.dataset} (n={record.n})",
            # The hub groups results by these: two tasks on one data set stay apart.
            dataset_config=record.task,
            dataset_revision=record.dataset_digest,
            metric_type=key,
            metric_name=label(key).title,
            metric_value=cell.value,
            metric_config=record.protocol,
            metric_args={
                "protocol_digest": record.protocol_digest,
                "n": cell.n,
                **({} if cell.ci_low is None else {"ci_95": [cell.ci_low, cell.ci_high]}),
            },
        )
