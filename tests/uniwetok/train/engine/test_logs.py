from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from accelerate import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from uniwetok.train import TrainingError
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


@pytest.mark.parametrize("line", [b"\xff\xfe", b"12", b"{}", b'{"step": "2"}', b"[" * 10**5])
def test_damaged_lines_are_dropped(tmp_path: Path, line: bytes):
    with closing(Logs(tmp_path, 0)) as logs:
        logs.write(2, {"loss": 0.5})
    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(line + b"\n")
    with closing(Logs(tmp_path, 2)) as logs:
        logs.write(4, {"loss": 0.25})
    assert [(row["step"], row["loss"]) for row in read_log(tmp_path)] == [(2, 0.5), (4, 0.25)]


def test_a_number_that_is_not_finite_is_null(tmp_path: Path):
    with closing(Logs(tmp_path, 0)) as logs:
        logs.write(1, {"psnr": float("inf")}, kind="validation")
    assert read_log(tmp_path) == [{"step": 1, "kind": "validation", "psnr": None}]


class Recorded(ModuleType):
    """Stands for wandb, which needs an account, or for trackio."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.opened: list[dict[str, Any]] = []
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.closed = 0

    def init(self, **options: Any) -> Recorded:
        self.opened.append(options)
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.lines.append((step, values))

    def finish(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_is_told_every_line_and_goes_on_in_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    if name not in LOGGER_TYPE_TO_CLASS:
        pytest.skip("this accelerate knows no trackio, which --log says")
    PartialState(cpu=True)
    package = Recorded()
    monkeypatch.setitem(sys.modules, name, package)
    for step in (1, 2):
        with closing(Logs(tmp_path, step - 1, [name], {"steps": 2})) as logs:
            logs.write(step, {"loss": 1 / step})
            logs.write(step, {"psnr": 10.0 * step}, kind="validation")
    first, second = package.opened
    assert first == second
    assert first["project"] == "uniwetok"
    assert first["config"] == {"steps": 2}
    assert first["resume"] == "allow"
    assert package.lines == [
        (1, {"train/loss": 1.0}),
        (1, {"validation/psnr": 10.0}),
        (2, {"train/loss": 0.5}),
        (2, {"validation/psnr": 20.0}),
    ]
    assert package.closed == 2


def test_a_tracker_that_cannot_be_opened_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    PartialState(cpu=True)
    package = Recorded()
    monkeypatch.setitem(sys.modules, "wandb", package)

    def refuse(**_: Any) -> None:
        raise RuntimeError("No API key configured.\nUse `wandb login`.")

    monkeypatch.setattr(package, "init", refuse)
    with pytest.raises(TrainingError, match=r"^--log wandb: No API key configured\.$"):
        Logs(tmp_path, 0, ["wandb"])
