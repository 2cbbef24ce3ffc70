"""Extractors of MS-SSIM and DISTS, which compare images in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.data import assets
from harness.data.images import to_float, to_host
from harness.interfaces import Columns, ImagePairs
from harness.interfaces.observing import Once
from harness.metrics.extractors import require_pairs, shared_network

if TYPE_CHECKING:
    from harness.metrics.dists import Dists
    from harness.metrics.ms_ssim import Rule


class MultiScaleSsim:
    """MS-SSIM of 8-bit images."""

    concurrent = True
    works_on = "cpu"

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        del device
        require_pairs(settings)
        self._rule: Rule = settings.get("ms_ssim", {}).get("rule", "pytorch-msssim")

    @property
    def identity(self) -> Mapping[str, Any]:
        """The rule, which a protocol may leave open."""
        return {"version": 1, "rule": self._rule}

    def observe(self, pairs: ImagePairs) -> Columns:
        """Column `ms_ssim`, float64 (B,)."""
        from harness.metrics.ms_ssim import ms_ssim

        return {"ms_ssim": ms_ssim(pairs.reference_uint8, pairs.reconstruction_uint8, self._rule)}


class DistsDistance:
    """DISTS of pairs, at their own size or as the authors' script resizes them."""

    concurrent = True
    beside_model = True

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        require_pairs(settings)
        self._resize = settings.get("dists", {}).get("resize", "none")
        trunk, heads = (assets.needed(name) for name in ("vgg16", "dists"))

        def build() -> Dists:
            from harness.metrics.dists import Dists
            from harness.metrics.networks import at_a_time

            return Dists(trunk, heads, device, micro_batch=at_a_time(device))

        self._network = shared_network(["dists", self.identity, device], lambda: Once(build))

    @property
    def identity(self) -> Mapping[str, Any]:
        """Digests of both files, and the resize, which a protocol may leave open."""
        found = {name: assets.find(name).sha256 for name in ("vgg16", "dists")}
        return {"version": 1, "weights": found, "resize": self._resize}

    def observe(self, pairs: ImagePairs) -> Columns:
        """Column `dists`, float64 (B,)."""
        from harness.metrics.dists import shortened

        reference, reconstruction = pairs.reference, pairs.reconstruction
        if self._resize != "none":
            reference, reconstruction = (
                to_float(shortened(each), reference.device)
                for each in (pairs.reference_uint8, pairs.reconstruction_uint8)
            )
        return {"dists": to_host(self._network()(reference, reconstruction))}
