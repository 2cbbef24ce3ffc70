"""How much of the code somebody has to read who wants to know where a PSNR comes from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_psnr_is_at_most_forty_files_away() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "journey"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.splitlines()
    assert "tasks/recon/task.py" in done.stdout
    assert int(last.split()[0]) <= 40, done.stdout
