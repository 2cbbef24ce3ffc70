"""The process that runs lmms-eval: `python -m tasks.vqa.worker`, a job a line on its input.

It answers on its output with a JSON object a line, and waits for an empty line once it has said
`answered`; everything that lmms-eval prints goes to the
job's log. It ends when its input does, so that it never outlives the run.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.interfaces.errors import UserError
from tasks.vqa.job import Job
from tasks.vqa.protocol import first_cause, import_failure

Tell = Callable[..., None]
"""Sends a message: an event's name and its values."""


def main() -> None:
    """Work on jobs until there are no more."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(event: str, **values: Any) -> None:
        channel.write(json.dumps({"event": event, **values}) + "\n")
        channel.flush()

    jobs: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()

    def meet() -> None:
        """Wait until the run says that every process has answered its share."""
        tell("answered")
        jobs.get()

    while True:
        job = Job.model_validate_json(jobs.get())
        _print_into(job.log)
        try:
            carry_out(job, tell, meet)
        except UserError as error:
            tell("refused", message=str(error))
        except KeyboardInterrupt:
            tell("interrupted")
        except Exception as error:
            traceback.print_exc()
            tell("crashed", message=first_cause(error))
        else:
            tell("done")


def _listen(jobs: queue.Queue[str]) -> None:
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)


def _print_into(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.close(target)


def carry_out(job: Job, tell: Tell, meet: Callable[[], None]) -> None:
    """Do one job, or this process's share of it.

    Raises:
        UserError: The model, the data or a package that lmms-eval needs cannot be used.
    """
    try:
        from tasks.vqa.evaluation import evaluate
    except ImportError as error:
        raise UserError(f"{job.suite}: {import_failure(error)}") from error
    evaluate(job, tell, meet)


if __name__ == "__main__":
    main()
