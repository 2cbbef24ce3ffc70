"""Publishing a model on the Hugging Face Hub, with a card that holds what it was measured at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import EvalResult, HfApi, ModelCard, ModelCardData

from uniwetok.files import read_json

_RECORD_FILE = "record.json"
_CARD_FILE = "README.md"
_LIBRARY = "uniwetok"


class Published:
    """A model that has ``save_pretrained``, and can be published as that writes it."""

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model into a folder."""
        raise NotImplementedError

    def push_to_hub(
        self,
        repo: str,
        *,
        records: Sequence[str | Path] = (),
        license: str | None = None,
        private: bool = False,
        token: str | None = None,
    ) -> str:
        """Upload the model and its card; the repository is made where there is none.

        Args:
            repo: OWNER/NAME on the Hub.
            records: of evaluations of this very model: run directories of `uwt-eval run`, or their
                record files. Their metrics are the card's ``model-index``.
            license: of the weights, as the Hub names it, such as "apache-2.0".
            private: whether others may not see a repository that is made.
            token: of the Hub; None for the one of `hf auth login`.

        Returns:
            The commit's address.

        Raises:
            ValueError: a record cannot be read.
            huggingface_hub.errors.HfHubHTTPError: the Hub refuses.
        """
        card = _card(repo, type(self).__name__, [_read(Path(each)) for each in records], license)
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            card.save(Path(folder) / _CARD_FILE)
            api = HfApi(token=token)
            api.create_repo(repo, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=repo, folder_path=folder))


def _read(place: Path) -> dict[str, Any]:
    path = place / _RECORD_FILE if place.is_dir() else place
    try:
        record: dict[str, Any] = read_json(path)
        if {"task", "protocol", "dataset", "n", "n_failed", "metrics"} <= record.keys():
            return record
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: no record of `uwt-eval run` ({error})") from error
    raise ValueError(f"{path}: no record of `uwt-eval run`")


def _card(
    repo: str, kind: str, records: Sequence[dict[str, Any]], license_: str | None
) -> ModelCard:
    results = [
        EvalResult(
            task_type=record["task"],
            task_name=record["task"],
            dataset_type=record["dataset"],
            dataset_name=f"{record['dataset']} ({record['n']:,} samples)",
            dataset_config=record["protocol"],
            metric_type=key,
            metric_name=f"{key}, {cell['unit']}" if cell.get("unit") else key,
            metric_value=cell["value"],
        )
        for record in records
        for key, cell in record["metrics"].items()
        if cell["value"] is not None
    ]
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
        lines += [row for record in records for row in _rows(record)]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(lines) + "\n")


def _rows(record: dict[str, Any]) -> list[str]:
    where = [str(record[name]) for name in ("task", "protocol", "dataset", "n", "n_failed")]
    rows = []
    for key, cell in record["metrics"].items():
        if cell["value"] is None:
            continue
        low, high = cell.get("ci_low"), cell.get("ci_high")
        interval = "" if low is None or high is None else f"{low:.4g} to {high:.4g}"
        value = f"{cell['value']:.4g} {cell.get('unit', '')}".strip()
        cells = (each.replace("|", "\\|") for each in (*where, key, value, interval))
        rows.append(f"| {' | '.join(cells)} |")
    return rows
