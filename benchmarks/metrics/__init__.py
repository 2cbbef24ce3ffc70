"""The metric engine beside its peers: time, error and memory of both in one run."""

from __future__ import annotations

import os
import subprocess
import sys

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def main(*options: str) -> None:
    """Measure in a fresh process: thread counts have to be set before libraries load."""
    environment = os.environ | dict.fromkeys(_THREADS, "1")
    command = [sys.executable, "-m", "benchmarks.metrics", *options]
    finished = subprocess.run(command, env=environment, check=False)
    if finished.returncode:
        sys.exit(finished.returncode)
