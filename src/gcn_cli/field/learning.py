"""The gradients of learning: reconstruction, then maximum likelihood.

*Reconstruction* is the paper's contrastive divergence in its limit (Hyvarinen 2007; Vincent 2011):
D(y, s) shall be x, at every level. In units that make every level count alike, grad h regresses on
`ladder.target`. No chain is needed. The decoder hands derivatives to filters, mixers and votes. A
binary gate 1[a > 0] has no derivative to hand to the encoder and the biases, so a stand-in takes
its place there: a box of half width `STAND_IN` and area 1 around a = 0 (Bengio et al. 2013).

*Maximum likelihood* at level s climbs ``d/dw [mean_obs f_s - mean_syn f_s]`` (Xie et al. 2016):
observed images are the exemplar plus noise of level s, synthesized ones the sampler's own chain
when it stands at s. This gradient is exact.

Means are per pixel, so that images of unlike sizes compare.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gcn_cli.field.ladder import column, target
from gcn_cli.field.network import Boundary, NoiseNet, Weights, beside, decode

STAND_IN = 0.5
"""Half width of the box that stands in for a gate's derivative."""
LEAST_LEVEL = 0.05
"""Below it the likelihood's weight 1/s rises no further."""


class Gate(torch.autograd.Function):
    """``t 1[a > 0]``; towards a the derivative is the stand-in's, ``t box(a)``."""

    @staticmethod
    def forward(ctx: Any, t: Tensor, a: Tensor) -> Tensor:
        """``t`` where ``a`` is positive, else 0."""
        ctx.save_for_backward(t, a)
        return torch.where(a > 0, t, torch.zeros_like(t))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives towards ``t`` (exact) and ``a`` (the stand-in)."""
        (g,) = grads
        t, a = ctx.saved_tensors
        box = (a.abs() < STAND_IN).to(a) / (2 * STAND_IN)
        return torch.where(a > 0, g, torch.zeros_like(g)), g * t * box


def gate(t: Tensor, a: Tensor) -> Tensor:
    """``t 1[a > 0]`` with the stand-in derivative; see `Gate`."""
    return Gate.apply(t, a)  # type: ignore[no-any-return,no-untyped-call]


def soft_gradient(
    net: NoiseNet, z: Tensor, s: Tensor, weights: Weights, boundary: Boundary
) -> Tensor:
    """`NoiseNet.gradient` with the stand-in derivative at its gates: what reconstruction learns."""
    responses = net.forward(z, s, weights, boundary)
    votes = dict(
        zip(
            net.voting,
            zip(responses.votes, weights.mixers, weights.votes, strict=True),
            strict=True,
        )
    )
    g: Tensor | None = None
    for index in range(len(net.layers) - 1, -1, -1):
        spec = net.layers[index]
        if index in votes:
            q, mixer, v = votes[index]
            told = gate(v[:, None, None].expand_as(q), q)
            told = torch.nn.functional.conv_transpose2d(told, mixer)
            g = told if g is None else g + told
        assert g is not None  # the top layer votes
        gated = gate(g, responses.layers[index])
        w = weights.filters[index] if index else weights.filters[0][:, : net.channels]
        g = decode(gated, w, spec, boundary)
    assert g is not None
    return g


def reconstruction_loss(
    net: NoiseNet,
    x: Tensor,
    noise: Tensor,
    s: Tensor,
    weights: Weights,
    margin: int,
    given: Tensor | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    """Mean squared error of grad h inside a margin, a scalar; 1 is what f = 0 has at s -> 0.

    Args:
        net: the network.
        x: crops (N, C, H, W) of the exemplar.
        noise: Z of the same shape.
        s: levels (N,).
        weights: differentiated.
        margin: px from the crops' frame that do not count: the frame must never be seen.
        given: what comes beside y (N, G, H, W), if anything.
        weight: (N, 1, H, W), how much a pixel counts; None: all alike.
    """
    y = x + column(s) * noise
    scale = (1 + column(s) ** 2).sqrt()
    told = soft_gradient(net, beside(y / scale, given), s, weights, "frame")
    error = (told - target(x, y, s))[..., margin:-margin, margin:-margin]
    if weight is None:
        return error.square().mean()
    weight = weight[..., margin:-margin, margin:-margin]
    return (weight * error.square()).sum() / (weight.sum() * error.shape[1]).clamp_min(1)


def gaussian_loss(spectrum: Tensor, s: float) -> float:
    """What the loss would be of the best *linear* reconstruction at level s.

    ``spectrum`` (any shape) is the power of the exemplar per frequency, mean 1. The Wiener filter
    ``P / (P + s^2)`` leaves ``mean P s^2 / (P + s^2)``; over ``s^2 / (1 + s^2)``, it is 1 for white
    noise. What a field reconstructs better than this, its filters know beyond second moments.
    """
    left = spectrum * s**2 / (spectrum + s**2)
    return float(left.mean()) * (1 + s**2) / s**2


def inside_output(
    net: NoiseNet,
    z: Tensor,
    s: Tensor,
    weights: Weights,
    boundary: Boundary,
    margin: int,
    weight: Tensor | None = None,
) -> Tensor:
    """``h`` per pixel (N,), of a torus whole, else of the units more than ``margin`` px inside.

    ``weight`` (N, 1, H, W), 0 or 1: a unit counts where all pixels of its stride do.
    """
    responses = net.forward(z, s, weights, boundary)
    total = torch.zeros(len(z)).to(z)
    strides = [math.prod(spec.stride for spec in net.layers[: index + 1]) for index in net.voting]
    for q, v, stride in zip(responses.votes, weights.votes, strides, strict=True):
        cut = 0 if boundary == "torus" else -(-margin // stride)
        inner = q[..., cut : q.shape[-2] - cut, cut : q.shape[-1] - cut]
        if weight is None:
            total = total + torch.relu(inner).mean((2, 3)) @ v / stride**2
            continue
        units = unit_weight(weight, stride, cut)
        mean = (units * torch.relu(inner)).sum((2, 3)) / units.sum((2, 3)).clamp_min(1)
        total = total + mean @ v / stride**2
    return total


def unit_weight(weight: Tensor, stride: int, cut: int) -> Tensor:
    """Weights of a map's units (N, 1, h, w), ``cut`` units off every side: the least of a stride's.

    ``weight`` (N, 1, H, W) is that of the pixels.
    """
    least = -torch.nn.functional.max_pool2d(-weight, stride)
    return least[..., cut : least.shape[-2] - cut, cut : least.shape[-1] - cut]


def likelihood_gap(
    net: NoiseNet,
    observed: Tensor,
    chains: Tensor,
    s: float,
    weights: Weights,
    margin: int,
    given: tuple[Tensor | None, Tensor | None] = (None, None),
    weight: Tensor | None = None,
) -> Tensor:
    """``f_s(observed) - f_s(chains)`` in nats per pixel, a scalar to ascend.

    ``observed`` (N, C, H, W), exemplar plus noise of level ``s``, is bounded; ``chains`` a torus;
    ``given`` comes beside either; ``weight`` (N, 1, H, W) says which observed pixels count.
    """
    scale, told = math.sqrt(1 + s**2), chains.new_full((1,), s)
    seen, made = beside(observed / scale, given[0]), beside(chains / scale, given[1])
    levels = told.expand(len(seen))
    f_observed = inside_output(net, seen, levels, weights, "frame", margin, weight).mean()
    f_chains = inside_output(net, made, told.expand(len(made)), weights, "torus", 0).mean()
    return (f_observed - f_chains) / max(s, LEAST_LEVEL)
