"""Run directories as `uwt-eval run` leaves them, made from given figures in no time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from harness.data.manifest import dataset_digest
from harness.engine.run_file import RunFile, run_id
from harness.interfaces.types import (
    MetricValue,
    ModelCard,
    Protocol,
    ResultRecord,
    RunStatus,
    Sample,
    digest_of,
)
from harness.metrics.stats import RESAMPLES, averaging_weights, mean_interval

BETTER = {
    **{"psnr": True, "ssim": True, "rfid": False, "bpp": False, "top1": True},
    **{"cer": False, "face_similarity": True},
}
PROVENANCE = {
    "command": ["uwt-eval", "run"],
    "code": {"commit": "0123456789abcdef", "dirty": False},
    "packages": {"uwt-eval": "0.1.0"},
    "finished": "2026-01-02T03:04:05+00:00",
}


def cell(value: float, half: float | None = None, *, metric: str = "rfid", n: int = 4) -> Any:
    """A figure of a whole set."""
    low, high = (None, None) if half is None else (value - half, value + half)
    return MetricValue(
        value=value, ci_low=low, ci_high=high, n=n, higher_is_better=BETTER.get(metric)
    )


def write_run(
    folder: Path,
    model: str = "toy",
    *,
    columns: Mapping[str, Sequence[float]] | None = None,
    sets: Mapping[str, MetricValue] | None = None,
    task: str = "imagenet-recon",
    protocol: str = "wetok",
    settings: Mapping[str, Any] | None = None,
    dataset: str = "photos",
    seed: int = 0,
    failed: Mapping[int, str] | None = None,
    pictures: Sequence[int] = (),
    intervals: bool = True,
    ids: Sequence[str] = (),
    side: int = 64,
    code: str = "",
) -> Path:
    """Write `run.json`, `samples.parquet` and `record.json`; the run's folder below `folder`.

    `columns` holds a value a sample; `failed` the status of samples by place.
    Without `intervals` the intervals are of two draws; pictures are `side` pixels wide.
    `code` is a plug-in's, whose digest is a part of the model's.
    """
    columns = {"psnr": [20.0, 21.0, 22.0, 23.0]} if columns is None else columns
    failed = failed or {}
    n = len(next(iter(columns.values())))
    ids = list(ids) or [f"photo-{index}" for index in range(n)]
    samples = tuple(
        Sample(id=name, index=index, sha256=digest_of(name)) for index, name in enumerate(ids)
    )
    rules = Protocol(name=protocol, title=protocol, settings=dict(settings or {"uint8": "round"}))
    card = ModelCard(
        name=model, config={"model": model}, code_sha256=digest_of(code) if code else None
    )
    digest = dataset_digest(samples)
    name = run_id(task, card, rules, digest, seed)
    root = folder / name
    root.mkdir(parents=True)
    file = RunFile(
        run_id=name,
        task=task,
        task_version=1,
        protocol=rules,
        model=card,
        dataset=dataset,
        dataset_digest=digest,
        notice="",
        seed=seed,
        block_size=4,
        max_failures=0,
        small_sets=False,
        metrics=(*columns, *(sets or {})),
        extractors={},
        unavailable={},
        samples=samples,
        provenance=PROVENANCE,
    )
    (root / "run.json").write_text(json.dumps(file.model_dump(mode="json")), encoding="utf-8")
    status = [failed.get(index, "ok") for index in range(n)]
    ok = np.array([each == "ok" for each in status])
    rows = pd.DataFrame(
        {
            "id": ids,
            "status": status,
            "error": ["broken" if each != "ok" else "" for each in status],
        }
        | {name: np.where(ok, values, np.nan) for name, values in columns.items()}
    )
    rows.to_parquet(root / "samples.parquet", index=False)
    weights = averaging_weights(int(ok.sum()), rules.settings.get("averaging", {}))
    resamples = RESAMPLES if intervals else 2
    metrics = {
        name: _mean(np.asarray(values, float)[ok], weights, seed, resamples, BETTER.get(name))
        for name, values in columns.items()
    }
    record = ResultRecord(
        run_id=name,
        task=task,
        task_version=1,
        model=model,
        model_digest=card.digest,
        protocol=protocol,
        protocol_digest=rules.digest,
        dataset=dataset,
        dataset_digest=digest,
        seed=seed,
        n=n,
        n_failed=len(failed),
        failures={each: status.count(each) for each in sorted(set(status) - {"ok"})},
        status=RunStatus.INCOMPLETE if failed else RunStatus.COMPLETE,
        metrics=metrics | dict(sets or {}),
        provenance=PROVENANCE,
    )
    write_record(root / "record.json", record.model_dump(mode="json"))
    for index in pictures:
        (root / "pictures").mkdir(exist_ok=True)
        colour = (40 * index % 256, len(model) * 20 % 256, 128)
        Image.new("RGB", (side, side * 3 // 4), colour).save(root / "pictures" / f"{index:06d}.png")
    return root


def _mean(
    values: np.ndarray, weights: np.ndarray, seed: int, resamples: int, better: bool | None
) -> MetricValue:
    finite = np.isfinite(values)
    low, high, method = mean_interval(values[finite], seed, weights[finite], resamples=resamples)
    return MetricValue(
        value=float(np.average(values[finite], weights=weights[finite])),
        ci_low=low,
        ci_high=high,
        n=int(finite.sum()),
        higher_is_better=better,
        method=method,
    )


def write_record(path: Path, content: Any) -> Path:
    """Write JSON as records are written; NaN and infinities as they come."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read_record(root: Path) -> dict[str, Any]:
    """The JSON of a run's record."""
    content: dict[str, Any] = json.loads((root / "record.json").read_text(encoding="utf-8"))
    return content


def change_record(root: Path, **fields: Any) -> Path:
    """Overwrite fields of a run's record; the record's path."""
    return write_record(root / "record.json", read_record(root) | fields)
