"""Random weights of the metric networks, for speeds and for agreement between two codes."""

from __future__ import annotations

import math

import torch

from harness.metrics.inception import inception_shapes
from harness.metrics.lpips import Net, trunk_shapes
from harness.metrics.networks import Shapes, StateDict


def random_inception_state_dict(seed: int) -> StateDict:
    """The FID Inception network's, under the names of the published weights file."""
    return random_state_dict(inception_shapes(), seed)


def random_trunk_state_dict(net: Net, seed: int) -> StateDict:
    """An LPIPS trunk's, under torchvision's names."""
    return random_state_dict(trunk_shapes(net), seed)


def random_dinov2_state_dict(
    seed: int, width: int = 64, depth: int = 2, grid: int = 37
) -> StateDict:
    """A DINOv2's, under the names of its file; 1024 wide and 24 deep it is the published one's."""
    plain, wide = torch.Size([width]), torch.Size([width, width])
    shapes = {
        "cls_token": torch.Size([1, 1, width]),
        "pos_embed": torch.Size([1, 1 + grid**2, width]),
        "mask_token": torch.Size([1, width]),
        "patch_embed.proj.weight": torch.Size([width, 3, 14, 14]),
        "patch_embed.proj.bias": plain,
        "norm.weight": plain,
        "norm.bias": plain,
    }
    for block in range(depth):
        layers = {
            "norm1.weight": plain,
            "norm1.bias": plain,
            "attn.qkv.weight": torch.Size([3 * width, width]),
            "attn.qkv.bias": torch.Size([3 * width]),
            "attn.proj.weight": wide,
            "attn.proj.bias": plain,
            "ls1.gamma": plain,
            "norm2.weight": plain,
            "norm2.bias": plain,
            "mlp.fc1.weight": torch.Size([4 * width, width]),
            "mlp.fc1.bias": torch.Size([4 * width]),
            "mlp.fc2.weight": torch.Size([width, 4 * width]),
            "mlp.fc2.bias": plain,
            "ls2.gamma": plain,
        }
        shapes |= {f"blocks.{block}.{name}": shape for name, shape in layers.items()}
    return random_state_dict(shapes, seed)


def random_clip_state_dict(seed: int, side: int = 56, patch: int = 14) -> StateDict:
    """A small CLIP's, under the names of OpenAI's files, with their vocabulary."""
    from open_clip import CLIP

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tower = {"layers": 2, "width": 64}
        clip = CLIP(
            32,
            vision_cfg={**tower, "patch_size": patch, "image_size": side},
            text_cfg={**tower, "heads": 1},
            quick_gelu=True,
        )
    # OpenAI's files hold halves of the larger tensors, so that loading rounds none of these either.
    return {name: tensor.half().float() for name, tensor in clip.state_dict().items()}


def random_state_dict(shapes: Shapes, seed: int) -> StateDict:
    """Draw a state dict whose activations keep a reasonable size through ReLU networks.

    Convolutions and linear layers are normal with variance 2 / fan-in; normalisations have scales
    and variances in [0.5, 1.5] and small shifts; biases are small.

    Args:
        shapes: name and shape of every tensor.
        seed: seed of PyTorch's CPU generator.

    Returns:
        float32 tensors in the order of `shapes`.
    """
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if len(shape) > 1:
            values = torch.randn(shape, generator=generator)
            values *= math.sqrt(2 / math.prod(shape[1:]))
        elif name.endswith(("running_var", ".bn.weight")):
            values = torch.rand(shape, generator=generator) + 0.5
        else:
            values = torch.randn(shape, generator=generator) * 0.1
        state[name] = values
    return state
