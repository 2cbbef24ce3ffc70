"""Questions shared out over GPUs, each with the model on its own: the replies of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import REPOSITORY
from tests.tasks.vqa.copies import write_copies
from tests.uniwetok.mllm import toys

pytest.importorskip("lmms_eval")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two devices"),
]


def test_two_gpus_give_the_replies_of_one(tmp_path: Path) -> None:
    write_copies(tmp_path / "copies")
    model = f"uniwetok-chat:{toys.saved(tmp_path / 'model')}"
    replies = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        launcher += ["--nproc-per-node", str(processes), "-m", "uwt_eval", "run", "pope", "mmmu"]
        given = ["--model", model, "--data", str(tmp_path / "copies"), "--out", str(out)]
        # Batches of two make windows of eight: a suite of six questions is one process's alone.
        for batch in ("1", "2"):
            subprocess.run(
                [*launcher, *given, "--batch-size", batch, "--fresh"],
                check=True,
                cwd=REPOSITORY,
                env={**os.environ, "HF_HOME": str(tmp_path / "hub")},
            )
            replies.append([path.read_bytes() for path in sorted(out.glob("*/replies.jsonl"))])
    assert replies[:2] == replies[2:]
