"""Models of other projects: a local folder or a hub repository, and its identity."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from harness.data.digests import DigestCache
from harness.data.settings import read_settings
from harness.interfaces.errors import UserError, first_line
from harness.interfaces.types import digest_of

DType = Literal["float32", "bfloat16", "float16"]
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_CODE = (".py",)
_TEXTS = (".json", ".txt", ".model", ".jinja")
"""Configurations, tokenizers and chat templates."""


def library(name: str, extra: str) -> ModuleType:
    """Import a package of an extra; raise `UserError` that says how to get it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise UserError(f"{name} cannot be imported ({error}): reinstall it") from error
        raise UserError(
            f'this model needs {name}, which is not installed: pip install "uwt-eval[{extra}]"'
        ) from error


@dataclass(frozen=True)
class Source:
    """Files of a model on this machine, and where they are from."""

    name: str
    """As the user gave it."""
    folder: Path
    revision: str
    """Commit of the repository; empty for a local folder."""

    def json(self, name: str) -> dict[str, Any]:
        """A configuration file; raise `UserError` where it is missing or no JSON object."""
        path = self.folder / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"{self.name}: there is no {name} in {self.folder}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path}: cannot be read as JSON ({error})") from error
        if not isinstance(value, dict):
            raise UserError(f"{path}: holds no JSON object")
        return value

    def digest(self, *parts: str) -> str:
        """SHA-256 over names and contents of the files that decide what the model computes.

        Args:
            parts: subfolders that count; all where none is given.

        Raises:
            UserError: there are no weights, or a file cannot be read.
        """
        folders = [self.folder / part for part in parts] or [self.folder]
        paths = sorted({path for folder in folders for path in folder.rglob("*")})
        wanted = [p for p in paths if p.suffix in (*WEIGHTS, *_TEXTS) and p.is_file()]
        if not any(path.suffix in WEIGHTS for path in wanted):
            raise UserError(f"{self.name}: there are no weights in {folders[0]}")
        cache = DigestCache()
        return digest_of(
            [[path.relative_to(self.folder).as_posix(), cache.of_file(path)] for path in wanted]
        )

    @property
    def licence(self) -> str:
        """The licence that the repository's README names; empty where it names none."""
        try:
            text = (self.folder / "README.md").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        _, _, head = text.partition("---\n")
        head, _, _ = head.partition("\n---")
        found = re.search(r"^licen[cs]e(?:_name)?: *(\S+)", head, re.MULTILINE)
        return found[1].strip("'\"") if found else ""

    def parameters(self, *parts: str) -> int | None:
        """Number of weights by the headers of safetensors files; None where there are others."""
        from safetensors import SafetensorError, safe_open

        folders = [self.folder / part for part in parts] or [self.folder]
        count = 0
        for folder in folders:
            for path in folder.rglob("*.safetensors"):
                try:
                    with safe_open(path, "pt") as file:
                        for name in file.keys():  # noqa: SIM118 (a file, no mapping)
                            size = 1
                            for side in file.get_slice(name).get_shape():
                                size *= side
                            count += size
                except (OSError, SafetensorError) as error:
                    raise UserError(f"{path}: no readable safetensors file ({error})") from error
        return count or None


def source(name: str, revision: str | None = None, patterns: Sequence[str] = ()) -> Source:
    """Find a model: a folder, or a repository that is fetched into the hub's own cache.

    Code in a repository is neither fetched nor run.

    Args:
        name: path of a folder, or OWNER/NAME.
        revision: branch, tag or commit of the repository.
        patterns: files to fetch; all weights and configurations where none is given.

    Raises:
        UserError: there is neither, or it cannot be fetched.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision:
            raise UserError(f"{name}: a local folder has no revision {revision!r}")
        return Source(name, folder, "")
    if folder.exists():
        raise UserError(f"{name}: is a file; give the folder that holds the model's configuration")
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(f"{name}: there is no such folder, and it is no OWNER/NAME of a repository")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            name,
            revision=revision,
            allow_patterns=[
                "README.md",
                *(patterns or [f"*{suffix}" for suffix in (*WEIGHTS, *_TEXTS)]),
            ],
            ignore_patterns=[f"*{suffix}" for suffix in _CODE],
            local_files_only=read_settings().offline,
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"{name}: there is no such folder, and the repository cannot be had "
            f"({first_line(error)})"
        ) from error
    return Source(name, Path(found), Path(found).name)


def versions(*packages: str) -> dict[str, str]:
    """Versions of the packages whose code computes what the model gives."""
    return {name: version(name) for name in packages}


def named(options: Mapping[str, object], usual: Mapping[str, object]) -> str:
    """Options that are not the usual ones, as a label shows them: `?steps=20&guidance=3`."""
    texts = [
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in options.items()
        if value != usual.get(name)
    ]
    return f"?{'&'.join(texts)}" if texts else ""


def until(text: str, stop: Sequence[str]) -> str:
    """A reply up to the first of the texts that end it, without white space around it."""
    places = [place for each in stop if each and (place := text.find(each)) >= 0]
    return (text[: min(places)] if places else text).strip()
