"""The weights of a checkpoint by the model's own names, whatever wrapped the model."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from uniwetok.tensors import (
    AVERAGED,
    BUFFERS,
    CONFIG_FILE,
    WRAPPERS,
    CheckpointError,
    Shapes,
    check_finite,
    listed,
    read_tensors,
    shapes,
)

if TYPE_CHECKING:  # Cards are read off headers, without torch, whose import takes seconds.
    from torch import Tensor, nn

ConfigSource = Literal["given", "file", "inferred"]


@dataclass(frozen=True)
class LoadReport:
    """What was taken from a checkpoint."""

    path: Path
    """File the weights were read from."""
    config_source: ConfigSource
    """Where the configuration came from: the caller, a file beside the weights, or the names and
    shapes of the weights, which cannot tell ``heads``, ``groups`` and ``siglu``."""
    tensors: int
    """Tensors loaded: every one the model has."""
    from_ema: int
    """Those of them that are exponential moving averages; the others are the raw weights."""
    not_averaged: tuple[str, ...]
    """The others by the model's names, where some are averages: frozen in training, or left out."""
    ignored: tuple[str, ...]
    """Names in the file that the model does not have, such as losses and distillation heads."""
    assumed: str = ""
    """Sizes that the weights do not tell and that no file says, where the configuration was
    inferred."""

    def __str__(self) -> str:
        told = [f"{self.from_ema} of {self.tensors} tensors are moving averages"]
        if self.not_averaged:
            told.append(f"without an average and so taken raw: {listed(self.not_averaged)}")
        if self.assumed:
            told.append(f"assumed, for no {CONFIG_FILE} is beside them: {self.assumed}")
        if self.ignored:
            told.append(f"not the model's and ignored: {listed(self.ignored)}")
        return f"{self.path.name}: {'; '.join(told)}"


class Weights:
    """The tensors of one checkpoint by the model's own names, whatever wrapped the model.

    Args:
        path: a ``.safetensors`` file, an index of several, or a torch checkpoint.
        rename: gives the model's name of a weight by the released one, without wrappers.

    Attributes:
        path: the file.
        shapes: of every weight, raw or averaged.

    Raises:
        CheckpointError: as ``read_tensors``, or one weight is there twice.
    """

    def __init__(self, path: Path, rename: Callable[[str], str] = str) -> None:
        self.path = path
        self._tensors = read_tensors(path)
        self._raw, self._averages = unwrap(self._tensors, path, rename)
        self.shapes: Shapes = unwrapped(shapes(self._tensors), path, rename)

    def faults(
        self, expected: Shapes, *, ema: bool, beside: tuple[str, ...] | None = None
    ) -> list[str]:
        """Describe every name that is missing, of another shape, or unknown to the model.

        A layer that the model does not have would be left out, and give something plausible.

        Args:
            expected: of the model.
            ema: as for `give`.
            beside: beginnings of names that may lie in the file and are not the model's; unless
                given, all of parts that the model does not have, such as losses.
        """
        parts = {name.partition(".")[0] for name in expected if "." in name}
        return faults(shapes(self._chosen(expected, ema=ema)[0]), expected) + [
            f"{name} (not in the model)"
            for name in self.shapes
            if name not in expected
            and name.rpartition(".")[2] not in BUFFERS
            and (
                "." in name and name.partition(".")[0] in parts
                if beside is None
                else not name.startswith(beside)
            )
        ]

    def give(
        self, model: nn.Module, source: ConfigSource, assumed: str, *, ema: bool
    ) -> LoadReport:
        """Make the tensors, in float32, the parameters of a model that they fit.

        Args:
            model: built on the meta device.
            source: where the model's configuration came from.
            assumed: what is assumed of an inferred one.
            ema: take the moving average of each weight that has one, else the raw weight. Parts
                that were frozen in training have none.

        Raises:
            CheckpointError: a weight is not finite.
        """
        chosen, averages, ignored = self._chosen(model.state_dict(), ema=ema)
        import torch

        try:
            check_finite(self.path, chosen)
        except CheckpointError as error:
            raw = self._chosen(chosen, ema=False)[0]
            if not averages or len(raw) < len(chosen) or not _finite(self.path, raw):
                raise
            raise CheckpointError(
                f"{error}; these are moving averages, and the raw weights, which ?ema=false "
                "takes, are finite"
            ) from error
        model.load_state_dict(
            # Copied: a mapped tensor may begin at any byte, where kernels round otherwise.
            {name: value.to(torch.float32, copy=True) for name, value in chosen.items()},
            assign=True,
        )
        told = assumed if source == "inferred" else ""
        plain = tuple(name for name in chosen if name not in averages) if averages else ()
        return LoadReport(self.path, source, len(chosen), len(averages), plain, ignored, told)

    def _chosen(
        self, names: Iterable[str], *, ema: bool
    ) -> tuple[dict[str, Tensor], Mapping[str, str], tuple[str, ...]]:
        """Give the weights by the model's names, which are averages, and the unused names."""
        names = list(names)
        raw = {name: self._raw[name] for name in names if name in self._raw}
        averages: dict[str, str] = {}
        for name in names if ema else ():
            # Lightning's averages, the released ones too, are named without the dots.
            for spelt in (name, name.replace(".", "")):
                if spelt in self._averages:
                    averages[name] = self._averages[spelt]
        chosen = raw | averages
        known = {*raw.values(), *averages.values()}
        ignored = tuple(name for name in self._tensors if name not in known)
        tensors = {name: self._tensors[place] for name, place in chosen.items()}
        return tensors, averages, ignored


