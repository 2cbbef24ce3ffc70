"""What differs between two results, found with and without their runs' files."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.interfaces.registry import TASKS
from reports.comparability import differences, protocol_settings
from reports.records import Loaded, load_record
from tests.conftest import CommandLine
from tests.reports.runs import write_run


def alone(folder: Path, protocol: str) -> Loaded:
    """A record of an installed protocol, without its run's files."""
    settings = TASKS.get("imagenet-recon").protocol(protocol).settings
    root = write_run(folder, protocol, protocol=protocol, settings=settings)
    (root / "run.json").unlink()
    return load_record(root)


def test_settings_of_named_protocols_are_known_without_the_run(tmp_path: Path) -> None:
    wetok, exact = alone(tmp_path, "wetok"), alone(tmp_path, "exact")
    lines = differences(wetok, exact)
    assert "protocol wetok/exact, setting uint8: truncate and round" in lines
    assert "protocol wetok/exact, setting averaging.batch_size: 100 and (not set)" in lines
    assert all(line.startswith("protocol ") for line in lines)


def test_a_name_whose_digest_differs_is_not_believed(tmp_path: Path) -> None:
    one = write_run(tmp_path, "a", settings={"uint8": "other"})
    two = write_run(tmp_path, "b", settings={"uint8": "else"})
    for root in (one, two):
        (root / "run.json").unlink()
    assert protocol_settings(load_record(one)) is None
    (line,) = differences(load_record(one), load_record(two))
    assert line.startswith("protocol: wetok (")


def test_a_changed_run_file_is_not_believed(tmp_path: Path) -> None:
    root = write_run(tmp_path, "a", settings={"uint8": "round"})
    text = (root / "run.json").read_text().replace('"round"', '"truncate"')
    (root / "run.json").write_text(text)
    assert protocol_settings(load_record(root)) is None


def test_the_same_settings_compare_under_any_name(tmp_path: Path) -> None:
    one = write_run(tmp_path, "a", protocol="mine")
    two = write_run(tmp_path, "b", protocol="yours", seed=3)
    assert differences(load_record(one), load_record(two)) == []


@pytest.mark.parametrize("command", ["report", "leaderboard"])
def test_help_names_the_sub_commands(uwt_eval: CommandLine, command: str) -> None:
    result = uwt_eval(command, "--help")
    assert result.code == 0
    for name in {"report": ("table", "lint", "html"), "leaderboard": ("build", "check")}[command]:
        assert name in result.out
    assert (
        "--out"
        in uwt_eval(command, {"report": "table", "leaderboard": "build"}[command], "--help").out
    )
