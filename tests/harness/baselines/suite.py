"""A whole suite through the command line, as a test of any model that answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.tasks.vqa.copies import write_copies


def answered(model: str, folder: Path) -> dict[str, Any]:
    """The record of a model that answered the questions of POPE on a CPU."""
    write_copies(folder / "copies")
    command = [str(Path(sys.executable).parent / "uwt-eval"), "run", "pope", "--json"]
    command += ["--model", model, "--data", str(folder / "copies")]
    command += ["--out", str(folder / "runs"), "--device", "cpu"]
    environment = {**os.environ, "HF_HOME": str(folder / "hub")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    record: dict[str, Any]
    (record,) = json.loads(done.stdout)
    return record
