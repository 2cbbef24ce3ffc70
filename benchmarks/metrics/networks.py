"""Inception features beside torch-fidelity, and LPIPS beside the lpips package."""

from __future__ import annotations

import copy

import torch

from benchmarks.metrics.inputs import (
    byte_tensor,
    lpips_package,
    photos,
    reconstructions,
    signed_tensor,
    to_float64,
    torch_fidelity_inception,
)
from benchmarks.metrics.rounds import Claim, Comparison, Outputs
from benchmarks.metrics.sizes import Sizes
from benchmarks.random_weights import random_inception_state_dict, random_trunk_state_dict
from harness.metrics.inception import INPUT_RULES, InceptionFeatures
from harness.metrics.lpips import Lpips, Net

CANDIDATES = 4


def inception(sizes: Sizes, device: str) -> list[Comparison]:
    """pool3 of 8-bit photos; the truth is torch-fidelity in float64."""
    state = random_inception_state_dict(0)
    own = InceptionFeatures(
        state,
        *INPUT_RULES["torch-fidelity"],
        outputs=("pool3",),
        device=device,
        micro_batch=sizes.images,
    )
    peer = torch_fidelity_inception(state, device)
    exact = torch_fidelity_inception(state, device, torch.float64)
    images = byte_tensor(photos(sizes.images, sizes.side), device)

    def features(network: torch.nn.Module, batch: torch.Tensor) -> Outputs:
        with torch.inference_mode():
            return [to_float64(network(batch)[0])]

    return [
        Comparison(
            unit="image",
            items=sizes.images,
            variants={
                "ours": lambda: [to_float64(own(images)["pool3"])],
                "torch-fidelity": lambda: features(peer, images),
            },
            claims=[Claim("Inception pool3, float32", "ours", "torch-fidelity", 1.5)],
            truth=lambda: features(exact, images[: sizes.truth_images]),
        )
    ]


def lpips_candidates(sizes: Sizes, device: str) -> list[Comparison]:
    """Several candidates against each reference; the truth is the lpips package in float64."""
    counts: dict[Net, int] = {"alex": sizes.images, "vgg": sizes.vgg_images}
    return [_lpips(net, count, sizes, device) for net, count in counts.items()]


def _lpips(net: Net, count: int, sizes: Sizes, device: str) -> Comparison:
    trunk = random_trunk_state_dict(net, 0)
    own = Lpips(net, trunk, device, micro_batch=1 if device == "cpu" else count)
    peer = lpips_package(net, trunk, device)
    exact = copy.deepcopy(peer).double()
    pictures = photos(count, sizes.side)
    reference = signed_tensor(pictures, device)
    candidates = [
        signed_tensor(reconstructions(pictures, quality=20 * (number + 1)), device)
        for number in range(CANDIDATES)
    ]

    def distances(network: torch.nn.Module, dtype: torch.dtype, most: int) -> Outputs:
        own_side = reference[:most].to(dtype)
        with torch.inference_mode():
            values = [network(own_side, other[:most].to(dtype)).flatten() for other in candidates]
        return [to_float64(torch.stack(values, dim=1))]

    return Comparison(
        unit="pair",
        items=count * CANDIDATES,
        variants={
            "ours": lambda: [to_float64(own.distances(reference, candidates).T)],
            "lpips": lambda: distances(peer, torch.float32, count),
        },
        claims=[Claim(f"LPIPS {net}, {CANDIDATES} candidates", "ours", "lpips", 1.6)],
        truth=lambda: distances(exact, torch.float64, 1),
    )
