"""A convolution for learning, whose backward pass suits an ordinary processor.

Maps lie channels last, which is fastest for the images' gradient; of maps that no cache holds, the
filters' gradient takes up to twice as long in that layout as in the plain one, copies included.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_FEW = 4  # input channels up to which channels last stays the faster one
_LARGE = 2**13  # places of a map from which on the plain layout is the faster one

_backward = torch.ops.aten.convolution_backward


class _Convolution(torch.autograd.Function):
    """`F.conv2d` without padding; the filters' gradient is found in the plain layout."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        """Responses (N, K, H - k + 1, W - k + 1)."""
        ctx.save_for_backward(x, w)
        return F.conv2d(x, w, b)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """Gradients by the maps, where they are asked for, the filters and the biases."""
        (g,), (x, w) = grads, ctx.saved_tensors
        rest = [w.shape[0]], [1, 1], [0, 0], [1, 1], False, [0, 0], 1
        by_maps = (
            _backward(g, x, w, *rest, [True, False, False])[0] if ctx.needs_input_grad[0] else None
        )
        plain = (t.contiguous() for t in (g, x, w))
        by_filters = _backward(*plain, *rest, [False, True, False])[1]
        return by_maps, by_filters, g.sum((0, 2, 3))


def convolve(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """`F.conv2d` of maps (N, C, H, W), channels last, with filters (K, C, k, k), no padding."""
    places = x.shape[0] * x.shape[2] * x.shape[3]
    exact = x.dtype in (torch.float32, torch.float64)
    if x.device.type == "cpu" and exact and x.shape[1] > _FEW and places >= _LARGE:
        return _Convolution.apply(x, w, b)  # type: ignore[no-any-return,no-untyped-call]
    return F.conv2d(x, w, b)
