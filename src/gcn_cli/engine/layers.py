"""Gates and convolutions of the fast engine; every map lies channels last.

A gate is one pass of PyTorch's own ``threshold_backward`` (``t`` where ``a > 0``), a stand-in
derivative one of ``hardtanh_backward``: a comparison and a product of bfloat16 maps take several
times longer. Both flush what would be denormal to where it costs nothing.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.field.learning import STAND_IN
from gcn_cli.field.network import Boundary, LayerSpec

CHANNELS_LAST = torch.channels_last
_where_positive = torch.ops.aten.threshold_backward
_where_small = torch.ops.aten.hardtanh_backward


def _stand_in(g: Tensor, a: Tensor) -> Tensor:
    return _where_small(g, a, -STAND_IN, STAND_IN).mul_(0.5 / STAND_IN)  # type: ignore[no-any-return]


class Gate(torch.autograd.Function):
    """`field.learning.Gate`, one pass each way."""

    @staticmethod
    def forward(ctx: Any, t: Tensor, a: Tensor) -> Tensor:
        """``t 1[a > 0]``."""
        ctx.save_for_backward(t, a)
        return _where_positive(t, a, 0)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives towards ``t``, and the stand-in's towards ``a``."""
        (g,) = grads
        t, a = ctx.saved_tensors
        return _where_positive(g, a, 0), _stand_in(g * t, a)


class Vote(torch.autograd.Function):
    """``v_k 1[q_k > 0]``: what the units that are on send down; derivatives as `Gate`'s."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, v: Tensor) -> Tensor:
        """Maps of ``q`` (N, K, H, W), weights ``v`` (K,)."""
        ctx.save_for_backward(q, v)
        every = v.view(1, -1, 1, 1).expand(q.shape).contiguous(memory_format=CHANNELS_LAST)
        return _where_positive(every, q, 0)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None]:
        """The stand-in's derivative towards ``q``, and the exact one towards ``v``."""
        (g,) = grads
        q, v = ctx.saved_tensors
        by_v = _where_positive(g, q, 0).sum((0, 2, 3)) if ctx.needs_input_grad[1] else None
        return _stand_in(g * v.view(1, -1, 1, 1), q), by_v


def gate(t: Tensor, a: Tensor) -> Tensor:
    """See `Gate`."""
    return Gate.apply(t, a)  # type: ignore[no-any-return,no-untyped-call]


def vote(q: Tensor, v: Tensor) -> Tensor:
    """See `Vote`."""
    return Vote.apply(q, v)  # type: ignore[no-any-return,no-untyped-call]


def wrap(x: Tensor, margin: int) -> Tensor:
    """A torus (N, C, H, W) with ``margin`` lines of its far sides around it."""
    for dim in (2, 3):
        n = x.shape[dim]
        while margin > x.shape[dim]:  # a canvas smaller than the margin goes round more than once
            x = torch.cat([x, x], dim)
        first = x.narrow(dim, 0, n)
        ends = x.narrow(dim, x.shape[dim] - margin, margin), x.narrow(dim, 0, margin)
        x = torch.cat([ends[0], first, ends[1]], dim)
    return x


def encode(x: Tensor, w: Tensor, spec: LayerSpec, boundary: Boundary) -> Tensor:
    """One layer upwards, without its biases."""
    if boundary == "torus" and spec.margin:
        return F.conv2d(wrap(x, spec.margin), w, stride=spec.stride)
    return F.conv2d(x, w, stride=spec.stride, padding=spec.margin)


def decode(g: Tensor, w: Tensor, spec: LayerSpec, boundary: Boundary) -> Tensor:
    """One layer downwards through the transposed filters."""
    even = g.shape[-2] % 2 == 0 and g.shape[-1] % 2 == 0
    if spec.stride == 1 and w.shape[1] <= _FEW and even:
        return _decode_few(g, w, spec, boundary)
    if boundary == "frame" or not spec.margin:
        return F.conv_transpose2d(g, w, stride=spec.stride, padding=spec.margin)
    lines = -(-spec.margin // spec.stride)
    full = F.conv_transpose2d(wrap(g, lines), w, stride=spec.stride)
    skip = lines * spec.stride + spec.margin
    height, width = (n * spec.stride for n in g.shape[-2:])
    return full[:, :, skip : skip + height, skip : skip + width]


_FEW = 4  # output channels that leave most of a processor's vectors empty


def _four_places(w: Tensor) -> Tensor:
    """Filters (K, C, k, k) of a transposed pass for 2 x 2 places at once: (4 C, K, k+1, k+1)."""
    flipped = w.flip(2, 3).transpose(0, 1)
    places = [F.pad(flipped, (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1)]
    return torch.stack(places, 1).flatten(0, 1).contiguous(memory_format=CHANNELS_LAST)


def _decode_few(g: Tensor, w: Tensor, spec: LayerSpec, boundary: Boundary) -> Tensor:
    """`decode` of stride 1 towards few channels: four places fill vectors better than one."""
    margin = spec.size - 1 - spec.margin
    if boundary == "torus":
        four = F.conv2d(wrap(g, margin), _four_places(w), stride=2)
    else:
        four = F.conv2d(g, _four_places(w), stride=2, padding=margin)
    return F.pixel_shuffle(four, 2)


def in_blocks(spec: LayerSpec) -> LayerSpec | None:
    """The first layer over blocks of stride x stride px, or None where its filters do not fit.

    Three channels fill no vector of a processor; a block's twelve nearly do, and the decoder's last
    convolution, slow towards three channels, takes a quarter of the time.
    """
    s = spec.stride
    if s == 1 or spec.size % s or spec.margin % s:
        return None
    return LayerSpec(spec.filters, spec.size // s, 1, spec.vote)
