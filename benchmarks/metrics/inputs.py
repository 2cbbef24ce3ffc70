"""Photos, their reconstructions and peers with the same random weights."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lpips
import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from harness.metrics.lpips import Net

Images = NDArray[np.uint8]


def photos(count: int, side: int) -> Images:
    """Crops of real photos, uint8 (count, side, side, 3)."""
    draws = np.random.default_rng(0)
    sources = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
    crops = []
    for number in range(count):
        source = sources[number % len(sources)]
        top, left = (int(draws.integers(length - side + 1)) for length in source.shape[:2])
        crops.append(source[top : top + side, left : left + side])
    return np.stack(crops)


def reconstructions(images: Images, quality: int = 25) -> Images:
    """The images after JPEG."""
    return np.stack([np.asarray(Image.open(_encoded(image, quality))) for image in images])


def _encoded(image: Images, quality: int) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return file


def byte_tensor(images: Images, device: str) -> torch.Tensor:
    """NHWC to uint8 NCHW."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device)


def signed_tensor(images: Images, device: str) -> torch.Tensor:
    """NHWC 8-bit to float32 NCHW in [-1, 1]."""
    return byte_tensor(images, device).float() / 127.5 - 1


def to_float64(values: torch.Tensor) -> NDArray[np.float64]:
    """A tensor as an array on the host."""
    return values.detach().cpu().double().numpy()


def torch_fidelity_inception(
    state: Mapping[str, torch.Tensor], device: str, dtype: torch.dtype = torch.float32
) -> Any:
    """torch-fidelity's extractor of pool3 with given weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inception.pth"
        torch.save(dict(state), path)
        peer = FeatureExtractorInceptionV3(
            "peer", ["2048"], feature_extractor_weights_path=str(path)
        )
    # Version 0.4.0 takes the option "float64" for float32.
    peer.feature_extractor_internal_dtype = dtype
    return peer.to(device, dtype)


def torchvision_features(net: Net, trunk: Mapping[str, torch.Tensor]) -> torch.nn.Sequential:
    """The layers of torchvision's network that LPIPS uses, with a given trunk."""
    with torch.device("meta"):
        network = {"alex": torchvision.models.alexnet, "vgg": torchvision.models.vgg16}[net]()
    layers: torch.nn.Sequential = network.features[: {"alex": 12, "vgg": 30}[net]].eval()
    state = {name.removeprefix("features."): tensor for name, tensor in trunk.items()}
    layers.load_state_dict(state, assign=True)
    return layers


def lpips_package(net: Net, trunk: Mapping[str, torch.Tensor], device: str) -> Any:
    """The lpips package's network with a given trunk."""
    features = torchvision_features(net, trunk)
    peer = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    for part in range(1, 6):
        for index, layer in getattr(peer.net, f"slice{part}").named_children():
            layer.load_state_dict(features[int(index)].state_dict())
    return peer.eval().to(device)
