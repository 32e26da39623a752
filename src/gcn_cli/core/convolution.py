"""A convolution for learning, whose backward pass suits an ordinary processor.

Maps lie channels last, which is fastest for the images' gradient; of maps that no cache holds, the
filters' gradient takes up to twice as long in that layout as in the plain one, copies included.
That of dilated filters, for which libraries have no fast way, is one product of matrices a tap.
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
    """`F.conv2d` without padding; the filters' gradient is found in the plain layout or by taps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor, dilation: int) -> Tensor:
        """Responses (N, K, H - s + 1, W - s + 1) of filters that span s px."""
        ctx.save_for_backward(x, w)
        ctx.dilation = dilation
        return F.conv2d(x, w, b, dilation=dilation)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        """Gradients by the maps, where they are asked for, the filters and the biases."""
        (g,), (x, w) = grads, ctx.saved_tensors
        dilation = [ctx.dilation] * 2
        rest = [w.shape[0]], [1, 1], [0, 0], dilation, False, [0, 0], 1
        by_maps = (
            _backward(g, x, w, *rest, [True, False, False])[0] if ctx.needs_input_grad[0] else None
        )
        if ctx.dilation > 1:
            by_filters = _by_taps(g, x, w.shape[-1], ctx.dilation)
        else:
            plain = (t.contiguous() for t in (g, x, w))
            by_filters = _backward(*plain, *rest, [False, True, False])[1]
        return by_maps, by_filters, g.sum((0, 2, 3)), None


def _by_taps(g: Tensor, x: Tensor, size: int, dilation: int) -> Tensor:
    """The filters' gradient (K, C, size, size) from those of the responses (N, K, h, w).

    Rows of g are filled up with zeros to those of the maps ``x`` (N, C, H, W), so that a tap's maps
    are the same memory from another place on: nothing is copied but g.
    """
    (n, k, high, wide), (c, rows, columns) = g.shape, x.shape[1:]
    filled = g.new_zeros(n, rows, columns, k)
    filled[:, :high, :wide] = g.permute(0, 2, 3, 1)
    flat, maps = filled.view(-1, k), x.permute(0, 2, 3, 1).reshape(-1, c)
    taps = g.new_empty(size, size, k, c)
    for i in range(size):
        for j in range(size):
            start = (i * columns + j) * dilation
            torch.mm(flat[: len(flat) - start].t(), maps[start:], out=taps[i, j])
    return taps.permute(2, 3, 0, 1)


def convolve(x: Tensor, w: Tensor, b: Tensor, dilation: int = 1) -> Tensor:
    """`F.conv2d` of maps (N, C, H, W), channels last, with filters (K, C, k, k), no padding."""
    places = x.shape[0] * x.shape[2] * x.shape[3]
    exact = x.dtype in (torch.float32, torch.float64)
    if x.device.type == "cpu" and exact and x.shape[1] > _FEW and places >= _LARGE:
        return _Convolution.apply(x, w, b, dilation)  # type: ignore[no-any-return,no-untyped-call]
    return F.conv2d(x, w, b, dilation=dilation)
