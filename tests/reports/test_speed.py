"""A thousand records in each command: seconds, and nothing heavy imported."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reports.runs import read_record, write_record, write_run

MOST_SECONDS = 12
"""Of processor time; an idle machine takes one or two."""
CODE = """
import sys
from harness.cli import main
try: main()
except SystemExit as stop: assert not stop.code, stop.code
heavy = {'torch', 'torchvision', 'pandas', 'pyarrow', 'numpy', 'scipy'} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 1,000 records, and the same in one file."""
    folder = tmp_path_factory.mktemp("many")
    record = read_record(write_run(folder / "one"))
    records = []
    for index in range(1000):
        metrics = {"psnr": record["metrics"]["psnr"] | {"value": 20 + index / 500}}
        for other in ("ssim", "lpips_alex", "lpips_vgg", "rfid", "bpp", "usage_pooled"):
            metrics[other] = metrics["psnr"]
        new = record | {"run_id": f"run-{index}", "model": f"model {index}", "metrics": metrics}
        write_record(folder / "runs" / f"run-{index}" / "record.json", new)
        records.append(new)
    write_record(folder / "all.json", records)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        "report all --runs {0}/runs --format html --out {0}/t.html",
        "leaderboard {0}/runs --out {0}/L.md --html {0}/L.html",
        "gate {0}/runs --baseline {0}/all.json --markdown {0}/gate.md",
    ],
    ids=["report", "leaderboard", "gate"],
)
def test_a_thousand_records(thousand: Path, words: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(
        [sys.executable, "-c", CODE, *words.format(thousand).split()],
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0, result.stderr
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < MOST_SECONDS
