"""Packages that a plain install leaves out: what needs one says so in a line, with its command."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from harness.interfaces.errors import UserError
from harness.interfaces.registry import DISTRIBUTION

EXTRAS = {
    "accelerate": "train",
    "webdataset": "train",
    "braceexpand": "train",  # Comes with webdataset.
    "tensorboard": "train",
    "transformers": "mllm",
    "tokenizers": "mllm",
    "openai": "judge",
    "tenacity": "judge",
    "datasets": "datasets",
    "diffusers": "diffusers",
    "lmms_eval": "vqa",
    "xxhash": "vqa",
    "easy_vqa": "mini",
    "rapidocr": "text",
    "onnxruntime": "text",
    "pylopdf_fonts_zh_cn": "text",
    "dlib": "faces",
    "face_recognition_models": "faces",
    "noto_cjk_sans_otc": "cjk",
    "dreamsim": "dreamsim",
}
"""Modules that only an extra of `pyproject.toml` installs, and its name."""


def install(extra: str) -> str:
    """The command that installs an extra."""
    return f'pip install "{DISTRIBUTION}[{extra}]"'


def lacking(*modules: str) -> str:
    """Say which of some modules is absent and how to get it; '' where none is. Imports none."""
    absent = next((each for each in modules if importlib.util.find_spec(each) is None), None)
    return "" if absent is None else _told(absent)


def need(what: str, *modules: str) -> None:
    """Raise `UserError` where one of the modules is absent that `what` cannot do without."""
    if text := lacking(*modules):
        raise UserError(f"{what} {text}")


def library(module: str, what: str = "this model") -> ModuleType:
    """Import a package that `what` needs; raise `UserError` where it is absent or broken."""
    need(what, module)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{module} cannot be imported ({error}): reinstall it") from error


def missed(error: BaseException) -> UserError | None:
    """What to tell a user where an import that nobody asked for before has failed."""
    module = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
    name = module.partition(".")[0]
    return UserError(f"this {_told(name)}") if name in EXTRAS and lacking(name) else None


def _told(module: str) -> str:
    return f"needs {module}, which is not installed: {install(EXTRAS[module])}"
