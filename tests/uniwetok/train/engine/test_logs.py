from __future__ import annotations

from contextlib import closing
from pathlib import Path

from uniwetok.train.engine.logs import Logs, read_log


def test_lines_after_the_step_that_is_resumed_are_written_again(tmp_path: Path):
    with closing(Logs(tmp_path, 0)) as logs:
        for step in (2, 4, 6):
            logs.write(step, {"loss": 1 / step})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    with closing(Logs(tmp_path, 4)) as logs:
        logs.write(6, {"loss": 0.5})
    assert [(row["step"], row["loss"]) for row in read_log(tmp_path)] == [
        (2, 0.5),
        (4, 0.25),
        (6, 0.5),
    ]


def test_a_number_that_is_not_finite_is_null(tmp_path: Path):
    with closing(Logs(tmp_path, 0)) as logs:
        logs.write(1, {"psnr": float("inf")}, kind="validation")
    assert read_log(tmp_path) == [{"step": 1, "kind": "validation", "psnr": None}]
