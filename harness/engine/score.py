"""From the files of a run to its result: merge every block exactly once, then compute metrics."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.data.manifest import blocks
from harness.data.store import ROWS_FILE, Store
from harness.engine.items import RESERVED
from harness.engine.plan import metric
from harness.engine.run_file import RunFile
from harness.interfaces import Observations
from harness.interfaces.errors import Unavailable, UserError
from harness.interfaces.registry import others_code
from harness.interfaces.types import (
    IMAGE_SIDE,
    MetricValue,
    ModelCard,
    ResultRecord,
    RunStatus,
    Sample,
    Status,
)
from harness.metrics.stats import over_cores

if TYPE_CHECKING:
    from harness.metrics.features import ReferenceFeatures

Failed = tuple[str, str, str]
"""A failed sample's id, its status and its error."""
AGAIN = "the run's own command, given again, makes it anew"
"""How to mend what a run directory lacks."""
WITHHOLD_ABOVE = 0.05
"""Share of failed samples above which metrics are withheld, unless --max-failures allows them."""


class Merged:
    """All rows of a run in task order, and the observations of the samples without failure."""

    def __init__(self, file: RunFile, store: Store) -> None:
        self.file = file
        self._store = store
        # Blocks are read in the order of the task, whichever process wrote them and when: means of
        # batches, splits of the Inception Score and float64 sums all depend on the order of rows.
        self._blocks = list(enumerate(blocks(file.samples, file.block_size)))
        outputs = self._read("outputs", file.output_key)
        errors = outputs["error"].fill_null("")
        self.rows = pd.DataFrame(
            {
                "id": [sample.id for sample in file.samples],
                "status": outputs["status"].fill_null(Status.MISSING.value).to_pylist(),
                "error": pc.if_else(
                    outputs["status"].is_null(), f"not stored whole: {AGAIN}", errors
                ).to_pylist(),
                "height": outputs["height"].to_pandas(),
                "width": outputs["width"].to_pandas(),
                "bits": _bits(outputs),
            }
        )
        self._payloads = outputs["payload"]
        self.model_seconds = float(pc.sum(outputs["seconds"]).as_py() or 0.0)
        self._features: dict[str, pa.ChunkedArray] = {}
        for name in file.extractors:
            self._add_observations(name)
        self.ok = (self.rows["status"] == Status.OK).to_numpy()

    def _read(self, stage: str, key_of: Any) -> pa.Table:
        """Rows of every block in order; a block that is missing or not whole gives null rows."""

        def read(numbered: tuple[int, Sequence[Sample]]) -> pa.Table:
            index, block = numbered
            table = self._store.read_part(stage, index, key_of(block), len(block))
            ids = [sample.id for sample in block]
            if table is None:
                return pa.table({"id": ids})
            if table["id"].to_pylist() != ids:
                raise UserError(
                    f"{self._store.root}/{stage}: block {index} holds other samples than it "
                    "should; remove the folder and run again"
                )
            return table

        tables = over_cores(read, self._blocks)
        merged = pa.concat_tables(tables, promote_options="default")
        for column in ("status", "error"):
            if stage == "outputs" and column not in merged.column_names:
                merged = merged.append_column(column, pa.nulls(len(merged), pa.string()))
        for column in ("payload", "bits", "height", "width", "seconds"):
            if stage == "outputs" and column not in merged.column_names:
                merged = merged.append_column(column, pa.nulls(len(merged), pa.float64()))
        return merged

    def _add_observations(self, name: str) -> None:
        table = self._read(
            f"observations/{name}", lambda block: self.file.observation_key(block, name)
        )
        columns = [name for name in table.column_names if name not in RESERVED]
        for column in columns:
            if pa.types.is_fixed_size_list(table[column].type):
                self._features[column] = table[column]
            else:
                self.rows[column] = table[column].to_numpy(zero_copy_only=False)
        seen: dict[str, np.ndarray] = {}
        for column, default in (
            ("status", Status.MISSING.value),
            ("error", f"not observed by {name}: {AGAIN}"),
        ):
            if column not in table.column_names:
                table = table.append_column(column, pa.nulls(len(table), pa.string()))
            seen[column] = np.array(table[column].fill_null(default).to_pylist(), dtype=object)
        # The first failure of a sample is the one that is told; later stages never saw it.
        lost = (self.rows["status"] == Status.OK).to_numpy() & (seen["status"] != Status.OK)
        for column, cells in seen.items():
            self.rows.loc[lost, column] = cells[lost]

    @property
    def failed(self) -> list[Failed]:
        """The samples that failed, in order."""
        return failed_in(self.rows)

    def observations(self) -> Observations:
        """What metrics may look at."""
        samples = self.rows[self.ok].reset_index(drop=True)
        ok = pa.array(self.ok)
        features = {
            # Where none failed, gigabytes need not be copied once more.
            name: _matrix(column if self.ok.all() else column.filter(ok))
            for name, column in self._features.items()
        }
        payloads = self._payloads.filter(ok).to_pylist()
        return Observations(
            samples=samples,
            features=features,
            payloads=payloads,
            codebook=self.file.model.codebook,
            seed=self.file.seed,
            small_sets=self.file.small_sets,
            reference=self._reference(),
            notice=self.file.notice,
        )

    def _reference(self) -> ReferenceFeatures | None:
        path = self._store.root / self.file.reference_file
        if not (self.file.reference and path.is_file()):
            return None
        from harness.metrics.features import ReferenceFeatures

        return ReferenceFeatures.read(path)


def failed_in(rows: pd.DataFrame) -> list[Failed]:
    """Those of some rows."""
    failed = rows.loc[rows["status"] != Status.OK, ["id", "status", "error"]]
    return list(failed.itertuples(index=False, name=None))


