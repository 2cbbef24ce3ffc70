"""Files that are whole or not there, and that others may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import torch

from uniwetok.files import replaced, write_json
from uniwetok.tensors import write_tensors


@pytest.mark.skipif(os.name == "nt", reason="no umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_weights_have_the_rights_that_other_files_have(
    tmp_path: Path, mask: int, mode: int
) -> None:
    before = os.umask(mask)
    try:
        write_tensors(tmp_path / "model.safetensors", {"weight": torch.zeros(2)})
        write_json(tmp_path / "config.json", {})
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"model.safetensors": mode, "config.json": mode}


def test_what_breaks_off_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(ZeroDivisionError), replaced(tmp_path / "a.json") as partial:
        partial.write_text(f"{1 // 0}")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == '{\n  "a": 1\n}\n'
