"""Two processes on a CPU, copied or sharded, train as one does and resume exactly.

Also where the resumed run keeps only the inputs of its layers and of the head's blocks.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.uniwetok.train.mllm.tiny import write_data, write_language_model, write_tokenizer
from tests.uniwetok.train.tiny import needs_sharding

SCRIPT = """
import dataclasses, sys
from pathlib import Path
from tests.uniwetok.train.mllm.tiny import tiny_run
from uniwetok.train.mllm.data.opening import open_records
from uniwetok.train.mllm.run import train_mllm
root, out = map(Path, sys.argv[1:3])
run = tiny_run(root / "qwen", shard="sharded" in out.name)
# Where a gradient is 0 but for rounding, a smaller epsilon would make whole steps of it.
run = dataclasses.replace(run, optimizer=dataclasses.replace(run.optimizer, epsilon=1e-6))
for name, steps, again in (("whole", 4, False), ("parts", 2, False), ("parts", 4, True)):
    config = dataclasses.replace(run, steps=steps, gradient_checkpointing=again)
    source = open_records(root / "data.jsonl")
    train_mllm(config, source, root / "tokenizer", out / "codes", out / name, device="cpu")
"""


@needs_sharding
@pytest.mark.slow
def test_processes_train_alike(tmp_path: Path) -> None:
    write_data(tmp_path)
    write_language_model(tmp_path / "qwen")
    write_tokenizer(tmp_path / "tokenizer")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    for name in ("copied", "sharded"):
        subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *("--nproc-per-node", "2", str(script), str(tmp_path), str(tmp_path / name)),
            ],
            env=os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"},
            check=True,
            timeout=600,
        )
        whole, parts = (_weights(tmp_path / name / run) for run in ("whole", "parts"))
        assert all(torch.equal(value, parts[key]) for key, value in whole.items())
    copied, sharded = (_weights(tmp_path / name / "whole") for name in ("copied", "sharded"))
    for key, value in copied.items():
        assert torch.allclose(value, sharded[key], atol=2e-5), key


def _weights(out: Path) -> dict[str, torch.Tensor]:
    names = ("model", "vision_head", "projector")
    return {
        f"{name}.{key}": value
        for name in names
        for key, value in load_file(out / "model" / f"{name}.safetensors").items()
    }
