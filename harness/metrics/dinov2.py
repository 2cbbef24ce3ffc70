"""Features of DINOv2 (Oquab et al. 2023) for FD-DINOv2 and KD, under the rules of two packages."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.data import assets
from harness.metrics.extractors import FeatureExtractor, require_sets

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from harness.metrics.networks import FeatureNetwork

SIDE, _PATCH, _HEAD = 224, 14, 64
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Dinov2Features(FeatureExtractor):
    """The class token of DINOv2 ViT-L/14, 1,024 columns."""

    concurrent = True
    beside_model = True
    output = "dinov2"

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        require_sets(settings)
        self._rule = settings.get("dinov2", {}).get("input", "dgm-eval")
        self._path = assets.needed("dinov2")
        super().__init__(settings, device)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Digest of the weights, and the input rule, which a protocol may leave open."""
        return {"version": 1, "weights": assets.find("dinov2").sha256, "input": self._rule}

    def build(self) -> FeatureNetwork:
        """Load the network."""
        from harness.metrics.networks import ModuleNetwork

        prepare = functools.partial(prepared, rule=self._rule)
        return ModuleNetwork(load_dinov2(self._path), prepare, self.output, self.device)


def prepared(images: torch.Tensor, rule: str) -> torch.Tensor:
    """The network's input of images of one size.

    `dgm-eval` resizes 8-bit pictures with Pillow's bicubic kernel, its `--clean_resize` floats, and
    `torch-fidelity` 0.4 with TensorFlow 1's bilinear one.

    Args:
        images: uint8 (B, 3, H, W).
        rule: One of the three.

    Returns:
        float32 (B, 3, 224, 224), ImageNet's mean and deviation taken out.
    """
    import torch

    from harness.metrics import resize

    resizes: Mapping[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
        "dgm-eval": resize.pil_bytes,
        "dgm-eval-clean": resize.pil_bicubic,
        "torch-fidelity": resize.tf1_bilinear,
    }
    unit = resizes[rule](images, SIDE).clamp(0, 255).float() / 255
    mean, std = (torch.tensor(each, device=unit.device).view(1, 3, 1, 1) for each in (_MEAN, _STD))
    return (unit - mean) / std


def load_dinov2(
    weights: Mapping[str, torch.Tensor] | str | os.PathLike[str],
) -> torch.nn.Module:
    """Build the network for images of 224 pixels; its depth and width are those of the weights.

    Args:
        weights: State dict, or path of one, under the names of `dinov2_vitl14_pretrain.pth`.

    Raises:
        ValueError: They are none of a DINOv2 without registers.
    """
    import torch
    from timm.models.vision_transformer import VisionTransformer

    from harness.metrics.networks import read_state_dict

    if isinstance(weights, Mapping):
        given: Mapping[str, torch.Tensor] = weights
    else:
        given = torch.load(weights, map_location="cpu", weights_only=True)
    plain = {"pos_embed", "blocks.0.mlp.fc1.weight"} <= given.keys()
    if not plain or "register_tokens" in given:
        raise ValueError("the weights are none of DINOv2; give dinov2_vitl14_pretrain.pth")
    _, tokens, width = given["pos_embed"].shape
    sizes: dict[str, Any] = {
        "patch_size": _PATCH,
        "embed_dim": width,
        "depth": sum(name.endswith("attn.qkv.weight") for name in given),
        "num_heads": width // _HEAD,
        "mlp_ratio": len(given["blocks.0.mlp.fc1.weight"]) / width,
        "init_values": 1e-5,
        "num_classes": 0,
    }
    with torch.device("meta"):
        network = VisionTransformer(img_size=SIDE, **sizes)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    shapes["pos_embed"] = torch.Size([1, tokens, width])
    state = read_state_dict(given, shapes, "DINOv2")
    state["pos_embed"] = _positions(state["pos_embed"])
    network.load_state_dict(state, assign=True)
    return network


def _positions(trained: torch.Tensor) -> torch.Tensor:
    """Positions (1, 1 + h w, d) of the grid that the images have, from those of the trained one.

    As the published code, whose 0.1 keeps rounding from losing a patch and shifts the samples a
    little: neither timm nor transformers does it, which moves features in the third digit.
    """
    import torch

    grid, trained_grid = SIDE // _PATCH, int((trained.shape[1] - 1) ** 0.5)
    if grid == trained_grid:
        return trained
    patches = trained[:, 1:].reshape(1, trained_grid, trained_grid, -1).permute(0, 3, 1, 2)
    scale = (grid + 0.1) / trained_grid
    resized = torch.nn.functional.interpolate(
        patches, scale_factor=(scale, scale), mode="bicubic", antialias=False
    )
    return torch.cat([trained[:, :1], resized.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
