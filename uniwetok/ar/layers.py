"""Linear layers of transformer and head; attribute names are the released ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812

from uniwetok.tokenizer import layers

_FEW_ROWS = range(2, 5)
_INIT_STD = 0.02
_ONEDNN: bool = torch.backends.mkldnn.is_available() and hasattr(  # type: ignore[no-untyped-call]
    torch.ops.mkldnn, "_linear_pointwise"
)
"""Whether this build of torch has oneDNN's product; without it everything is ``F.linear``."""


class Linear(nn.Linear):
    """``nn.Linear`` that is faster on a CPU in float32, and elsewhere the same.

    Products of 5 rows and more, and all with gradients, are oneDNN's: on AMD processors they take
    half the time of MKL's, which ``nn.Linear`` asks for. Sampling one or two images is bound by
    reading the weights: MKL reads them at full speed for one row, and for 2 to 4 only if the
    product is asked for transposed, of contiguous rows. Results differ by rounding.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        rows = x.numel() // self.in_features
        if not torch.is_grad_enabled() and x.device.type == "cpu" and rows in _FEW_ROWS:
            out = (self.weight @ x.reshape(rows, -1).contiguous().T).T.contiguous()
            out = out if self.bias is None else out + self.bias
            return out.view(*x.shape[:-1], self.out_features)
        if rows and _for_onednn(x):
            product: Tensor = _Product.apply(x.reshape(rows, -1), self.weight, self.bias)
            return product.view(*x.shape[:-1], self.out_features)
        return F.linear(x, self.weight, self.bias)


def _for_onednn(x: Tensor) -> bool:
    """Whether oneDNN's product is there and is the one that is asked for.

    It is not where the compiler or a counter of work looks on, nor in mixed precision, all of which
    know ``F.linear``.
    """
    return (
        type(x) is Tensor
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and _ONEDNN
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class _Product(torch.autograd.Function):
    """Product of rows with a weight, plus a bias, in float32 on a CPU, and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _onednn(gradient, weight.T) if of_x else None,
            _onednn(gradient.T, x.T) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Give ``x @ weight.T + bias`` of matrices; the arguments left over ask for nothing more."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


class SwiGLU(layers.SwiGLU):
    """SwiGLU of these linear layers."""

    def __init__(self, in_channels: int, hidden: int, channels: int) -> None:
        super().__init__(in_channels, hidden, channels, linear=Linear)


@torch.no_grad()
def initialize(module: nn.Module) -> None:
    """Draw the released initial weights, N(0, 0.02^2), of a module's own weights and children."""
    for each in module.modules():
        if isinstance(each, nn.Linear | nn.Embedding):
            nn.init.normal_(each.weight, std=_INIT_STD)
        if isinstance(each, nn.Linear) and each.bias is not None:
            nn.init.zeros_(each.bias)
    for weight in module.parameters(recurse=False):
        nn.init.normal_(weight, std=_INIT_STD)
