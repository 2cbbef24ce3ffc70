"""The extractors that come with the harness, and the base of those of other networks.

Networks are built when they first observe; their weights are found, and digested, before that.
"""

from __future__ import annotations

import copy
import functools
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from harness.data import assets
from harness.data.images import to_host
from harness.data.settings import read_settings
from harness.interfaces import Columns, GeneratedImages, ImagePairs
from harness.interfaces.code import module_digest
from harness.interfaces.errors import Unavailable
from harness.interfaces.observing import Once
from harness.interfaces.types import canonical_json
from harness.metrics.feature_scores import output_column, reference_column, tap

if TYPE_CHECKING:
    from pathlib import Path

    from harness.metrics.feature_cache import SharedNetwork
    from harness.metrics.lpips import Lpips, Net
    from harness.metrics.networks import FeatureNetwork

T = TypeVar("T")

MOST_FOR_ORIGINALS = 2 << 30
"""Bytes of features of originals that LPIPS keeps: of VGG's trunk those of 64 images of 256x256."""


def require_pairs(settings: Mapping[str, Any]) -> None:
    """Raise `Unavailable` where a protocol compares no pairs of images."""
    if "ssim" not in settings:
        raise Unavailable("the protocol has no pixel measures", kind="not applicable")


def require_sets(settings: Mapping[str, Any]) -> None:
    """Raise `Unavailable` where a protocol compares no sets of images."""
    if "inception" not in settings:
        raise Unavailable("the protocol compares no sets of images", kind="not applicable")


class Pixels:
    """PSNR in dB and SSIM of 8-bit images."""

    concurrent = True
    works_on = "cpu"

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        del device
        require_pairs(settings)
        self._window = settings["ssim"]["window"]
        dtype = settings["pixels"]["dtype"]
        self._luma = settings["pixels"].get("channels") == "luma"
        self._precision: Literal["float64", "float32"] = (
            "float32" if dtype == "float32" else "float64"
        )

    @property
    def identity(self) -> Mapping[str, Any]:
        """Nothing beside the protocol."""
        return {"version": 1}

    def observe(self, pairs: ImagePairs) -> Columns:
        """Columns `psnr` (+inf where images are equal) and `ssim`, float64 (B,)."""
        from harness.metrics.pixel import luma, psnr, ssim

        reference, reconstruction = pairs.reference_uint8, pairs.reconstruction_uint8
        if self._luma:
            reference, reconstruction = luma(reference), luma(reconstruction)
        return {
            "psnr": psnr(reference, reconstruction),
            "ssim": ssim(reference, reconstruction, self._window, self._precision),
        }


class LpipsDistance:
    """LPIPS v0.1 with one of its trunks."""

    concurrent = True
    beside_model = True

    def __init__(self, net: Net, asset: str, settings: Mapping[str, Any], device: str) -> None:
        if "lpips" not in settings:
            raise Unavailable("the protocol has no LPIPS", kind="not applicable")
        self._net = net
        self._asset = asset
        path = assets.needed(asset)
        self._network = shared_network(
            [f"lpips-{net}", self.identity, device],
            lambda: Once(functools.partial(_lpips, net, path, device, keep=bool(_HELD))),
        )

    @property
    def identity(self) -> Mapping[str, Any]:
        """Digest of the trunk's weights; the heads' version is the protocol's."""
        return {"version": 1, "weights": assets.find(self._asset).sha256}

    def observe(self, pairs: ImagePairs) -> Columns:
        """Column `lpips_alex` or `lpips_vgg`, (B,)."""
        distances = self._network()(pairs.reference, pairs.reconstruction)
        return {f"lpips_{self._net}": to_host(distances).astype(np.float64)}


def _lpips(net: Net, path: Path, device: str, *, keep: bool) -> Lpips:
    from harness.metrics.lpips import Lpips
    from harness.metrics.networks import at_a_time

    room = _room_for_originals(device) if keep else 0
    return Lpips(net, path, device, micro_batch=at_a_time(device), keep=room)


def _room_for_originals(device: str) -> int:
    """Bytes for features of originals: a quarter of the memory that is free, within bounds."""
    free = MOST_FOR_ORIGINALS
    if device.startswith("cuda"):
        import torch

        free = torch.cuda.mem_get_info(torch.device(device))[0] // 4
    elif "SC_AVPHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    return min(MOST_FOR_ORIGINALS, free)


lpips_alex = functools.partial(LpipsDistance, "alex", "alexnet")
lpips_vgg = functools.partial(LpipsDistance, "vgg", "vgg16")


