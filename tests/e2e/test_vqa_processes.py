"""Suites whose questions several processes share out under torchrun: one process's bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.engine.processes import LOST
from tests.strangers import hostile
from tests.tasks.vqa.copies import REPLIES, ROWS, write_copies

pytest.importorskip("lmms_eval")

TOY = Path(__file__).parent.parent / "tasks" / "vqa" / "toy_chat.py"
SCRIPT = str(Path(sys.executable).parent / "uwt-eval")
TORCHRUN = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", "--no-python"]
QUESTIONS = [row["question"] for row in ROWS["pope"]]


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vqa")
    write_copies(folder / "copies")
    hostile(folder / "here")
    return folder


class Place:
    """A folder of runs, and the replies of its model."""

    def __init__(self, folder: Path, copies: Path, **replies: Any) -> None:
        self.folder = folder
        self.copies = copies
        self.table = folder / "replies.json"
        said = {"dog in": None, "bus in": "<hang once>", **replies}
        self.table.write_text(json.dumps({**REPLIES, **said}))

    def start(self, processes: int, *words: str) -> subprocess.Popen[str]:
        launcher = [*TORCHRUN, "--nproc-per-node", str(processes)] if processes > 1 else []
        command = [SCRIPT, "run", "--plugin", str(TOY), "--json", "--model"]
        command += [f"toy-chat:{self.table}", "--data", str(self.copies / "copies")]
        command += ["--out", str(self.folder / "runs"), "--device", "cpu", "--max-failures", "1"]
        return self._started([*launcher, *command, *words])

    def _started(self, command: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            env={**os.environ, "HF_HOME": str(self.copies / "hub"), "OMP_NUM_THREADS": "1"},
            cwd=self.copies / "here",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, processes: int, *words: str) -> tuple[int, str]:
        process = self.start(processes, *words)
        _, messages = process.communicate(timeout=300)
        return process.returncode, messages

    def merge(self, *roots: Path, data: bool = True) -> tuple[int, str]:
        given = ["--data", str(self.copies / "copies")] if data else []
        words = [*map(str, roots), *given, "--out", str(self.folder / "runs"), "--quiet"]
        process = self._started([SCRIPT, "merge", *words])
        _, messages = process.communicate(timeout=300)
        return process.returncode, messages

    def hanging(self, process: subprocess.Popen[str]) -> int:
        """The rank that asks the model which keeps it waiting, once it does."""
        path = self.table.with_suffix(".hanging")
        while not (path.is_file() and path.read_text().endswith("\n")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        return int(path.read_text())

    @property
    def asked(self) -> Counter[str]:
        """The questions that the model was asked, and how often."""
        lines = Counter(self.table.with_suffix(".log").read_text().splitlines())
        del lines["load"]
        return lines

    def result(self, task: str) -> Any:
        """All of a run that depends on what was replied."""
        (root,) = (self.folder / "runs").glob(f"{task}-*")
        record = json.loads((root / "record.json").read_text())
        del record["provenance"]
        return record, *((root / name).read_bytes() for name in ("replies.jsonl", "gallery.html"))

    @property
    def kept(self) -> Path:
        (path,) = (self.folder / "runs").glob("pope-*/lmms-eval")
        return path


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, copies: Path) -> Place:
    place = Place(tmp_path_factory.mktemp("alone"), copies)
    place.table.with_suffix(".hanging").touch()
    code, messages = place.run(1, "pope", "mmmu")
    assert code == 0, messages
    return place


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_give_the_bits_of_one(
    processes: int, alone: Place, copies: Path, tmp_path: Path
) -> None:
    place = Place(tmp_path, copies)
    place.table.with_suffix(".hanging").touch()
    code, messages = place.run(processes, "pope", "mmmu")
    assert code == 0, messages
    for task in ("pope", "mmmu"):
        assert place.result(task) == alone.result(task)
    assert place.asked == alone.asked, "no question is asked twice"
    assert {path.name for path in place.kept.glob("*.jsonl")} == {"asked.jsonl", "journal.jsonl"}
    keys = [
        sorted(json.loads(line)["key"] for line in (each / "journal.jsonl").open())
        for each in (place.kept, alone.kept)
    ]
    assert keys[0] == keys[1]


@pytest.mark.slow
def test_a_lost_process_ends_all_and_any_number_goes_on(
    alone: Place, copies: Path, tmp_path: Path
) -> None:
    place = Place(tmp_path, copies)
    process = place.start(2, "pope")
    os.kill(place.hanging(process), signal.SIGKILL)
    _, messages = process.communicate(timeout=300)
    assert process.returncode != 0
    assert messages.count(f"error: {LOST}") == 1, messages
    first = place.asked
    assert first[QUESTIONS[1]] == 1
    code, messages = place.run(3, "pope")
    assert code == 0, messages
    assert place.result("pope") == alone.result("pope")
    # The model failed on one question, and was waited for with the other: neither was kept.
    again = place.asked - first
    assert again.keys() >= {QUESTIONS[1], QUESTIONS[3]}
    assert all(
        again[name] + first[name] == 1 for name in {*QUESTIONS} - {QUESTIONS[1], QUESTIONS[3]}
    )


@pytest.mark.slow
def test_one_process_that_refuses_ends_all_with_its_line(copies: Path, tmp_path: Path) -> None:
    place = Place(tmp_path, copies, **{"bus in": "<refuse>"})
    code, messages = place.run(2, "pope")
    assert code != 0
    assert messages.count("error: ") == 1, messages
    assert "error: the weights are no weights" in messages
    assert "exitcode  : 2" in messages


@pytest.mark.slow
def test_a_model_that_breaks_down_in_one_process(copies: Path, tmp_path: Path) -> None:
    place = Place(tmp_path, copies, **{"bus in": "<exit once>"})
    code, messages = place.run(2, "pope")
    assert code != 0
    assert messages.count("error: ") == 1, messages
    assert "pope: process 2 of 2: lmms-eval broke down: lmms-eval's process died" in messages
    code, messages = place.run(1, "pope")
    assert code == 0, messages


@pytest.mark.slow
def test_interruption(alone: Place, copies: Path, tmp_path: Path) -> None:
    place = Place(tmp_path, copies)
    process = place.start(2, "pope")
    place.hanging(process)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=300)
    assert "interrupted: the same command resumes" in messages
    assert "unforeseen" not in messages
    code, messages = place.run(1, "pope")
    assert code == 0, messages
    assert place.result("pope") == alone.result("pope")


@pytest.mark.slow
def test_a_model_that_raises_as_if_ctrl_c_were_pressed(copies: Path, tmp_path: Path) -> None:
    place = Place(tmp_path, copies, **{"bus in": "<interrupt once>"})
    code, messages = place.run(1, "pope")
    assert code == 130
    assert messages.count("interrupted: the same command resumes") == 1
    assert "failed" not in messages
    code, messages = place.run(1, "pope")
    assert code == 0, messages
    # What has a reply is kept: but one question never gets any, and one broke off.
    assert place.asked == Counter([*QUESTIONS, QUESTIONS[1], QUESTIONS[3]])


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_shards_that_are_merged_give_the_bits_of_one(
    processes: int, alone: Place, copies: Path, tmp_path: Path
) -> None:
    place = Place(tmp_path, copies)
    place.table.with_suffix(".hanging").touch()
    roots = {"pope": list[Path](), "mmmu": list[Path]()}
    for number in ("1", "2"):
        out = tmp_path / number
        words = ("pope", "mmmu", "--shard", f"{number}/2", "--out", str(out))
        code, messages = place.run(processes, *words)
        assert code == 0, messages
        for task, found in roots.items():
            found += out.glob(f"{task}-*")
            assert not (found[-1] / "record.json").exists()
    assert place.asked == alone.asked, "no question is asked twice"
    code, messages = place.merge(roots["pope"][1])
    assert code == 2
    assert "3 of 6 samples are in none of these directories: `uwt-eval run" in messages
    assert "--shard 1/2` makes them" in messages
    for task, found in roots.items():
        code, messages = place.merge(*found, data=task == "pope")
        assert code == 0, messages
        assert place.result(task) == alone.result(task)
    code, messages = place.run(1, "pope", "mmmu")
    assert code == 0, messages
    again = place.asked - alone.asked
    assert again.keys() <= {QUESTIONS[1]}, "but the one that failed, the run finds all done"
    assert place.result("pope") == alone.result("pope")
