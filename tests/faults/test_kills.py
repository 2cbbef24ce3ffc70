"""Work that is killed again and again, at any moment, ends in the bits of work that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import REPOSITORY
from tests.tasks.gedit.conftest import Bench, bench
from tests.uniwetok.test_commands import arguments as training
from uniwetok.train.engine.logs import read_log

__all__ = ["bench"]

KILLS = 20
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--no-python", "--nproc-per-node", "2"]
SCRIPT = str(Path(sys.executable).parent / "uwt-eval")
Count = Callable[[str, str], None]


@pytest.fixture
def folder(tmp_path: Path, photos: list[Image.Image]) -> Path:
    """Two dozen crops of photos."""
    root = tmp_path / "photos"
    root.mkdir()
    for index in range(24):
        photo = photos[index % len(photos)]
        left = 8 * index % (photo.width - 128)
        photo.crop((left, 0, left + 128, 128)).save(root / f"{index:02d}.png")
    return root


def start(arguments: list[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[str]:
    """Start Python in a session of its own, so that all its children can be killed with it."""
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-P", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )


def wait_for_workers(out: Path) -> None:
    """Workers of torchrun, in sessions of their own, end by themselves once it is gone."""
    deadline = time.monotonic() + 60
    while subprocess.run(["pgrep", "-f", str(out)], capture_output=True, check=False).stdout:
        assert time.monotonic() < deadline, f"processes that write to {out} outlive torchrun"
        time.sleep(0.1)


def kill_again_and_again(
    command: Callable[[Path], list[str]],
    result: Callable[[Path, str], Any],
    tmp_path: Path,
    count: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
    codes: tuple[int, ...] = (0,),
) -> None:
    """Kill a command `KILLS` times, going on each time; its result must be the undisturbed one.

    Args:
        command: Python's arguments, with a folder to write to.
        result: what must be equal, of that folder and of what was printed.
        tmp_path: for folders.
        count: called with what became of each kill.
        environment: of the processes.
        codes: how a command may end that was left alone.
    """
    chosen, log = random.Random(0), tmp_path / "log.txt"

    def finish(out: Path) -> Any:
        for _ in range(4):  # A failing endpoint may take a second run.
            code = start(command(out), environment or {}, log).wait(600)
            assert code in codes, log.read_text()
            if code == 0:
                return result(out, log.read_text())
        raise AssertionError(log.read_text())

    began = time.monotonic()
    expected = finish(tmp_path / "whole")
    whole = time.monotonic() - began
    folders = 0
    for kill in range(KILLS):
        out = tmp_path / f"killed-{folders}"
        process = start(command(out), environment or {}, log)
        # Most of a short command is starting up; the last third is where its files are written.
        time.sleep(whole * (1 - chosen.random() ** 2 * 0.7))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)
            wait_for_workers(out)
            count("killed at work")
        else:
            count("had ended before")
        if process.returncode == 0 or kill == KILLS - 1:
            assert finish(out) == expected
            folders += 1


def record_of(out: Path, _: str) -> Any:
    (path,) = out.glob("*/record.json")
    record = json.loads(path.read_text())
    return {name: record[name] for name in ("run_id", "metrics", "n", "n_failed", "dataset_digest")}


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.usefixtures("provide_weights")
def test_runs(processes: int, folder: Path, tmp_path: Path, count: Count) -> None:
    def command(out: Path) -> list[str]:
        run = ["run", "imagenet-recon", "-m", "webp", "--data", str(folder), "--out", str(out)]
        run += ["--metrics", "psnr,ssim,bpp", "--quiet"]
        return ["-m", "uwt_eval", *run] if processes == 1 else [*TORCHRUN, SCRIPT, *run]

    kind = "SIGKILL of run" if processes == 1 else "SIGKILL of run under torchrun"
    kill_again_and_again(command, record_of, tmp_path, lambda outcome: count(kind, outcome))


@pytest.mark.parametrize(("task", "reads"), [("text-recon", "rapidocr"), ("face-recon", "dlib")])
def test_runs_that_read_text_and_faces(task: str, reads: str, tmp_path: Path, count: Count) -> None:
    pytest.importorskip(reads)

    def command(out: Path) -> list[str]:
        run = ["run", task, "-m", "jpeg", "--limit", "12", "--out", str(out), "--quiet"]
        return ["-m", "uwt_eval", *run]

    kill_again_and_again(
        command, record_of, tmp_path, lambda outcome: count(f"SIGKILL of {task}", outcome)
    )


def test_training(photo_folder: Path, tmp_path: Path, count: Count) -> None:
    def command(out: Path) -> list[str]:
        given = training(photo_folder, out, "steps=24")
        return ["-m", "uwt_eval", *given, "--device", "cpu", "--quiet"]

    def result(out: Path, _: str) -> Any:
        losses = [row["loss"] for row in read_log(out)]
        return losses, (out / "model" / "model.safetensors").read_bytes()

    def told(outcome: str) -> None:
        count("SIGKILL of train", outcome)

    kill_again_and_again(command, result, tmp_path, told)


def test_metrics_of_folders(folder: Path, tmp_path: Path, count: Count) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in folder.iterdir():
        Image.open(path).save(other / f"{path.stem}.png")
        Image.open(path).convert("L").convert("RGB").save(other / path.name)

    def command(out: Path) -> list[str]:
        # The cache is what a kill could leave half-written.
        return ["-m", "uwt_eval", "metrics", str(folder), str(other), "--metrics", "psnr,ssim",
                "--json", "--quiet"]  # fmt: skip

    def result(out: Path, printed: str) -> Any:
        return [record["metrics"] for record in json.loads(printed[printed.index("[") :])]

    def told(outcome: str) -> None:
        count("SIGKILL of metrics", outcome)

    kill_again_and_again(command, result, tmp_path, told)


def test_a_judge_that_fails(
    bench: Bench, tmp_path: Path, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()

    def fault(number: int) -> str:
        """Two of five requests fail; an eighth get garbage first, which is waited for."""
        if number < 0:
            return ""  # It is only asked whether it is there.
        body = json.dumps(bench.endpoint.bodies[number])
        asked[body] += 1
        if asked[body] == 1 and zlib.crc32(body.encode()) % 8 == 0:
            return "garbage"
        return {0: "500", 2: "429"}.get(number % 5, "")

    bench.endpoint.fault = fault
    bench.endpoint.pause = 0.01

    def command(out: Path) -> list[str]:
        bench.runs = out
        asked.clear()
        # Replies that another folder's run was given would leave the judge nothing to do.
        monkeypatch.setenv("UWT_EVAL_CACHE", f"{out}-cache")
        return ["-m", "uwt_eval", *map(str, bench.arguments())]

    def told(outcome: str) -> None:
        count("SIGKILL of gedit with a failing judge", outcome)

    packages = {"PYTHONPATH": str(tmp_path / "packages")}
    kill_again_and_again(command, record_of, tmp_path, told, packages, codes=(0, 3))