def _finite(path: Path, weights: Mapping[str, Tensor]) -> bool:
    try:
        check_finite(path, weights)
    except CheckpointError:
        return False
    return True


def unwrap(
    names: Iterable[str], path: Path, rename: Callable[[str], str] = str
) -> tuple[dict[str, str], dict[str, str]]:
    """Give the names in a file by the model's own names: of raw weights, and of averages.

    Raises:
        CheckpointError: two names are of one weight.
    """
    raw: dict[str, str] = {}
    averages: dict[str, str] = {}
    for name in names:
        own, kept = name, raw
        while (wrapper := own.partition(".")[0]) in WRAPPERS and "." in own:
            own = own.partition(".")[2]
            kept = averages if wrapper in AVERAGED else kept
        own = rename(own)
        if own in kept:
            raise CheckpointError(
                f"{path}: {kept[own]} and {name} are both called {own}: which of them is the "
                "model's cannot be told; save one of them alone"
            )
        kept[own] = name
    return raw, averages


def unwrapped(found: Shapes, path: Path, rename: Callable[[str], str] = str) -> Shapes:
    """Shapes by the model's own names; of averages where there is nothing else."""
    raw, averages = unwrap(found, path, rename)
    return {own: found[name] for own, name in (averages | raw).items()}


def faults(found: Shapes, expected: Shapes) -> list[str]:
    """Describe every name of the model that is missing or has another shape."""
    missing = [f"{name} (missing)" for name in expected if name not in found]
    return missing + [
        f"{name} (file {found[name]}, model {shape})"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]


def listing(faults: list[str]) -> str:
    """Count the faults and list up to eight of them."""
    return f"{len(faults)} tensors do not fit: {listed(faults)}"


def count(found: Shapes, prefixes: tuple[str, ...] = ("",)) -> int:
    """Count the numbers in the tensors whose names begin with any of the prefixes."""
    return sum(math.prod(shape) for name, shape in found.items() if name.startswith(prefixes))


def numbered(names: Shapes, pattern: str, least: int = 0) -> int:
    """Count layers, from 0 to the last whose weight the pattern names: a gap is a missing weight.

    Raises:
        KeyError: there are fewer than `least`; it names the next.
    """
    place = re.compile(re.escape(pattern).replace(r"\{\}", r"(0|[1-9][0-9]{0,5})"))
    found = (int(match[1]) for match in map(place.fullmatch, names) if match)
    # A lone enormous number is no layer: the model would be built with all those before it.
    count = max((index + 1 for index in found if index < len(names)), default=0)
    if count < least:
        raise KeyError(pattern.format(count))
    return count
