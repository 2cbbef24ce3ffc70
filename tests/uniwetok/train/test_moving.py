"""Runs that go on with another number of processes, and several processes that stop as one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.uniwetok.test_commands import arguments
from tests.uniwetok.train.mllm.tiny import write_data, write_language_model, write_tokenizer
from tests.uniwetok.train.tiny import needs_sharding
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

photos, root, out, steps, parts, shard = *map(Path, sys.argv[1:4]), *map(int, sys.argv[4:])
changes = {"steps": steps, "log_every": 1, "batch_size": 4, "shard": bool(shard)}
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
@pytest.mark.parametrize(
    "moves",
    [
        pytest.param([(1, 2, False), (2, 4, False), (1, 6, False)], id="copied"),
        pytest.param(
            [(1, 1, False), (2, 2, True), (4, 3, True), (1, 4, False)],
            id="sharded",
            marks=needs_sharding,
        ),
    ],
)
def test_losses_go_on_with_another_number_of_processes(
    tmp_path: Path, photo_folder: Path, moves: list[tuple[int, int, bool]]
) -> None:
    """By processes, steps and whether they shard: as one alone, within rounding.

    Few steps: where a bit of the codes flips for its rounding, two runs go ways of their own.

    Of the tokenizer without its discriminator, whose LeCAM averages each process keeps for itself.
    """
    write_data(tmp_path)
    write_language_model(tmp_path / "qwen")
    write_tokenizer(tmp_path / "tokenizer")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    runs = [("whole", (1, moves[-1][1], False)), *(("moved", move) for move in moves)]
    for name, (processes, steps, shard) in runs:
        out = tmp_path / name
        given = (photo_folder / "val", tmp_path, out, steps, 4 // processes, int(shard))
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
        alone = moves[0][1]
        assert moved[:alone] == whole[:alone]
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


@needs_sharding
@pytest.mark.slow
def test_a_killed_process_starts_all_again_from_the_last_checkpoint(
    tmp_path: Path, photo_folder: Path
) -> None:
    """By torchrun, whose store still holds the addresses of the dead; killed as they write."""
    settings = ("steps=12", "checkpoint_every=1", "log_every=1", "batch_size=2", "shard=true")
    run = subprocess.Popen(
        [
            *(*LAUNCH, "2", "--max-restarts", "2", "-m", "uwt_eval"),
            *(*arguments(photo_folder, tmp_path, *settings), "--device", "cpu"),
        ],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for least in (2, 6):
        while not any(step >= least for step in checkpoints.steps()):
            assert run.poll() is None
            time.sleep(0.01)
        workers = psutil.Process(run.pid).children()
        random.Random(least).choice(workers).kill()
    said = run.communicate(timeout=240)[1]
    assert run.returncode == 0, said
    assert checkpoints.steps() == [11, 12]
    steps = [row["step"] for row in read_log(tmp_path)]
    assert steps == list(range(1, 13))
