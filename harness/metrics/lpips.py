"""LPIPS v0.1 distances, with the reference's features shared among candidates."""

from __future__ import annotations

import functools
import importlib.util
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import nn
from torchvision.models import alexnet, vgg16

from harness.data.images import to_device, with_float64
from harness.metrics.checks import check_images, range_check
from harness.metrics.networks import Shapes, exact_float32, read_state_dict
from uwt_images.graphs import Graphs

Net = Literal["alex", "vgg"]


class _Trunk(NamedTuple):
    """A torchvision network up to the last layer that LPIPS reads."""

    taps: tuple[int, ...]
    """The ReLUs in ``features`` whose outputs are compared."""
    smallest_side: int
    """Below this the last pooling has nothing to pool."""


_TRUNKS: Mapping[Net, _Trunk] = {
    "alex": _Trunk((1, 4, 7, 9, 11), 31),
    "vgg": _Trunk((3, 8, 15, 22, 29), 16),
}
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10


class _Kept:
    """Features of the references that were seen first, as many as there is room for.

    A run passes over the same references for each model. Were the oldest to make room, nothing
    would be left of what comes next.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._entries: dict[tuple[object, ...], tuple[torch.Tensor, list[torch.Tensor]]] = {}
        self._lock = threading.Lock()

    @property
    def nothing(self) -> bool:
        """Whether none are kept, and there is no room for any."""
        return self._room <= 0 and not self._entries

    def of(
        self, images: torch.Tensor, compute: Callable[[torch.Tensor], Iterable[torch.Tensor]]
    ) -> list[torch.Tensor]:
        """Features of images that pass the trunk together, computed unless they are known."""
        if self.nothing:
            return list(compute(images))
        # Only finds the images that may be the same; a sum is quick where they are, on a GPU too.
        key = images.dtype, images.shape, with_float64(images).sum(dtype=torch.float64).item()
        entry = self._entries.get(key)
        if entry is not None and torch.equal(entry[0], images):
            return entry[1]
        features = list(compute(images))
        size = sum(each.nbytes for each in (images, *features))
        with self._lock:
            if key not in self._entries and size <= self._room:
                self._entries[key] = images.clone(), features
                self._room -= size
        return features


class Lpips:
    """Learned perceptual distance (Zhang et al. 2018), heads v0.1 of the lpips package 0.1.4.

    By default the trunk takes one image at a time, which on a CPU is as fast as any batch and makes
    a distance independent of its neighbours.
    """

    def __init__(
        self,
        net: Net,
        trunk: Mapping[str, torch.Tensor] | str | os.PathLike[str],
        device: torch.device | str = "cpu",
        *,
        micro_batch: int = 1,
        keep: int = 0,
    ) -> None:
        """Load the trunk and the package's heads.

        Args:
            net: ``alex`` or ``vgg``.
            trunk: state dict, or path of one, of torchvision's ImageNet AlexNet
                (``alexnet-owt-7be5be79.pth``) or VGG16 (``vgg16-397923af.pth``).
            device: where the network runs.
            micro_batch: most images in a run of the trunk; a GPU wants more than one.
            keep: bytes of features that are kept of the first references seen, for whoever
                compares with the same references again.

        Raises:
            ValueError: an unknown net, or weights that do not fit.
        """
        if net not in _TRUNKS:
            raise ValueError(f"LPIPS net {net!r} is unknown; choose 'alex' or 'vgg'")
        if micro_batch < 1:
            raise ValueError(f"micro_batch is {micro_batch}; give at least 1")
        self.net = net
        self.device = torch.device(device)
        self.micro_batch = micro_batch
        layers = load_trunk(net, trunk)
        self._layers = layers.to(self.device).to(memory_format=torch.channels_last)
        self._heads = [head.to(self.device) for head in _heads(net, layers)]
        self._kept = _Kept(keep)
        self._graphs = Graphs(functools.partial(exact_float32, self.device))
        self._shift = torch.tensor(_SHIFT, device=self.device).view(1, 3, 1, 1)
        self._scale = torch.tensor(_SCALE, device=self.device).view(1, 3, 1, 1)

    def __call__(self, reference: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
        """Compute the distance of each pair; see `distances`.

        Returns:
            float64 (B,), 0 for identical images.
        """
        return self.distances(reference, [reconstruction])[0]

    def distances(
        self, reference: torch.Tensor, candidates: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Compute the distances of several candidates from one reference.

        The reference passes the trunk once, so K candidates cost (1 + K) / 2K of K calls.

        Args:
            reference: float (B, 3, H, W) in [-1, 1].
            candidates: images of the same shape and range.

        Returns:
            float64 (K, B) on the network's device.

        Raises:
            ValueError: no candidates, wrong shape or range, or images too small for the trunk.
        """
        if not candidates:
            raise ValueError("there are no candidates; give at least 1")
        in_range = []
        for name, images in [("reference", reference), *(("candidates", c) for c in candidates)]:
            check_images(images, name)
            in_range.append(range_check(images, name, -1.0, 1.0))
            if images.shape != reference.shape:
                raise ValueError(
                    f"{name} have shape {tuple(images.shape)}, the reference has "
                    f"{tuple(reference.shape)}; pair the images and give them the same size"
                )
        smallest = _TRUNKS[self.net].smallest_side
        if min(reference.shape[2:]) < smallest:
            raise ValueError(
                f"images are {reference.shape[2]}x{reference.shape[3]}; LPIPS {self.net} needs "
                f"sides of at least {smallest}"
            )
        batches = [
            torch.split(to_device(images, self.device), self.micro_batch)
            for images in (reference, *candidates)
        ]
        pieces = [self._pieces(own, others) for own, *others in zip(*batches, strict=True)]
        distances = torch.cat(pieces, dim=1)
        for check in in_range:
            check()
        return distances

    def _pieces(self, own: torch.Tensor, others: Sequence[torch.Tensor]) -> torch.Tensor:
        """Distances (K, B) of what passes the trunk together."""
        if len(others) == 1 and self._kept.nothing:
            found: torch.Tensor = self._graphs.run("pair", self._of_pair, own, *others)
            return found
        with exact_float32(self.device):
            known = self._kept.of(own, self._normalised_features)
            return torch.stack([self._distance(known, other) for other in others])

    def _of_pair(self, own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return self._distance(list(self._normalised_features(own)), other)[None]

    def _distance(self, known: list[torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        total = with_float64(torch.zeros(len(images), device=self.device)).double()
        features = self._normalised_features(images)
        for own, other, head in zip(known, features, self._heads, strict=True):
            difference = other.sub_(own).square_()
            total += with_float64(difference @ head).mean(dim=(1, 2), dtype=torch.float64)
        return total

    def _normalised_features(self, images: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield unit feature vectors (B, H, W, C) of each compared layer."""
        x = images.float().sub(self._shift).div_(self._scale)
        x = x.contiguous(memory_format=torch.channels_last)
        taps = _TRUNKS[self.net].taps
        for index, layer in enumerate(self._layers):
            x = layer(x)
            if index in taps:
                vectors = x.permute(0, 2, 3, 1)
                length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
                yield vectors / (length + _EPSILON)


def load_trunk(
    net: Net, weights: Mapping[str, torch.Tensor] | str | os.PathLike[str]
) -> nn.Sequential:
    """The layers up to the last one compared, with the weights of a state dict or its file.

    Raises:
        ValueError: weights that do not fit.
    """
    layers = _trunk_layers(net)
    state = read_state_dict(weights, trunk_shapes(net), f"the {net} trunk")
    layers.load_state_dict(
        {name.removeprefix("features."): tensor for name, tensor in state.items()}, assign=True
    )
    return layers.eval()


def trunk_shapes(net: Net) -> Shapes:
    """Name the tensors of torchvision's weights file that LPIPS needs, with their shapes."""
    state = _trunk_layers(net).state_dict()
    return {f"features.{name}": tensor.shape for name, tensor in state.items()}


def _trunk_layers(net: Net) -> nn.Sequential:
    """Build the unweighted layers up to the last one compared."""
    with torch.device("meta"):
        features: nn.Sequential = {"alex": alexnet, "vgg": vgg16}[net](weights=None).features
    return features[: _TRUNKS[net].taps[-1] + 1]


def _heads(net: Net, layers: nn.Sequential) -> list[torch.Tensor]:
    """Read the channel weights of each compared layer from the installed lpips package."""
    # Importing the package would import its training code; only its weights are needed.
    package = importlib.util.find_spec("lpips")
    if package is None or package.origin is None:
        raise ValueError("the lpips package is missing; install lpips==0.1.4")
    path = Path(package.origin).parent / "weights" / "v0.1" / f"{net}.pth"
    widths = [len(layers.get_parameter(f"{tap - 1}.weight")) for tap in _TRUNKS[net].taps]
    shapes = {f"lin{i}.model.1.weight": torch.Size([1, w, 1, 1]) for i, w in enumerate(widths)}
    return [head.flatten() for head in read_state_dict(path, shapes, "LPIPS's heads").values()]
