"""The FID InceptionV3 (2015-12-05) rebuilt for speed: one fused graph of plain convolutions.

Three changes, none of which alters the function computed: batch normalisation is folded into the
convolutions (in float64); the 1x1 convolutions that read the same input become one; and the average
pool of a block, which commutes with its 1x1 convolution, runs after it on fewer channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch_fidelity.feature_extractor_inceptionv3 import (
    BasicConv2d,
    InceptionA,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE_1,
    InceptionE_2,
)

SIDE = 299
POOL3 = 2048
LOGITS = 1008
SPATIAL_CHANNELS = 7
_ROWS = 8

_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def reference_modules() -> nn.ModuleDict:
    """Build the unfused network of torch-fidelity 0.4, whose names the weights file uses.

    Returns:
        the named parts without weights (on the ``meta`` device).
    """
    with torch.device("meta"):
        return nn.ModuleDict(
            {
                "Conv2d_1a_3x3": BasicConv2d(3, 32, kernel_size=3, stride=2),
                "Conv2d_2a_3x3": BasicConv2d(32, 32, kernel_size=3),
                "Conv2d_2b_3x3": BasicConv2d(32, 64, kernel_size=3, padding=1),
                "Conv2d_3b_1x1": BasicConv2d(64, 80, kernel_size=1),
                "Conv2d_4a_3x3": BasicConv2d(80, 192, kernel_size=3),
                "Mixed_5b": InceptionA(192, pool_features=32),
                "Mixed_5c": InceptionA(256, pool_features=64),
                "Mixed_5d": InceptionA(288, pool_features=64),
                "Mixed_6a": InceptionB(288),
                "Mixed_6b": InceptionC(768, channels_7x7=128),
                "Mixed_6c": InceptionC(768, channels_7x7=160),
                "Mixed_6d": InceptionC(768, channels_7x7=160),
                "Mixed_6e": InceptionC(768, channels_7x7=192),
                "Mixed_7a": InceptionD(768),
                "Mixed_7b": InceptionE_1(1280),
                "Mixed_7c": InceptionE_2(2048),
                "fc": nn.Linear(POOL3, LOGITS),
            }
        )


class FusedInception(nn.Module):
    """The network from scaled 299x299 images to the three outputs that protocols read."""

    def __init__(self, state: Mapping[str, torch.Tensor]) -> None:
        """Fuse a checked state dict (see `harness.metrics.networks`)."""
        super().__init__()
        parts: Any = reference_modules()
        parts.load_state_dict(state, assign=True)
        self.stem = nn.Sequential(
            _Convolution(parts["Conv2d_1a_3x3"]),
            _Convolution(parts["Conv2d_2a_3x3"]),
            _Convolution(parts["Conv2d_2b_3x3"]),
            nn.MaxPool2d(kernel_size=3, stride=2),
            _Convolution(parts["Conv2d_3b_1x1"]),
            _Convolution(parts["Conv2d_4a_3x3"]),
            nn.MaxPool2d(kernel_size=3, stride=2),
            *(_block_a(parts[f"Mixed_5{c}"]) for c in "bcd"),
            _block_b(parts["Mixed_6a"]),
            *(_block_c(parts[f"Mixed_6{c}"]) for c in "bc"),
        )
        self.mixed_6d: nn.Module = _block_c(parts["Mixed_6d"])
        self.head = nn.Sequential(
            _block_c(parts["Mixed_6e"]),
            _block_d(parts["Mixed_7a"]),
            _block_e(parts["Mixed_7b"], average=True),
            _block_e(parts["Mixed_7c"], average=False),
        )
        self.classes = nn.Buffer(parts["fc"].weight.detach().T.contiguous())

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compute the outputs of scaled images.

        Args:
            images: float32 (B, 3, 299, 299) in [-1, 1], best channels-last in memory.

        Returns:
            pool3 (B, 2048); spatial (B, 2023), the first 7 channels of ``Mixed_6d.branch1x1``
            flattened as 17x17x7; logits without bias (B, 1008). All float32.
        """
        mixed_6d = self.mixed_6d(self.stem(images))
        spatial = mixed_6d[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)
        pool3 = self.head(mixed_6d).mean(dim=(2, 3))
        return pool3, spatial, self._logits(pool3)

    def _logits(self, pool3: torch.Tensor) -> torch.Tensor:
        """Multiply in fixed numbers of rows: another number takes another kernel and other bits."""
        missing = -len(pool3) % _ROWS
        return (functional.pad(pool3, [0, 0, 0, missing]) @ self.classes)[: len(pool3)]


