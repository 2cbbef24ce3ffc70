"""`--plugin` is known to every command that reads runs or names models."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import CommandLine

COMMANDS = (
    "run imagenet-recon",
    "metrics a b",
    "score runs",
    "merge runs",
    "list",
    "show jpeg",
    "encode",
    "decode codes",
    "reconstruct",
    "sample -m webp --classes 1",
    "compare a b",
    "gate a --baseline b",
    "leaderboard runs",
    "leaderboard check runs",
    "report table8",
    "report figures",
    "report html run",
    "reproduce table8",
    "export runs --to csv",
    "view runs",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_plugin_is_loaded_before_anything_is_read(
    command: str, uwt_eval: CommandLine, tmp_path: Path
) -> None:
    result = uwt_eval(*command.split(), "--plugin", tmp_path / "no.py")
    assert result.code == 2
    assert f"--plugin {tmp_path / 'no.py'}: no such file" in result.err
