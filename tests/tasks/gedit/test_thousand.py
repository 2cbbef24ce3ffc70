"""A thousand judged samples, an endpoint that fails one call in five, and a kill in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from tests.harness.judges.endpoint import one_in_five
from tests.tasks.gedit.conftest import Bench
from tests.tasks.gedit.small import write_data, write_edits

AT_ONCE = 8


def carried_out(bench: Bench, packages: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(packages)])}
    arguments = [*map(str, bench.arguments()), "--max-failures", "2000"]
    command = [sys.executable, "-m", "uwt_eval", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_every_failure_is_accounted_for_and_no_paid_reply_is_lost(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.data = write_data(tmp_path / "thousand", each=91)
    bench.edits = write_edits(tmp_path / "thousand-edits", bench.data)
    monkeypatch.setenv("UWT_EVAL_JUDGE_TIMEOUT", "0.5")
    monkeypatch.setenv("UWT_EVAL_JUDGE_CONCURRENCY", str(AT_ONCE))
    packages = tmp_path / "packages"
    endpoint = bench.endpoint
    endpoint.fault = one_in_five()
    process = carried_out(bench, packages)

    def kill(number: int) -> None:
        if number == 900:
            process.send_signal(signal.SIGKILL)
            process.wait()

    endpoint.before = kill
    assert process.wait(600) == -signal.SIGKILL
    paid_before = endpoint.paid.copy()
    endpoint.before = lambda number: None
    assert carried_out(bench, packages).wait(900) == 0
    (folder,) = bench.runs.iterdir()
    rows = pd.read_parquet(folder / "samples.parquet")
    record = json.loads((folder / "record.json").read_text())
    assert len(rows) == record["n"] == 1001
    counts = Counter(rows["status"])
    assert record["failures"] == {name: n for name, n in counts.items() if name != "ok"}
    assert set(counts) <= {"ok", "parse_error", "judge_error"}
    replies = [json.loads(text) for text in rows["replies"]]
    kept = sum(len(texts[kind]) for (texts,) in replies for kind in ("SC", "PQ"))
    refused = sum(len(texts.get("refused", ())) for (texts,) in replies)
    assert refused == endpoint.faults["refusal"]
    # A reply that was under way when the process died is all that may be paid again.
    assert kept <= endpoint.paid.total() <= kept + AT_ONCE
    twice = [digest for digest in paid_before if endpoint.paid[digest] > paid_before[digest]]
    assert len(twice) - refused <= AT_ONCE
    asked = len(endpoint.bodies)
    assert carried_out(bench, packages).wait(300) == 0
    assert len(endpoint.bodies) - asked == 2 * counts["judge_error"]
