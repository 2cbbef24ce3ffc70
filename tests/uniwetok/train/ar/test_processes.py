"""Two processes on a CPU share out the encoding, train alike and resume exactly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import dataclasses, sys
from pathlib import Path
from tests.uniwetok.train.ar.tiny import TINY_AR, tiny_tokenizer
from uniwetok.train.ar.run import train_ar
from uniwetok.train.codes import build
from uniwetok.train.data import open_images
photos, out = map(Path, sys.argv[1:3])
build._BLOCK = 2
for name, steps in (("whole", 4), ("parts", 2), ("parts", 4)):
    config = dataclasses.replace(TINY_AR, steps=steps)
    train_ar(config, open_images(photos), tiny_tokenizer(), out / "codes", out / name, device="cpu")
"""


@pytest.mark.slow
def test_processes_share_the_work(tmp_path: Path, photo_folder: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    for processes in (1, 2):
        subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *("--nproc-per-node", str(processes), str(script)),
                *(str(photo_folder / "val"), str(tmp_path / str(processes))),
            ],
            env=os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"},
            check=True,
            timeout=300,
            capture_output=True,
        )
    codes = [(tmp_path / name / "codes" / "codes.npy").read_bytes() for name in ("1", "2")]
    assert codes[0] == codes[1]
    for name in ("1", "2"):
        models = [
            tmp_path / name / run / "model" / "model.safetensors" for run in ("whole", "parts")
        ]
        assert models[0].read_bytes() == models[1].read_bytes()
