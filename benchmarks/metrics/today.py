"""MS-SSIM, DISTS, CLIP's and DINOv2's features and CMMD beside what defines them."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torchmetrics
import torchvision
from numpy.typing import NDArray
from torchmetrics.functional.image import (
    dists as torchmetrics_dists,
    multiscale_structural_similarity_index_measure,
)

from benchmarks.metrics.inputs import (
    byte_tensor,
    photos,
    reconstructions,
    signed_tensor,
    to_float64,
)
from benchmarks.metrics.rounds import Claim, Comparison, Outputs
from benchmarks.metrics.sizes import Sizes
from benchmarks.random_weights import random_clip_state_dict, random_trunk_state_dict
from harness.metrics.clip import load_clip
from harness.metrics.cmmd import cmmd_value
from harness.metrics.dists import Dists
from harness.metrics.ms_ssim import SMALLEST_SIDE, ms_ssim

DISTS_HEADS = Path(torchmetrics.__file__).parent / "functional/image/dists_models/weights.pt"
"""The published weights of channels, as torchmetrics ships them."""


def multi_scale(sizes: Sizes, device: str) -> list[Comparison]:
    """MS-SSIM by torchmetrics' rule; the truth is torchmetrics in float64."""
    del device
    references = photos(sizes.pixel_pairs, max(sizes.side, SMALLEST_SIDE + 15))
    others = reconstructions(references)

    def peer(dtype: torch.dtype, most: int | None = None) -> Outputs:
        x, y = (byte_tensor(each[:most], "cpu").to(dtype) for each in (references, others))
        values = multiscale_structural_similarity_index_measure(
            y, x, data_range=255.0, reduction="none"
        )
        return [to_float64(values)]

    return [
        Comparison(
            unit="pair",
            items=sizes.pixel_pairs,
            variants={
                "ours": lambda: [ms_ssim(references, others, "torchmetrics")],
                "torchmetrics": lambda: peer(torch.float32),
            },
            claims=[Claim("MS-SSIM", "ours", "torchmetrics")],
            truth=lambda: peer(torch.float64, sizes.truth_images),
            absolute=True,
        )
    ]


def dists(sizes: Sizes, device: str) -> list[Comparison]:
    """DISTS with random trunk and published heads; the truth is torchmetrics in float64."""
    trunk = random_trunk_state_dict("vgg", 0)
    own = Dists(trunk, DISTS_HEADS, device, micro_batch=1 if device == "cpu" else sizes.vgg_images)
    peer = dists_peer(trunk).to(device)
    exact = copy.deepcopy(peer).double()
    pictures = photos(sizes.vgg_images, sizes.side)
    x, y = (signed_tensor(each, device) for each in (pictures, reconstructions(pictures)))

    def distances(network: torch.nn.Module, dtype: torch.dtype) -> Outputs:
        with torch.inference_mode():
            return [to_float64(network((x.to(dtype) + 1) / 2, (y.to(dtype) + 1) / 2)).reshape(-1)]

    return [
        Comparison(
            unit="pair",
            items=sizes.vgg_images,
            variants={
                "ours": lambda: [to_float64(own(x, y))],
                "torchmetrics": lambda: distances(peer, torch.float32),
            },
            claims=[Claim("DISTS", "ours", "torchmetrics")],
            truth=lambda: distances(exact, torch.float64),
            absolute=True,
        )
    ]


def dists_peer(trunk: dict[str, torch.Tensor]) -> torch.nn.Module:
    """Torchmetrics' network, which downloads its trunk, with a given one."""

    def given(**_: Any) -> torch.nn.Module:
        network = torchvision.models.vgg16()
        network.load_state_dict(trunk, strict=False)
        return network

    with mock.patch.object(torchmetrics_dists, "vgg16", given):
        return torchmetrics_dists.DISTSNetwork().eval()


def clip(sizes: Sizes, device: str) -> list[Comparison]:
    """Features of a small CLIP beside torch-fidelity's; the truth is that in float64."""
    from torch_fidelity.feature_extractor_clip import build_model

    state = random_clip_state_dict(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.pt"
        torch.save(state, path)
        own = load_clip(path, device).visual
    peer, exact = (
        build_model(dict(state), dtype).visual.to(device)
        for dtype in (torch.float32, torch.float64)
    )
    images = torch.rand(sizes.images, 3, 56, 56, device=device)

    def features(network: torch.nn.Module, dtype: torch.dtype) -> Outputs:
        with torch.inference_mode():
            return [to_float64(network(images.to(dtype)))]

    return [
        Comparison(
            unit="image",
            items=sizes.images,
            variants={
                "ours": lambda: features(own, torch.float32),
                "torch-fidelity": lambda: features(peer, torch.float32),
            },
            claims=[Claim("CLIP, a small one", "ours", "torch-fidelity")],
            truth=lambda: features(exact, torch.float64),
        )
    ]


def cmmd(sizes: Sizes, device: str) -> list[Comparison]:
    """CMMD with its interval beside the published formula, whole in memory, without one."""
    del device
    draws = np.random.default_rng(0)
    x, y = (draws.normal(size=(sizes.references, 768)) for _ in range(2))
    x[:, 0] += 20
    y[:, 0] += 21
    first, second = (
        (each / np.linalg.norm(each, axis=1, keepdims=True)).astype(np.float32) for each in (x, y)
    )

    def formula(dtype: type[np.floating[Any]]) -> Outputs:
        a, b = (each.astype(dtype) for each in (first, second))

        def kernel(u: NDArray[Any], v: NDArray[Any]) -> Any:
            squares = (u * u).sum(1)[:, None] + (v * v).sum(1)[None] - 2 * u @ v.T
            return np.exp(squares * dtype(-1 / 200)).mean()

        value = dtype(1000) * (kernel(a, a) + kernel(b, b) - 2 * kernel(a, b))
        return [np.array([value], dtype=np.float64)]

    return [
        Comparison(
            unit="1,000 images a side",
            items=sizes.references / 1000,
            variants={
                "ours": lambda: [np.array([cmmd_value(first, second, paired=False).value])],
                "formula, float32": lambda: formula(np.float32),
            },
            claims=[Claim("CMMD", "ours", "formula, float32")],
            truth=lambda: formula(np.float64),
            absolute=True,
        )
    ]
