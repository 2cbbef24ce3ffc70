"""The extractors that come with the harness: pixel measures, LPIPS distances, Inception features.

Networks are built when they first observe; their weights are found, and digested, before that.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np

from harness import assets
from harness.errors import Unavailable
from harness.interfaces import Columns, ImagePairs
from harness.shard import GPU_BLOCK

if TYPE_CHECKING:
    from torch import Tensor

    from harness.metrics.inception import InceptionFeatures
    from harness.metrics.lpips import Lpips, Net


T = TypeVar("T")


def _images(device: str) -> int:
    """Images a network takes at a time: a CPU gains nothing from several, a GPU takes a block."""
    return 1 if device == "cpu" else GPU_BLOCK


class _Once(Generic[T]):
    """Builds a network at its first use, once for all lanes."""

    def __init__(self, build: Callable[[], T]) -> None:
        self._build = build
        self._built: T | None = None
        self._lock = threading.Lock()

    def __call__(self) -> T:
        with self._lock:
            if self._built is None:
                self._built = self._build()
            return self._built


class Pixels:
    """PSNR in dB and SSIM of 8-bit images."""

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        del device
        self._window = settings["ssim"]["window"]
        dtype = settings["pixels"]["dtype"]
        self._precision: Literal["float64", "float32"] = (
            "float32" if dtype == "float32" else "float64"
        )

    @property
    def identity(self) -> Mapping[str, Any]:
        """Nothing beside the protocol."""
        return {"version": 1}

    def observe(self, pairs: ImagePairs) -> Columns:
        """Columns `psnr` (+inf where images are equal) and `ssim`, float64 (B,)."""
        from harness.metrics.pixel import psnr, ssim

        reference, reconstruction = pairs.reference_uint8, pairs.reconstruction_uint8
        return {
            "psnr": psnr(reference, reconstruction),
            "ssim": ssim(reference, reconstruction, self._window, self._precision),
        }


class LpipsDistance:
    """LPIPS v0.1 with one of its trunks."""

    def __init__(self, net: Net, asset: str, settings: Mapping[str, Any], device: str) -> None:
        if "lpips" not in settings:
            raise Unavailable("the protocol has no LPIPS", kind="not applicable")
        self._net = net
        self._path = assets.locate(asset)
        self._device = device
        self._asset = asset
        self._network = _Once(self._build)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Digest of the trunk's weights; the heads' version is the protocol's."""
        return {"version": 1, "weights": assets.find(self._asset).sha256}

    def _build(self) -> Lpips:
        from harness.metrics.lpips import Lpips

        return Lpips(self._net, self._path, self._device, micro_batch=_images(self._device))

    def observe(self, pairs: ImagePairs) -> Columns:
        """Column `lpips_alex` or `lpips_vgg`, (B,)."""
        distances = self._network()(pairs.reference, pairs.reconstruction)
        return {f"lpips_{self._net}": distances.cpu().numpy().astype(np.float64)}


lpips_alex = functools.partial(LpipsDistance, "alex", "alexnet")
lpips_vgg = functools.partial(LpipsDistance, "vgg", "vgg16")


class Inception:
    """Features of the FID Inception network for both sides of every pair."""

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        if "inception" not in settings:
            raise Unavailable("the protocol has no Inception features", kind="not applicable")
        self._settings = settings["inception"]
        self._path: Path = assets.locate("inception")
        self._device = device
        self._network = _Once(self._build)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Digest of the weights; input rule and tap are the protocol's."""
        return {"version": 1, "weights": assets.find("inception").sha256}

    def _build(self) -> InceptionFeatures:
        from harness.metrics.inception import INPUT_RULES, InceptionFeatures

        rule = INPUT_RULES[self._settings["input"]]
        return InceptionFeatures(
            self._path,
            rule.resize,
            rule.scaling,
            outputs=(self._settings["tap"],),
            device=self._device,
            micro_batch=max(8, 2 * _images(self._device)),
        )

    def observe(self, pairs: ImagePairs) -> Columns:
        """Columns `reference_pool3` and `reconstruction_pool3`, float32 (B, 2048)."""
        tap = self._settings["tap"]
        # Both sides of a block fill one micro-batch.
        features = self._network()(self._input(pairs))[tap].cpu().numpy()
        n = len(pairs.reference_uint8)
        return {f"reference_{tap}": features[:n], f"reconstruction_{tap}": features[n:]}

    def _input(self, pairs: ImagePairs) -> Tensor:
        """All references, then all reconstructions: float in [0, 1], or 8-bit, by input rule."""
        import torch

        if self._network().scaling == "unit":
            return (torch.cat([pairs.reference, pairs.reconstruction]) + 1) / 2
        pixels = np.concatenate([pairs.reference_uint8, pairs.reconstruction_uint8])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)
