from __future__ import annotations

import subprocess
import sys

import pytest

import uniwetok.train.data as package


def test_settings_import_no_torch() -> None:
    code = "import sys, uniwetok.train.data.config; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", package.__all__)
def test_offers_its_names(name: str) -> None:
    assert getattr(package, name).__name__ == name


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'open_image'"):
        package.open_image  # noqa: B018