class FeatureExtractor(ABC):
    """Base of extractors whose observations are features of a network.

    A network is built when it first sees images, and shared by all extractors that name the same
    one. Features of reference images are kept in the cache folder.

    Args:
        settings: The protocol's settings.
        device: Where the network runs.

    Raises:
        Unavailable: The protocol has no such features, or weights are missing.
    """

    output: str
    """Which output of the network is observed; names the columns."""
    originals = True
    """Whether the originals' features are wanted too, where images have originals."""

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        self.settings = settings
        self.device = device
        self.shared = _share(self)
        self.shared.register(self.output, originals=self.originals)

    @property
    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """What the features depend on beside the protocol: a version, a digest of the weights."""

    @property
    def network_identity(self) -> Mapping[str, Any]:
        """Everything that decides what the network gives; the key of its features in the cache."""
        kind = type(self)
        network = f"{kind.__module__}.{kind.__qualname__}"
        return {"network": network, "code": module_digest(kind.__module__), **self.identity}

    @abstractmethod
    def build(self) -> FeatureNetwork:
        """Make the network on the device."""

    def observe(self, pairs: ImagePairs | GeneratedImages) -> Columns:
        """The features' columns, float32 (B, d): of originals, if there are any, and of outputs."""
        reference, rows = self.shared.features(pairs, self.output)
        columns = {output_column(self.output): rows}
        return (
            columns if reference is None else {reference_column(self.output): reference, **columns}
        )


_SHARED: WeakValueDictionary[str, Any] = WeakValueDictionary()
"""Networks that extractors share; each lives as long as one of its extractors."""
_HELD: list[list[object]] = []
"""Networks that outlive their extractors, by `networks_kept` that is under way."""


@contextmanager
def networks_kept() -> Iterator[None]:
    """Keep networks from one model to the next: those of the same images, one after the other.

    They are built once, and what LPIPS's trunks see of the first originals is kept in memory.
    """
    held: list[object] = []
    _HELD.append(held)
    try:
        yield
    finally:
        _HELD.remove(held)


def shared_network(what: object, make: Callable[[], T]) -> T:
    """What `make` gives, made once for all extractors alive that ask for the same."""
    key = canonical_json(what)
    found: T | None = _SHARED.get(key)
    if found is None:
        found = _SHARED[key] = make()
    for held in _HELD:
        held.append(found)
    return found


def _share(extractor: FeatureExtractor) -> SharedNetwork:
    from harness.metrics.feature_cache import SharedNetwork

    folder = read_settings().cache / "features"
    identity = extractor.network_identity
    # Built by a twin: with the extractor itself, which holds the network, it would be a circle
    # that keeps the network's memory until Python looks for circles.
    build, device = copy.copy(extractor).build, extractor.device
    return shared_network(
        [identity, device, str(folder)],
        lambda: SharedNetwork(build, identity, device, folder),
    )


class Inception(FeatureExtractor):
    """Features of the FID Inception network.

    Args:
        settings: The protocol's settings.
        device: Where the network runs.
        output: Which of the network's outputs; the protocol's tap where empty.
        originals: Whether the originals' features are wanted too.

    Raises:
        Unavailable: The protocol has no such features, or the weights are missing.
    """

    concurrent = True
    beside_model = True

    def __init__(
        self,
        settings: Mapping[str, Any],
        device: str,
        *,
        output: str = "",
        originals: bool = True,
    ) -> None:
        if "inception" not in settings:
            raise Unavailable("the protocol has no Inception features", kind="not applicable")
        self._rule = settings["inception"]["input"]
        self._path = assets.needed("inception")
        self.output = output or tap(settings)
        self.originals = originals
        super().__init__(settings, device)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Digest of the weights; input rule and tap are the protocol's."""
        return {"version": 1, "weights": assets.find("inception").sha256}

    @property
    def network_identity(self) -> Mapping[str, Any]:
        """The weights and the rule that makes the input."""
        return {**self.identity, "input": self._rule}

    def build(self) -> FeatureNetwork:
        """Load the network."""
        from harness.metrics.inception import INPUT_RULES, InceptionFeatures
        from harness.metrics.networks import at_a_time

        # More than one on a CPU too: this network's bits do not depend on an image's neighbours.
        return InceptionFeatures(
            self._path,
            *INPUT_RULES[self._rule],
            device=self.device,
            micro_batch=max(8, at_a_time(self.device)),
        )


inception_spatial = functools.partial(Inception, output="spatial")
inception_logits = functools.partial(Inception, output="logits", originals=False)
