"""Runs that go on with another number of processes, and several processes that stop as one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.uniwetok.test_commands import arguments
from tests.uniwetok.train.mllm.tiny import write_data, write_language_model, write_tokenizer
from uniwetok.train.engine.checkpoints import Checkpoints
from uniwetok.train.engine.logs import read_log

SCRIPT = """
import dataclasses, sys
from pathlib import Path
from tests.uniwetok.train.ar.tiny import TINY_AR, tiny_tokenizer
from tests.uniwetok.train.mllm.tiny import tiny_run
from tests.uniwetok.train.tiny import TINY
from uniwetok.train.ar.run import train_ar
from uniwetok.train.codes import blocks
from uniwetok.train.data.opening import open_images
from uniwetok.train.mllm.data.opening import open_records
from uniwetok.train.mllm.run import train_mllm
from uniwetok.train.tokenizer.run import train

photos, root, out, steps, parts = *map(Path, sys.argv[1:4]), *map(int, sys.argv[4:])
changes = {"steps": steps, "log_every": 1}
blocks.BLOCK = 2
alone = dataclasses.replace(TINY.loss, adversarial=None)
config = dataclasses.replace(TINY, loss=alone, accumulation=parts, **changes)
train(config, open_images(photos), out / "tokenizer", device="cpu")
config = dataclasses.replace(TINY_AR, accumulation=parts, **changes)
train_ar(
    config, open_images(photos), tiny_tokenizer(), root / "codes", out / "ar", device="cpu"
)
config = tiny_run(root / "qwen", **changes)
records = open_records(root / "data.jsonl")
train_mllm(config, records, root / "tokenizer", root / "images", out / "mllm", device="cpu")
"""
LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_losses_go_on_with_another_number_of_processes(tmp_path: Path, photo_folder: Path) -> None:
    """One, two and one again: as one alone, within rounding.

    Of the tokenizer without its discriminator, whose LeCAM averages each process keeps for itself.
    """
    write_data(tmp_path)
    write_language_model(tmp_path / "qwen")
    write_tokenizer(tmp_path / "tokenizer")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    for name, processes, steps in (
        ("whole", 1, 6),
        ("moved", 1, 2),
        ("moved", 2, 4),
        ("moved", 1, 6),
    ):
        given = (photo_folder / "val", tmp_path, tmp_path / name, steps, 2 // processes)
        subprocess.run(
            [*LAUNCH, str(processes), str(script), *map(str, given)],
            env=ENVIRONMENT,
            check=True,
            timeout=300,
        )
    for recipe in ("tokenizer", "ar", "mllm"):
        whole, moved = (
            [row["loss"] for row in read_log(tmp_path / name / recipe)]
            for name in ("whole", "moved")
        )
        assert moved[:2] == whole[:2]
        assert moved == pytest.approx(whole, rel=1e-4), recipe


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_two_processes_stop_after_the_same_step(
    tmp_path: Path, photo_folder: Path, number: int
) -> None:
    """As Slurm and the terminal tell them: torchrun and all its processes at once."""
    given = arguments(photo_folder, tmp_path, "steps=500", "checkpoint_every=1000", "batch_size=2")
    run = subprocess.Popen(
        [*LAUNCH, "2", "-m", "uwt_eval", *given, "--device", "cpu"],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while len(read_log(tmp_path)) < 3:
        assert run.poll() is None
        time.sleep(0.05)
    os.killpg(run.pid, number)
    said = run.communicate(timeout=120)[1]
    assert run.returncode != 0
    (step,) = Checkpoints(tmp_path / "checkpoints").steps()
    assert f"stopped after step {step} of 500" in said
    assert read_log(tmp_path)[-1]["step"] == step
