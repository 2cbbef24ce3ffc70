"""Settings of the training images."""

from __future__ import annotations

import subprocess
import sys

import pytest

from uniwetok.train.data.config import DataConfig


@pytest.mark.parametrize(
    "module", ["uniwetok.train.data.config", "uniwetok.train.engine.settings", "uniwetok.presets"]
)
def test_settings_import_no_torch(module: str) -> None:
    code = f"import sys, {module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 0}, "a side of pixels=0 must be a whole number of at least 1"),
        ({"workers": -1}, "workers=-1 must be a whole number of at least 0"),
        ({"workers": 100_000}, "workers=100000 must be at most 256"),
        ({"shuffle_shards": True}, "shuffle_shards=True must be a whole number of at least 1"),
    ],
)
def test_impossible_counts_are_named(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig(**changes)  # type: ignore[arg-type]
