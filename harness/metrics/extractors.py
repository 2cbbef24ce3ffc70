"""The extractors that come with the harness: pixel measures, LPIPS distances, Inception features.

Networks are built when they first observe; their weights are found, and digested, before that.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakValueDictionary

import numpy as np

from harness.data import assets
from harness.data.manifest import GPU_BLOCK
from harness.data.settings import read_settings
from harness.interfaces import Columns, GeneratedImages, ImagePairs
from harness.interfaces.errors import Unavailable
from harness.interfaces.observing import Once

if TYPE_CHECKING:
    from torch import Tensor

    from harness.metrics.feature_cache import FeatureCache
    from harness.metrics.inception import InceptionFeatures, Output
    from harness.metrics.lpips import Lpips, Net

    Features = dict[Output, np.ndarray]


def _images(device: str) -> int:
    """Images a network takes at a time: a CPU gains nothing from several, a GPU takes a block."""
    return 1 if device == "cpu" else GPU_BLOCK


class Pixels:
    """PSNR in dB and SSIM of 8-bit images."""

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        del device
        if "ssim" not in settings:
            raise Unavailable("the protocol has no pixel measures", kind="not applicable")
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
        self._network = Once(self._build)

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


class _InceptionPass:
    """One run of the Inception network over a block, shared by the extractors of its outputs.

    The network computes all its outputs in any case; what an extractor asks for after another has
    asked for the same pairs is read from the run before. Originals and reconstructions run apart,
    so that the reconstructions' features have the same bits whether or not the originals' features
    come from the cache, on a GPU too.
    """

    def __init__(self, rule: str, path: Path, device: str, cache: Path) -> None:
        self._rule = rule
        self._path = path
        self._device = device
        self._folder = cache
        self._network = Once(self._build)
        self._cache = Once(self._open_cache)
        self._kept: set[Output] = set()
        self._asked: set[Output] = set()
        self._lane = threading.local()

    def register(self, output: Output, *, reference: bool) -> None:
        """Announce that an extractor will ask for an output, of the originals too or not."""
        self._asked.add(output)
        if reference:
            self._kept.add(output)

    def features(
        self, pairs: ImagePairs | GeneratedImages, output: Output
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """An output of originals (None if not announced or there are none) and of outputs.

        Both are float32 (B, d).
        """
        lane = self._lane
        if getattr(lane, "pairs", None) is not pairs:
            lane.reference, lane.reconstruction = self._observe(pairs)
            lane.pairs, lane.open = pairs, set(self._asked)
        found = lane.reference.get(output), lane.reconstruction[output]
        lane.open.discard(output)
        if not lane.open:
            # A block's images are not held until the next block comes.
            lane.pairs = lane.reference = lane.reconstruction = None
        return found

    def _observe(self, pairs: ImagePairs | GeneratedImages) -> tuple[Features, Features]:
        if isinstance(pairs, GeneratedImages):
            scaled = self._network().scaling == "unit"
            images = (pairs.images + 1) / 2 if scaled else _channels_first(pairs.images_uint8)
            return {}, self._run(images, self._asked)
        if self._network().scaling == "unit":
            images, keyed = (pairs.reference + 1) / 2, pairs.reference
            decoded = (pairs.reconstruction + 1) / 2
        else:
            images = keyed = _channels_first(pairs.reference_uint8)
            decoded = _channels_first(pairs.reconstruction_uint8)
        reference = self._reference(images, keyed) if self._kept else {}
        return reference, self._run(decoded, self._asked)

    def _reference(self, images: Tensor, keyed: Tensor) -> Features:
        cache = self._cache()
        key = cache.key(keyed)
        found: Features = {}
        for output in self._kept:
            features = cache.load(key, output, len(images))
            if features is None:
                found = self._run(images, self._kept)
                for name, rows in found.items():
                    cache.save(key, name, rows)
                return found
            found[output] = features
        return found

    def _run(self, images: Tensor, outputs: Iterable[Output]) -> Features:
        features = self._network()(images)
        return {output: features[output].cpu().numpy() for output in outputs}

    def _build(self) -> InceptionFeatures:
        from harness.metrics.inception import INPUT_RULES, InceptionFeatures

        rule = INPUT_RULES[self._rule]
        return InceptionFeatures(
            self._path,
            rule.resize,
            rule.scaling,
            device=self._device,
            micro_batch=max(8, _images(self._device)),
        )

    def _open_cache(self) -> FeatureCache:
        import torch

        from harness.metrics.feature_cache import FeatureCache

        on_gpu = self._device != "cpu"
        identity = {
            "version": _INCEPTION_VERSION,
            "weights": assets.find("inception").sha256,
            "input": self._rule,
            "device": self._device.partition(":")[0],
            "processor": (
                torch.cuda.get_device_name(torch.device(self._device))
                if on_gpu
                else f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
            ),
            "torch": torch.__version__,
        }
        return FeatureCache(self._folder, identity)


def _channels_first(pixels: np.ndarray) -> Tensor:
    import torch

    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


_INCEPTION_VERSION = 1
_PASSES: WeakValueDictionary[tuple[str, ...], _InceptionPass] = WeakValueDictionary()
"""Runs that extractors share; each lives as long as one of its extractors."""


class Inception:
    """Features of the FID Inception network, of both sides of every pair.

    Args:
        settings: The protocol's settings.
        device: Where the network runs.
        output: Which of the network's outputs; the protocol's tap where None.
        reference: Whether the originals' features are wanted too.

    Raises:
        Unavailable: The protocol has no such features, or the weights are missing.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        device: str,
        *,
        output: Output | None = None,
        reference: bool = True,
    ) -> None:
        if "inception" not in settings:
            raise Unavailable("the protocol has no Inception features", kind="not applicable")
        rule = settings["inception"]["input"]
        self._output: Output = output or settings["inception"]["tap"]
        path = assets.locate("inception")
        cache = read_settings().cache / "features"
        key = (rule, str(path), assets.find("inception").sha256, device, str(cache))
        shared = _PASSES.get(key)
        if shared is None:
            shared = _PASSES[key] = _InceptionPass(rule, path, device, cache)
        shared.register(self._output, reference=reference)
        self._pass = shared

    @property
    def identity(self) -> Mapping[str, Any]:
        """Digest of the weights; input rule and tap are the protocol's."""
        return {"version": _INCEPTION_VERSION, "weights": assets.find("inception").sha256}

    def observe(self, pairs: ImagePairs | GeneratedImages) -> Columns:
        """Columns `reference_OUTPUT`, if wanted, and `reconstruction_OUTPUT`, float32 (B, d).

        Generated images are in the place of reconstructions, without originals.
        """
        reference, reconstruction = self._pass.features(pairs, self._output)
        columns = {f"reconstruction_{self._output}": reconstruction}
        return columns if reference is None else {f"reference_{self._output}": reference} | columns


inception_spatial = functools.partial(Inception, output="spatial")
inception_logits = functools.partial(Inception, output="logits", reference=False)
