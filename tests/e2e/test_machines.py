"""Several processes and machines, real ones of torchrun: the bits of one process that ran alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from torch.distributed import TCPStore

from tests.e2e.test_run import parts, result_of

pytestmark = pytest.mark.slow
TORCHRUN = [sys.executable, "-P", "-m", "torch.distributed.run", "--no-python"]
SCRIPT = str(Path(sys.executable).parent / "uwt-eval")
LIMIT = 300
"""Seconds against a hang."""

DYING = """
import os
from pathlib import Path

from harness.baselines.codecs import Jpeg
from harness.interfaces.registry import MODELS

calls = 0

@MODELS.register("dying-jpeg")
class DyingJpeg(Jpeg):
    # Every folder below DEATHS, such as 1-5, kills process 1 of a run once, at its fifth image.
    def encode(self, images):
        global calls
        calls += 1
        place = Path(os.environ["DEATHS"], f"{os.environ.get('RANK', '0')}-{calls}")
        if place.is_dir():
            place.rmdir()
            os._exit(9)
        return super().encode(images)
"""


def start(
    launcher: list[str], *arguments: object, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start `uwt-eval` on two cores: one for each process, so that blocks are worked on in turn."""
    return subprocess.Popen(
        [*launcher, SCRIPT, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2]),
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and all that it said."""
    said, _ = process.communicate(timeout=LIMIT)
    return process.returncode, said


def run(folder: Path, out: Path, *more: object) -> tuple[object, ...]:
    given = ("--data", folder, "--device", "cpu", "--metrics", "psnr,ssim,bpp", "--quiet")
    return ("run", "imagenet-recon", *given, "--out", out, *more)


def two_machines(folders: list[Path], out: Path, tmp_path: Path) -> list[tuple[int, str]]:
    """Two agents of torchrun, each with data and a cache of its own; how they end."""
    # They meet at a store that is served from here: no port is free first and then gone.
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    meeting = ["--rdzv-endpoint", f"localhost:{store.port}", "--rdzv-conf", "is_host=false"]
    agents = []
    for rank, folder in enumerate(folders):
        launcher = [*TORCHRUN, "--nnodes", "2", "--node-rank", str(rank), "--nproc-per-node", "1"]
        launcher += ["--rdzv-backend", "c10d", "--rdzv-id", "eval", *meeting]
        cache = {"UWT_EVAL_CACHE": str(tmp_path / f"cache-{rank}")}
        agents.append(start(launcher, *run(folder, out, "-m", "jpeg"), environment=cache))
    return [ended(agent) for agent in agents]


def test_two_machines_with_a_shared_folder(photo_folder: Path, tmp_path: Path) -> None:
    code, said = ended(start([], *run(photo_folder, tmp_path / "alone", "-m", "jpeg")))
    assert code == 0, said
    copy = shutil.copytree(photo_folder, tmp_path / "copy")
    out = tmp_path / "both"
    for code, said in two_machines([photo_folder, copy], out, tmp_path):
        assert code == 0, said
    assert result_of(out) | {"dataset": ""} == result_of(tmp_path / "alone") | {"dataset": ""}
    assert all((tmp_path / f"cache-{rank}" / "digests.sqlite").is_file() for rank in range(2))


def test_a_machine_with_other_data_is_refused(photo_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(photo_folder, tmp_path / "copy")
    one, other, *_ = sorted(copy.rglob("*.png"))
    shutil.copyfile(one, other)
    ends = two_machines([photo_folder, copy], tmp_path / "both", tmp_path)
    assert all(code != 0 for code, _ in ends)
    said = " ".join(" ".join(said.split()) for _, said in ends)
    assert "the data on the machine of process 1 are not those of process 0" in said
    assert said.count("error: ") == 1, "one process speaks for all"
    assert not list((tmp_path / "both").glob("*/record.json"))


def test_other_numbers_of_processes_and_deaths(photo_folder: Path, tmp_path: Path) -> None:
    """One process that dies, then two of which one dies and torchrun restarts both, then one."""
    plugin = tmp_path / "plugin.py"
    plugin.write_text(DYING, encoding="utf-8")
    deaths = {"DEATHS": str(tmp_path / "deaths")}

    def command(out: str) -> tuple[object, ...]:
        return run(tmp_path / "photos", tmp_path / out, "--plugin", plugin, "-m", "dying-jpeg")

    photos = sorted(photo_folder.rglob("*.png"))
    (tmp_path / "photos").mkdir()
    for index in range(22):  # Six blocks.
        shutil.copyfile(photos[index % len(photos)], tmp_path / "photos" / f"{index:02d}.png")
    code, said = ended(start([], *command("alone"), environment=deaths))
    assert code == 0, said
    two = [*TORCHRUN, "--standalone", "--nproc-per-node", "2"]
    kept: dict[str, int] = {}
    for launcher, death, ends in (
        ([], "0-6", 9),
        (two, "1-5", 1),
        ([*two, "--max-restarts", "1"], "1-3", 0),
        ([], "", 0),
    ):
        (tmp_path / "deaths" / death).mkdir(parents=True, exist_ok=True)
        code, said = ended(start(launcher, *command("killed"), environment=deaths))
        assert code == ends, said
        now = parts(tmp_path / "killed")
        assert {path: now[path] for path in kept} == kept, "finished blocks are not made again"
        assert ends == 0 or len(kept) < len(now) < 6
        kept = now
    assert not list((tmp_path / "deaths").glob("*-*"))
    assert result_of(tmp_path / "killed") == result_of(tmp_path / "alone")


SUITE = """
tasks = ["imagenet-recon"]
models = ["jpeg", "webp"]
data = "photos"
metrics = ["psnr"]
device = "cpu"
out = "runs"

[[runs]]
[[runs]]
models = ["jpeg"]
seeds = [1]

[[gates]]
baseline = "base.json"
rules = ["psnr>=-0.05"]
"""


def test_a_suite_is_planned_judged_and_told_by_one_process(
    photo_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(photo_folder, tmp_path / "photos")
    (tmp_path / "suite.toml").write_text(SUITE, encoding="utf-8")
    two = [*TORCHRUN, "--standalone", "--nproc-per-node", "2"]
    suite = ("run", tmp_path / "suite.toml", "--quiet")
    code, said = ended(start(two, *suite))
    assert code == 1, "torchrun's own, whatever a process ends with"
    assert said.count("error: ") == 1, said
    assert "the same command with --update-baseline makes it" in said
    assert not (tmp_path / "runs").exists()
    code, said = ended(start(two, *suite, "--update-baseline"))
    assert code == 0, said
    assert said.count("3 new") == 1
    code, said = ended(start(two, *suite, "--dry-run"))
    assert code == 0, said
    assert said.count("3 runs, 0 samples still to do") == 1
    for launcher in (two, []):
        code, said = ended(start(launcher, *suite))
        assert code == 0, said
        assert said.count("gate passed") == 1
