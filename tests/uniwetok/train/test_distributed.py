"""Two processes on a CPU: copied and sharded weights train alike, and resume exactly.

Also where the resumed run keeps only its blocks' inputs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.uniwetok.train.tiny import needs_sharding
from uniwetok.train.engine.logs import read_log

SCRIPT = """
import dataclasses, sys
from pathlib import Path
from tests.uniwetok.train.tiny import TINY
from uniwetok.train.data.opening import open_images
from uniwetok.train.engine.loop import Hooks
from uniwetok.train.tokenizer.run import train
photos, out = sys.argv[1:3]
def run(name, steps, shard, **changes):
    config = dataclasses.replace(TINY, steps=steps, shard=shard, **changes)
    hooks = Hooks(validate=lambda model, step: {"psnr": float(step)})
    train(config, open_images(photos), Path(out) / name, device="cpu", hooks=hooks)
run("copied", 4, False, validate_every=2)
run("sharded", 4, True)
run("resumed", 2, True)
run("resumed", 4, True, gradient_checkpointing=True)
"""


@needs_sharding
@pytest.mark.slow
def test_copied_sharded_and_resumed_runs_agree(tmp_path: Path, photo_folder: Path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    subprocess.run(
        [*command, "--nproc-per-node", "2", str(script), str(photo_folder), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
        capture_output=True,
    )
    rows = [row for row in read_log(tmp_path / "copied") if row["kind"] == "validation"]
    assert [(row["step"], row["psnr"]) for row in rows] == [(2, 2.0), (4, 4.0)]
    copied, sharded, resumed = (
        load_file(tmp_path / name / "model" / "model.safetensors")
        for name in ("copied", "sharded", "resumed")
    )
    for name, weight in sharded.items():
        torch.testing.assert_close(copied[name], weight, rtol=0, atol=1e-6)
        assert torch.equal(resumed[name], weight), name


JOINED = """
from tests.uniwetok.train.tiny import TINY
from uniwetok.train.tokenizer.trainer import TokenizerTrainer
print(f"joined {TokenizerTrainer(TINY).accelerator.num_processes}")
"""


def test_processes_train_together_where_there_is_no_gpu(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(JOINED)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", str(script)),
        ],
        env=os.environ | {"PYTHONPATH": str(Path.cwd()), "CUDA_VISIBLE_DEVICES": ""},
        check=True,
        timeout=300,
        capture_output=True,
        text=True,
    )
    assert done.stdout.count("joined 2") == 2
    assert "broadcast_buffers" not in done.stderr