def _bits(outputs: pa.Table) -> pd.Series:
    """Bits of each code, float64 (n,); NaN of outputs that are no codes of images."""
    # In a run from before rates were stated, every byte counts.
    stated = (
        8.0 * len(payload) if bits is None and height else bits
        for payload, bits, height in zip(
            *(outputs[name].to_pylist() for name in ("payload", "bits", "height")), strict=True
        )
    )
    return pd.Series(stated, dtype="float64")


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    width = column.type.list_size
    chunks = [chunk.flatten().to_numpy().reshape(-1, width) for chunk in column.chunks]
    return np.concatenate(chunks) if chunks else np.empty((0, width), np.float32)


def score(file: RunFile, store: Store, provenance: dict[str, Any]) -> tuple[ResultRecord, Merged]:
    """Compute the result from the stored files alone."""
    merged = Merged(file, store)
    failures = Counter(status for status in merged.rows["status"] if status != Status.OK)
    n_failed = sum(failures.values())
    n = len(file.samples)
    allowed = n_failed <= file.max_failures
    withheld = None
    if not allowed and n_failed > WITHHOLD_ABOVE * n:
        withheld = f"withheld: {n_failed} of {n} samples failed (--max-failures allows more)"
    observations = replace(
        merged.observations(), made_elsewhere=provenance.get("images") == "made elsewhere"
    )
    if withheld is None:
        metrics = _cells(file, observations, n_failed)
    else:
        # What allowing the failures would not give either is said at once.
        metrics = {
            key: absent_cell(key, _missing(key, file.unavailable) or withheld)
            for key in file.metrics
        }
    judges = {name: facts["judge"] for name, facts in file.extractors.items() if "judge" in facts}
    # Of images made elsewhere it would be how fast files are read.
    timed = merged.model_seconds and "images" not in provenance
    rate = merged.ok.sum() / merged.model_seconds if timed else None
    record = ResultRecord(
        run_id=file.run_id,
        task=file.task,
        task_version=file.task_version,
        model=file.model.title,
        model_digest=file.model.digest,
        protocol=file.protocol.name,
        protocol_digest=file.protocol.digest,
        dataset=file.dataset,
        dataset_digest=file.dataset_digest,
        seed=file.seed,
        n=n,
        n_failed=n_failed,
        failures=dict(sorted(failures.items())),
        status=RunStatus.COMPLETE if allowed else RunStatus.INCOMPLETE,
        metrics=metrics,
        provenance={
            **provenance,
            "images_per_second": rate,
            **({"judges": judges} if judges else {}),
            **({"notice": file.notice} if file.notice else {}),
            **({"codes": stated} if (stated := _with_tokens(file.model, merged).stated) else {}),
        },
    )
    return record, merged


def _with_tokens(card: ModelCard, merged: Merged) -> ModelCard:
    """The card with the tokens of a 256x256 image, by the rate of those that the run encoded.

    Bits are tokens x log2(codebook size), or tokens x channels x bits of the latents' dtype.
    """
    codes = card.codebook or card.latents
    if card.tokens is not None or codes is None:
        return card
    rows = merged.rows[merged.ok]
    whole = rows[(rows["height"] == IMAGE_SIDE) & (rows["width"] == IMAGE_SIDE)]
    rates = whole["bits"].unique()
    tokens = round(rates[0] / codes.bits(1)) if len(rates) == 1 and rates[0] > 0 else 0
    if tokens == 0 or not math.isclose(codes.bits(tokens), rates[0], rel_tol=1e-9):
        return card
    return card.model_copy(update={"tokens": tokens})


def _cells(file: RunFile, observations: Observations, n_failed: int) -> dict[str, MetricValue]:
    """The run's metrics, and behind each that is withheld what can be had in its place."""
    given = (observations, file.protocol.settings, file.unavailable, n_failed)
    cells: dict[str, MetricValue] = {}
    for key in file.metrics:
        cells[key] = cell_of(key, *given)
        instead = getattr(metric(key), "instead", "")
        if instead and cells[key].status.startswith("withheld") and instead not in file.metrics:
            other = cell_of(instead, *given)
            if other.value is not None:
                cells[instead] = other
    return cells


def absent_cell(key: str, status: str) -> MetricValue:
    """The cell of a metric without a value; `status` says why."""
    return MetricValue.absent(status, higher_is_better=metric(key).higher_is_better)


def _missing(key: str, unavailable: Mapping[str, str]) -> str:
    """Why what a metric needs could not run; empty where all of it could."""
    return next((unavailable[need] for need in metric(key).needs if need in unavailable), "")


def cell_of(
    key: str,
    observations: Observations,
    settings: Mapping[str, Any],
    unavailable: Mapping[str, str],
    n_failed: int = 0,
) -> MetricValue:
    """Compute a metric, or say why it has no value; `unavailable` does so by extractor."""
    plugin = metric(key)
    if missing := _missing(key, unavailable):
        return absent_cell(key, missing)
    try:
        with others_code():
            cell = plugin.score(observations, settings)
    except Unavailable as reason:
        return absent_cell(key, reason.status)
    facts = {"n_failed": n_failed, "higher_is_better": plugin.higher_is_better}
    return cell.model_copy(update=facts)


def write_result(store: Store, record: ResultRecord, merged: Merged) -> None:
    """Write `samples.parquet`, then `record.json`, each whole or not at all."""
    store.write_table(ROWS_FILE, pa.Table.from_pandas(merged.rows, preserve_index=False))
    store.write_record("record.json", record)
