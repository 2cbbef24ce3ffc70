"""A run's folder is one training's at a time, and a killed one's is free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.interfaces.errors import UserError
from tests.conftest import REPOSITORY
from uniwetok.commands import locking
from uniwetok.commands.locking import LOCK_FILE, locked

HOLDING = """
import os, sys, time
from pathlib import Path
from uniwetok.commands.locking import locked
with locked(Path(sys.argv[1])):
    if os.fork():  # As a process that decodes: it looks now and then whether its parent is there.
        print("held", flush=True)
        time.sleep(600)
    time.sleep(2)
    os._exit(0)
"""


def test_a_killed_training_leaves_its_folder_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(out)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with monkeypatch.context() as patient:
        patient.setattr(locking, "_PATIENCE", 0.1)
        words = rf"run is in use by another training \(process {holder.pid}\): wait for it, or give"
        with pytest.raises(UserError, match=words), locked(out):
            pytest.fail("two at a time")
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with locked(out):
        assert (out / LOCK_FILE).read_text().split()[0] == str(os.getpid())
        (out / "config.json").touch()
    assert sorted(each.name for each in out.iterdir()) == ["config.json", LOCK_FILE]
    assert (out / LOCK_FILE).read_text() == ""


def test_a_training_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "a" / "b"):
        with pytest.raises(UserError, match="no data"), locked(out):
            raise UserError("no data")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "run"
    words = r"cannot write .*run: .*file is a file, no folder: give another place"
    with pytest.raises(UserError, match=words), locked(out):
        pytest.fail("in a file")
