"""DreamSim (Fu et al. 2023) by its authors' package, from files that lie here."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.data.settings import read_settings
from harness.interfaces import Columns, ImagePairs
from harness.interfaces.errors import Unavailable
from harness.interfaces.extras import lacking
from harness.interfaces.observing import Once
from harness.metrics.extractors import require_pairs, shared_network

_FILES = (
    "dino_vitb16_pretrain.pth",
    "clip_vitb16_pretrain.pth.tar",
    "open_clip_vitb16_pretrain.pth.tar",
    "ensemble_lora/adapter_config.json",
    # What torch.hub brings, and the package runs: DINO's own code and weights.
    "facebookresearch_dino_main/hubconf.py",
    "facebookresearch_dino_main/vision_transformer.py",
    "checkpoints/dino_vitbase16_pretrain.pth",
)
_SIDE = 224


def find_files() -> Path:
    """The folder that the package was given; raise `Unavailable` where something is missing."""
    if text := lacking("dreamsim"):
        raise Unavailable(f"DreamSim {text}")
    settings = read_settings()
    named = os.environ.get("UWT_EVAL_ASSET_DREAMSIM")
    folders = [Path(named)] if named else []
    folders += [each / "dreamsim" for each in (settings.assets,) if each is not None]
    folders.append(settings.cache / "assets" / "dreamsim")
    for folder in folders:
        if all((folder / file).is_file() for file in _FILES):
            return folder
    fetch = f"import dreamsim; dreamsim.dreamsim(device='cpu', cache_dir='{folders[-1]}')"
    raise Unavailable(f"weights 'dreamsim' missing, run `python -c \"{fetch}\"`")


class DreamSimDistance:
    """DreamSim's ensemble of three networks, of 8-bit images resized to 224 x 224 pixels.

    Not for several threads at once: the package keeps what it sees in its networks.
    """

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        from harness.data.digests import weights_sha256

        require_pairs(settings)
        self._device = device
        self._folder = find_files()
        adapters = sorted(f"ensemble_lora/{e.name}" for e in self._folder.glob("ensemble_lora/*"))
        names = dict.fromkeys((*_FILES, *adapters))
        self._digests = {name: weights_sha256(self._folder / name) for name in names}
        self._network = shared_network(
            ["dreamsim", self.identity, device], lambda: Once(lambda: _load(self._folder, device))
        )

    @property
    def identity(self) -> Mapping[str, Any]:
        """Digests of all files, none of which is pinned, and the package's version."""
        from importlib.metadata import version

        return {"version": 1, "package": version("dreamsim"), "files": self._digests}

    def observe(self, pairs: ImagePairs) -> Columns:
        """Column `dreamsim`, one less the cosine of both embeddings, float64 (B,)."""
        import torch

        from harness.data.images import to_device, to_host
        from harness.metrics.networks import exact_float32
        from harness.metrics.resize import pil_bytes

        network, sides = self._network(), []
        with exact_float32(self._device):
            for images in (pairs.reference_uint8, pairs.reconstruction_uint8):
                small = pil_bytes(torch.from_numpy(images).permute(0, 3, 1, 2), _SIDE)
                inputs = to_device(small, self._device).float() / 255
                rows = torch.cat([network.embed(image) for image in torch.split(inputs, 1)])
                sides.append(torch.from_numpy(to_host(rows)).double())
        return {"dreamsim": (1 - torch.cosine_similarity(sides[0], sides[1])).numpy()}


def _load(folder: Path, device: str) -> Any:
    """The network; what the package prints is not shown, and torch.hub's folder stays its own."""
    import dreamsim
    import torch

    before = torch.hub.get_dir()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            network, _ = dreamsim.dreamsim(device=device, cache_dir=str(folder))
    finally:
        torch.hub.set_dir(before)
    return network
