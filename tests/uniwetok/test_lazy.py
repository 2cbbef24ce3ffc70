from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

PACKAGES = ("uniwetok.ar", "uniwetok.losses", "uniwetok.mllm", "uniwetok.tokenizer")


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_is_there(name):
    package = importlib.import_module(name)
    assert all(hasattr(package, public) for public in package.__all__)
    assert set(package.__all__) <= set(dir(package))


def test_unknown_names_are_refused():
    package = importlib.import_module("uniwetok.losses")
    with pytest.raises(AttributeError, match=r"uniwetok\.losses attribute Nope"):
        package.Nope  # noqa: B018


def test_settings_import_no_torch():
    code = (
        "import sys, uniwetok.train.tokenizer.config, uniwetok.ar.config, uniwetok.mllm.config\n"
        "from uniwetok.losses import PriorConfig\n"
        "from uniwetok.tokenizer import UniWeTokConfig\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
