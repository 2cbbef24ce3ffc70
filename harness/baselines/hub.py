"""Models of other projects: a local folder or a hub repository, and its identity."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.data.digests import weights_sha256
from harness.interfaces.errors import UserError
from harness.interfaces.extras import library
from harness.interfaces.types import digest_of
from uwt_images.hub import HubError, snapshot

if TYPE_CHECKING:
    from torch import nn

DType = Literal["float32", "bfloat16", "float16"]
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_CODE = (".py",)
_TEXTS = (".json", ".txt", ".model", ".jinja")
"""Configurations, tokenizers and chat templates."""
_VARIANTS = (".fp16.", ".bf16.", ".fp8.", ".non_ema.")
"""Parts of the names of weights that stand beside the usual ones in another form."""


def no_bars() -> None:
    """Keep diffusers and transformers from drawing bars of what they load, among ours."""
    diffusers = library("diffusers")
    from transformers.utils import logging as transformers_logging

    diffusers.utils.logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Source:
    """Files of a model on this machine, and where they are from."""

    name: str
    """As the user gave it."""
    folder: Path
    revision: str
    """Commit of the repository; empty for a local folder."""

    @property
    def title(self) -> str:
        """What labels call the model: the last part of its name."""
        return self.name.rstrip("/").rpartition("/")[2]

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

    def weights(self, *parts: str) -> list[Path]:
        """Files with weights in subfolders, or in the folder itself; fetched where they are not.

        Of several forms of the same weights safetensors are taken, and no variants in a precision
        of their own, as loading does.
        """
        found: list[Path] = []
        for part in parts or ("",):
            kinds = [WEIGHTS[:1], WEIGHTS[1:]]
            for suffixes in kinds:
                if self.revision:
                    _fetch(self.name, self.revision, part, suffixes)
                if here := _files_in(self.folder / part, suffixes):
                    found += here
                    break
        return found

    def digest(self, *parts: str, beside: Sequence[str] = ()) -> str:
        """SHA-256 over names and contents of the files that decide what the model computes.

        Args:
            parts: subfolders that count; the folder itself where none is given.
            beside: further files that count.

        Raises:
            UserError: there are no weights, or a file cannot be read.
        """
        weights = self.weights(*parts)
        if not weights:
            raise UserError(f"{self.name}: there are no weights in {self.folder / (*parts, '')[0]}")
        texts = [path for part in parts or ("",) for path in _files_in(self.folder / part, _TEXTS)]
        wanted = sorted({*weights, *texts, *(self.folder / name for name in beside)})
        return digest_of(
            [[path.relative_to(self.folder).as_posix(), weights_sha256(path)] for path in wanted]
        )

    @property
    def licence(self) -> str:
        """The licence that the repository's README names; empty where it names none."""
        return licence_in(self.folder)

    def parameters(self, *parts: str) -> int | None:
        """Number of weights by the headers of safetensors files; None where there are others."""
        from safetensors import SafetensorError, safe_open

        count = 0
        for path in self.weights(*parts):
            if path.suffix != ".safetensors":
                return None
            try:
                with safe_open(path, "pt") as file:
                    names = file.keys()
                    count += sum(math.prod(file.get_slice(name).get_shape()) for name in names)
            except (OSError, SafetensorError) as error:
                raise UserError(f"{path}: no readable safetensors file ({error})") from error
        return count or None


def of_diffusers(folder: Path) -> str:
    """What of diffusers a folder holds and which plug-in takes it; empty where it is none."""
    for file in ("model_index.json", "config.json"):
        try:
            name = json.loads((folder / file).read_text(encoding="utf-8"))["_class_name"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if file == "model_index.json":
            return (
                f"is diffusers' {name}: by what it draws from, diffusers-t2i, diffusers-edit "
                "or diffusers-class takes it, and diffusers-vae its autoencoder"
            )
        if "Autoencoder" in str(name) or name == "VQModel":
            return f"is diffusers' {name}: --model diffusers-vae:… takes it"
        return (
            f"is a model {name}, of which there is no plug-in: give the folder of a whole pipeline"
        )
    return ""


def licence_in(folder: Path) -> str:
    """The licence that a folder's README names as the hub reads it; empty where it names none."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    _, _, head = text.partition("---\n")
    head, _, _ = head.partition("\n---")
    found = re.search(r"^licen[cs]e(?:_name)?: *(\S+)", head, re.MULTILINE)
    return found[1].strip("'\"") if found else ""


def source(name: str, revision: str | None = None) -> Source:
    """Find a model: a folder, or a repository, whose texts are fetched into the hub's own cache.

    Weights follow when they are asked for. Code in a repository is neither fetched nor run.

    Args:
        name: path of a folder, or OWNER/NAME.
        revision: branch, tag or commit of the repository.

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
    texts = ["README.md", *(f"*{suffix}" for suffix in _TEXTS)]
    found = _snapshot(name, revision, texts, [])
    return Source(name, found, found.name)


@functools.cache  # Asked for by the digest and by the number of weights.
def _fetch(name: str, revision: str, part: str, suffixes: tuple[str, ...]) -> None:
    """Fetch the weights that lie directly in a subfolder, or in the repository's own folder."""
    start = f"{part}/" if part else ""
    deeper = [] if part else ["*/*"]
    wanted = [f"{start}*{suffix}" for suffix in suffixes]
    _snapshot(name, revision, wanted, [*(f"*{each}*" for each in _VARIANTS), *deeper])


def _snapshot(name: str, revision: str | None, wanted: list[str], unwanted: list[str]) -> Path:
    try:
        return snapshot(name, wanted, revision, [*(f"*{suffix}" for suffix in _CODE), *unwanted])
    except HubError as error:
        raise UserError(str(error)) from error


def _files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files directly in a folder, without variants in a precision of their own."""
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return []
    return [
        path
        for path in paths
        if path.suffix in suffixes
        and path.is_file()
        and not any(each in path.name for each in _VARIANTS)
    ]


def check_weights(network: nn.Module, name: str) -> None:
    """Raise `UserError` that names a weight which is not finite."""
    for part, weight in network.named_parameters():
        # Layers that accelerate has put on a disk are not at hand.
        if not weight.is_meta and not weight.isfinite().all():
            raise UserError(f"{name}: weight {part} is not finite")


def check_parts(parts: Mapping[str, object], name: str) -> None:
    """Raise `UserError` that names a component and its weight which is not finite."""
    from torch import nn

    for part, network in parts.items():
        if isinstance(network, nn.Module):
            check_weights(network, f"{name}: {part.lstrip('_')}")


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