class _Convolution(nn.Module):
    """One or several convolutions of the same input with their normalisation folded in."""

    def __init__(self, *blocks: Any, relu: bool = True) -> None:
        super().__init__()
        folded = [_fold(block) for block in blocks]
        first = blocks[0].conv
        self.weight = nn.Buffer(
            torch.cat([weight for weight, _ in folded]).contiguous(
                memory_format=torch.channels_last
            )
        )
        self.bias = nn.Buffer(torch.cat([bias for _, bias in folded]))
        self.stride = first.stride
        self.padding = first.padding
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # On a CPU PyTorch sends 1x1 convolutions to a plain matrix product, which is slower.
        if _ONEDNN and x.device.type == "cpu":
            y = torch.mkldnn_convolution(
                x, self.weight, self.bias, self.padding, self.stride, (1, 1), 1
            )
        else:
            y = functional.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        return functional.relu_(y) if self.relu else y


class _SideBySide(nn.Module):
    """Modules that read the same input, their outputs joined along the channels."""

    def __init__(self, *sides: nn.Module) -> None:
        super().__init__()
        self.sides = nn.ModuleList(sides)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([side(x) for side in self.sides], dim=1)


class _Block(nn.Module):
    """Merged 1x1 convolutions, a continuation for each of the later groups, and a pooled branch.

    The merged channels are, in order: groups passed on as they are, one group for each
    continuation, and, where no other pooling is given, the group to average. An average pool
    commutes with the 1x1 convolution but not with its ReLU, hence the late activation.
    """

    def __init__(
        self, merged: list[Any], branches: list[nn.Module], pooling: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.merged = _Convolution(*merged, relu=False)
        self.widths = [block.conv.out_channels for block in merged]
        self.branches = nn.ModuleList(branches)
        self.pooling = pooling

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channels = self.merged(x)
        groups = list(channels.split(self.widths, dim=1))
        if self.pooling is None:
            # TensorFlow's average leaves the padding out of the count.
            average = functional.avg_pool2d(groups.pop(), 3, 1, 1, count_include_pad=False)
            pooled = functional.relu_(average)
        else:
            pooled = self.pooling(x)
        functional.relu_(channels[:, : sum(group.shape[1] for group in groups)])
        passed = len(groups) - len(self.branches)
        continued = [
            branch(group) for branch, group in zip(self.branches, groups[passed:], strict=True)
        ]
        return torch.cat([*groups[:passed], *continued, pooled], dim=1)


def _chain(block: Any, *names: str) -> nn.Module:
    return nn.Sequential(*(_Convolution(getattr(block, name)) for name in names))


def _block_a(block: Any) -> nn.Module:
    return _Block(
        [block.branch1x1, block.branch5x5_1, block.branch3x3dbl_1, block.branch_pool],
        [_chain(block, "branch5x5_2"), _chain(block, "branch3x3dbl_2", "branch3x3dbl_3")],
    )


def _block_b(block: Any) -> nn.Module:
    return _SideBySide(
        _chain(block, "branch3x3"),
        _chain(block, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
        nn.MaxPool2d(kernel_size=3, stride=2),
    )


def _block_c(block: Any) -> nn.Module:
    return _Block(
        [block.branch1x1, block.branch7x7_1, block.branch7x7dbl_1, block.branch_pool],
        [
            _chain(block, "branch7x7_2", "branch7x7_3"),
            _chain(block, *(f"branch7x7dbl_{i}" for i in (2, 3, 4, 5))),
        ],
    )


def _block_d(block: Any) -> nn.Module:
    return _Block(
        [block.branch3x3_1, block.branch7x7x3_1],
        [
            _chain(block, "branch3x3_2"),
            _chain(block, "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"),
        ],
        pooling=nn.MaxPool2d(kernel_size=3, stride=2),
    )


def _block_e(block: Any, average: bool) -> nn.Module:
    fork = _SideBySide(_Convolution(block.branch3x3_2a), _Convolution(block.branch3x3_2b))
    double_fork = nn.Sequential(
        _Convolution(block.branch3x3dbl_2),
        _SideBySide(_Convolution(block.branch3x3dbl_3a), _Convolution(block.branch3x3dbl_3b)),
    )
    merged = [block.branch1x1, block.branch3x3_1, block.branch3x3dbl_1]
    if average:
        return _Block([*merged, block.branch_pool], [fork, double_fork])
    # The 2015 graph's last block pools by maximum, which does not commute with a convolution.
    pooling = nn.Sequential(
        nn.MaxPool2d(kernel_size=3, stride=1, padding=1), _Convolution(block.branch_pool)
    )
    return _Block(merged, [fork, double_fork], pooling)


def _fold(block: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Fold a convolution's normalisation into float32 weights and bias."""
    normalisation = block.bn
    weight = block.conv.weight.detach().double()
    scale = normalisation.weight.double() / torch.sqrt(
        normalisation.running_var.double() + normalisation.eps
    )
    bias = normalisation.bias.double() - normalisation.running_mean.double() * scale
    return (weight * scale.view(-1, 1, 1, 1)).float(), bias.detach().float()
