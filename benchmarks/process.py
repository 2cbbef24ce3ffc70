"""A fresh process for measurements in one thread."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def run_in_one_thread(module: str, options: Sequence[str]) -> None:
    """Run a module in a fresh process: thread counts have to be set before libraries load.

    Raises:
        SystemExit: the process failed; with its code.
    """
    environment = os.environ | dict.fromkeys(_THREADS, "1")
    command = [sys.executable, "-m", module, *options]
    finished = subprocess.run(command, env=environment, check=False)
    if finished.returncode:
        sys.exit(finished.returncode)
