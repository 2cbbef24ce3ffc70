"""The other process: started when it is first needed, shared by suites, replaced when it dies."""

from __future__ import annotations

import atexit
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.data.settings import read_settings
from harness.engine.world import environment_alone
from harness.interfaces import OnProgress
from harness.interfaces.errors import UserError
from tasks.vqa.job import Job

_LAST_LINES = 3
_NO_WORDS = re.compile(r"[\s^~]*|.*\d+%\|.*\|.*")
"""Empty lines, a traceback's marks below its code, and tqdm's bars."""
_PATIENCE = 10.0
"""Seconds that a process has to end by itself."""


class Crashed(Exception):
    """lmms-eval or the model broke down; one line about what is known of it."""


class Evaluator:
    """A process that imports lmms-eval and loads a model once, for many suites."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._serves: tuple[Any, ...] = ()

    def carry_out(self, job: Job, on_progress: OnProgress, meet: Callable[[], None]) -> None:
        """Have a job done, or this process's share of it.

        Args:
            job: The job.
            on_progress: Is told how many of the questions are done here.
            meet: Is called once they are; what needs all replies is done after it returns.

        Raises:
            UserError: The model or the data cannot be used.
            KeyboardInterrupt: The model raised it, or Ctrl-C was heard there first.
            Crashed: The process died, or lmms-eval raised.
        """
        serves = (job.model, job.device, job.plugins)
        if serves != self._serves:
            self.close()
        self._serves = serves
        process, refusal = self._started(), ""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(job.model_dump_json() + "\n")
            process.stdin.flush()
            for message in map(json.loads, process.stdout):
                if message["event"] == "done":
                    return
                if message["event"] == "answered":
                    meet()
                    process.stdin.write("\n")
                    process.stdin.flush()
                    continue
                if message["event"] == "interrupted":
                    raise KeyboardInterrupt
                if message["event"] == "refused":
                    refusal = message["message"]
                    break
                if message["event"] == "crashed":
                    raise Crashed(f"{message['message']} (see {job.log})")
                on_progress(message["done"], message["total"])
        except BrokenPipeError:
            pass
        except BaseException:
            self.close()
            raise
        if refusal:
            raise UserError(refusal)  # The process is well, and does other jobs.
        code = process.wait()
        self._process = None
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise Crashed(f"lmms-eval's process died ({how}): {_tail(job)}")

    def close(self) -> None:
        """End the process."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()  # It ends with its input.
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tasks.vqa.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                env=_environment(self._serves[1]),
            )
        return self._process


def _environment(device: str) -> dict[str, str]:
    environment = environment_alone(keep_threads=device != "cpu")
    # Some task files read it without asking whether it is there.
    environment.setdefault("HF_HOME", str(Path("~/.cache/huggingface").expanduser()))
    if read_settings().offline:
        environment |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return environment


def _tail(job: Job) -> str:
    text = job.log.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if not _NO_WORDS.fullmatch(line)]
    return f"{' / '.join(lines[-_LAST_LINES:]) or 'it printed nothing'} (see {job.log})"


EVALUATOR = Evaluator()
"""The one of this process: suites of one command share the loaded model."""
atexit.register(EVALUATOR.close)
