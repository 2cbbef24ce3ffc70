"""Two processes on a CPU share out the encoding, train as one does and resume exactly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.uniwetok.train.tiny import needs_sharding

SCRIPT = """
import dataclasses, sys
from pathlib import Path
from tests.uniwetok.train.ar.tiny import TINY_AR, tiny_tokenizer
from uniwetok.train.ar.run import train_ar
from uniwetok.train.codes import blocks
from uniwetok.train.data.opening import open_images
photos, out, processes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
blocks.BLOCK = 2
def run(name, steps, **changes):
    config = dataclasses.replace(TINY_AR, steps=steps, grid_every=steps, **changes)
    train_ar(config, open_images(photos), tiny_tokenizer(), out / "codes", out / name, device="cpu")
parts = 2 // processes
run("whole", 4, accumulation=parts)
run("resumed", 2, accumulation=parts)
run("resumed", 4, accumulation=parts)
if processes > 1:
    run("sharded", 2, shard=True)
    run("sharded", 4, shard=True)
"""


def launch(script: Path, photos: Path, out: Path, processes: int) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(processes), str(script)),
            *(str(photos), str(out), str(processes)),
        ],
        env=os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
        capture_output=True,
    )


@needs_sharding
@pytest.mark.slow
def test_processes_share_the_work(tmp_path: Path, photo_folder: Path) -> None:
    """Two processes, copied or sharded, train as one that accumulates two parts."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    for processes in (1, 2):
        launch(script, photo_folder / "val", tmp_path / str(processes), processes)
    codes = [(tmp_path / name / "codes" / "codes.npy").read_bytes() for name in ("1", "2")]
    assert codes[0] == codes[1]

    def weights(run: str) -> dict[str, torch.Tensor]:
        return load_file(tmp_path / run / "model" / "model.safetensors")

    for processes in ("1", "2"):
        whole, resumed = weights(f"{processes}/whole"), weights(f"{processes}/resumed")
        assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())
    alone = weights("1/whole")
    for run in ("2/whole", "2/sharded"):
        for name, weight in weights(run).items():
            torch.testing.assert_close(weight, alone[name], rtol=0, atol=1e-6, msg=f"{run} {name}")
    (picture,) = (tmp_path / "2" / "sharded" / "pictures").glob("step-00000004.png")
    assert picture.stat().st_size > 0
