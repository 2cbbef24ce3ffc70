"""The whole reconstruction suite beside torch-fidelity, lpips and scikit-image in sequence."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benchmarks.metrics.inputs import (
    Images,
    byte_tensor,
    lpips_package,
    photos,
    reconstructions,
    signed_tensor,
    to_float64,
    torch_fidelity_inception,
    torchvision_features,
)
from benchmarks.metrics.rounds import Claim, Comparison, Outputs
from benchmarks.metrics.sizes import Sizes
from benchmarks.random_weights import random_inception_state_dict, random_trunk_state_dict
from harness.metrics.inception import INPUT_RULES, InceptionFeatures
from harness.metrics.inception_network import SIDE
from harness.metrics.lpips import Lpips, Net
from harness.metrics.networks import StateDict, exact_float32
from harness.metrics.pixel import psnr, ssim

_NETS: tuple[Net, ...] = ("alex", "vgg")
_GPU_BATCH = 32


def reconstruction(sizes: Sizes, device: str) -> list[Comparison]:
    """PNG pairs to pool3 of both sides, LPIPS, SSIM and PSNR; the parts have rows with a truth."""
    references = photos(sizes.suite_pairs, sizes.side)
    files = _png(references), _png(reconstructions(references))
    weights = random_inception_state_dict(0)
    trunks: dict[Net, StateDict] = {net: random_trunk_state_dict(net, 0) for net in _NETS}
    ours = _Ours(weights, trunks, device)
    peers = _Peers(weights, trunks, device)
    raw = _Raw(ours.inception.network, trunks, sizes, device)
    known = ours.features(byte_tensor(references, device))

    def variants(label: str, nets: Sequence[Net]) -> dict[str, Any]:
        return {
            f"ours{label}": lambda: ours.run(files, nets),
            f"ours{label}, reference known": lambda: ours.run(files, nets, known),
            f"peers in sequence{label}": lambda: peers.run(files, nets),
        }

    no_vgg = ", no VGG"
    return [
        Comparison(
            unit="pair",
            items=sizes.suite_pairs,
            variants=variants("", _NETS)
            | variants(no_vgg, _NETS[:1])
            | {"raw forward passes": raw.run},
            claims=[
                *_claims("suite", "", 1.35, 1.6),
                *_claims("suite without VGG", no_vgg, None, 1.8),
                Claim(
                    "suite, share of the networks",
                    "ours",
                    "raw forward passes",
                    0.9 if device == "cuda" else None,
                ),
            ],
        )
    ]


def _claims(name: str, label: str, cold: float | None, cached: float) -> list[Claim]:
    peer = f"peers in sequence{label}"
    return [
        Claim(f"{name}, cold", f"ours{label}", peer, cold),
        Claim(f"{name}, reference features known", f"ours{label}, reference known", peer, cached),
    ]


Files = tuple[Sequence[bytes], Sequence[bytes]]


class _Ours:
    """One pass: a pair is decoded once and feeds everything."""

    def __init__(
        self, weights: Mapping[str, torch.Tensor], trunks: Mapping[Net, StateDict], device: str
    ) -> None:
        batch = 1 if device == "cpu" else _GPU_BATCH
        self.device = device
        self.inception = InceptionFeatures(
            weights,
            *INPUT_RULES["torch-fidelity"],
            outputs=("pool3",),
            device=device,
            micro_batch=max(8, 2 * batch),
        )
        self.lpips = {
            net: Lpips(net, trunk, device, micro_batch=batch) for net, trunk in trunks.items()
        }

    def features(self, images: torch.Tensor) -> NDArray[np.float64]:
        return to_float64(self.inception(images)["pool3"])

    def run(
        self, files: Files, nets: Sequence[Net], known: NDArray[np.float64] | None = None
    ) -> Outputs:
        references, others = (_decode(side) for side in files)
        if known is None:
            both = self.features(byte_tensor(np.concatenate([references, others]), self.device))
            known, features = np.split(both, 2)
        else:
            features = self.features(byte_tensor(others, self.device))
        x, y = (signed_tensor(side, self.device) for side in (references, others))
        distances = [to_float64(self.lpips[net](x, y)) for net in nets]
        return [known, features, *distances, ssim(references, others), psnr(references, others)]


class _Peers:
    """One library after the other; images are decoded by the first and handed on."""

    def __init__(
        self, weights: Mapping[str, torch.Tensor], trunks: Mapping[Net, StateDict], device: str
    ) -> None:
        self.device = device
        self.inception = torch_fidelity_inception(weights, device)
        self.lpips = {net: lpips_package(net, trunk, device) for net, trunk in trunks.items()}

    def run(self, files: Files, nets: Sequence[Net]) -> Outputs:
        references, others = sides = [_decode(side) for side in files]
        with torch.inference_mode():
            features = [
                to_float64(self.inception(byte_tensor(side, self.device))[0]) for side in sides
            ]
            x, y = (signed_tensor(side, self.device) for side in sides)
            distances = [to_float64(self.lpips[net](x, y).flatten()) for net in nets]
        pairs = list(zip(references, others, strict=True))
        similarities = [
            structural_similarity(a, b, data_range=255, channel_axis=-1) for a, b in pairs
        ]
        decibels = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in pairs]
        return [*features, *distances, np.array(similarities), np.array(decibels)]


class _Raw:
    """The forward passes of the three networks on ready tensors: the least a suite can take."""

    def __init__(
        self,
        inception: torch.nn.Module,
        trunks: Mapping[Net, StateDict],
        sizes: Sizes,
        device: str,
    ) -> None:
        layers = [torchvision_features(net, trunk) for net, trunk in trunks.items()]
        self.networks = [inception, *(trunk.to(device) for trunk in layers)]
        self.device = device
        images = 2 * sizes.suite_pairs
        self.inputs = [
            torch.zeros(images, 3, side, side, device=device)
            for side in (SIDE, sizes.side, sizes.side)
        ]
        self.batches = [8, 1, 1] if device == "cpu" else [2 * _GPU_BATCH] * 3
        for trunk in self.networks[1:]:
            trunk.to(memory_format=torch.channels_last)

    def run(self) -> Outputs:
        with exact_float32(self.device):
            for network, images, batch in zip(
                self.networks, self.inputs, self.batches, strict=True
            ):
                for piece in torch.split(images, batch):
                    network(piece.contiguous(memory_format=torch.channels_last))
        return []


def _png(images: Images) -> list[bytes]:
    files = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        files.append(file.getvalue())
    return files


def _decode(files: Sequence[bytes]) -> Images:
    return np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
