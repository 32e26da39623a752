"""Learning: the gradient of the log-likelihood, and one update of the weights.

Maximum likelihood climbs ``dL/dw = mean_obs df/dw - mean_syn df/dw`` (Xie et al. 2016). The
synthesized images come from chains that

- persist between updates (``persistent``: the paper's texture experiments);
- start anew at every update from the reference and take a finite number of steps (``restart``:
  finite-chain learning as in Gao et al. 2018; the law of those short runs is what is learned and
  what is sampled later);
- start at the observed images (``data``: contrastive divergence, which learns to reconstruct).

All tilts are means per top unit, so that images of unlike sizes compare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.core.convolution import convolve
from gcn_cli.core.fused import deep_filters, fill_channels, to_blocks
from gcn_cli.core.network import Boundary, ConvNet, LayerWeights, Weights, margins

ChainKind = Literal["persistent", "restart", "data"]


@dataclass(frozen=True)
class AdamParams:
    """Adam (Kingma & Ba 2015), ascending.

    ``rate`` is per update; first-layer filters count in units of 1/sigma, so that a change of the
    grey-level unit changes nothing.
    """

    rate: float
    beta1: float = 0.5
    beta2: float = 0.99
    decay: float = 0.0
    """Decoupled weight decay of the filters (Loshchilov & Hutter 2019): a Gaussian prior on w."""


@dataclass(frozen=True)
class SgdParams:
    """Plain gradient ascent with the authors' scalings.

    Each layer's gradient (of the tilt summed over positions) is divided by the number of that
    layer's positions; a tensor whose largest entry exceeds ``cap`` is rescaled to it; biases learn
    ``bias_factor`` times faster; ``decay`` shrinks weights.
    """

    rate: float
    decay: float = 1e-4
    bias_factor: float = 2.0
    cap: float = 20.0


@dataclass(frozen=True)
class LearningParams:
    """One stage of learning."""

    updates: int
    steps: int
    chains: ChainKind
    optimiser: AdamParams | SgdParams
    fall: float = 1.0
    """Rate at the last update over the first, along half a cosine."""
    data_noise: float = 0.0
    """Standard deviation, in grey levels, of fresh noise on the observed images."""
    averaging: float = 0.0
    """Decay of the running mean of the weights that is kept for sampling; 0 keeps the last."""
    warmup: int = 0
    """Updates over which the rate rises linearly to its full height."""


@dataclass(frozen=True)
class Moments:
    """Adam's running means of the gradient and of its square, and the number of updates."""

    first: tuple[Tensor, ...] = ()
    second: tuple[Tensor, ...] = ()
    count: int = 0


class Gradient(NamedTuple):
    """The gradient, and what the pass that found it saw (tensors on the device)."""

    weights: list[Tensor]
    observed: Tensor  # mean tilt per pixel, nats
    synthesized: Tensor
    active: Tensor  # share of active units per layer, on the synthesized images


def parameters(weights: Weights) -> list[Tensor]:
    """The tensors of a weight tuple, bottom to top, filters before biases."""
    return [tensor for layer in weights for tensor in layer]


def as_weights(tensors: list[Tensor]) -> Weights:
    """The inverse of `parameters`."""
    pairs = zip(tensors[::2], tensors[1::2], strict=True)
    return tuple(LayerWeights(w, b) for w, b in pairs)


def wrap_image(images: Tensor, margin: int) -> Tensor:
    """A torus (N, C, H, W) unrolled by ``margin`` px to the right and below.

    The valid windows of the result are exactly all windows of the torus, shifted.
    """
    for dim in (-2, -1):
        n = images.shape[dim]
        index = torch.arange(n + margin, device=images.device) % n
        images = images.index_select(dim, index)
    return images


def torus_lead(net: ConvNet) -> int:
    """Pixels by which the first top unit's window on a torus begins before the image."""
    lead, jump = 0, 1
    for spec in net.layers:
        lead += margins(spec, "torus")[0] * jump
        jump *= spec.stride
    return lead


def responses(
    net: ConvNet, images: Tensor, weights: Weights, boundary: Boundary, dtype: torch.dtype
) -> list[Tensor]:
    """Activations of every layer, differentiable in the weights, strides moved to depth.

    ``boundary`` is "bounded" or "valid".
    """
    maps, x = [], images.to(dtype)
    for spec, (w, b) in zip(net.layers, weights, strict=True):
        if boundary == "bounded" and spec.padding:
            x = F.pad(x, (spec.padding,) * 4)
        taps = -(-spec.size // spec.stride)
        out = [(n - spec.size) // spec.stride + 1 for n in x.shape[-2:]]
        x = to_blocks(x, spec.stride)[:, :, : out[0] + taps - 1, : out[1] + taps - 1]
        filters = fill_channels(deep_filters(w, spec.stride, taps, 0)).to(dtype)
        x = convolve(
            fill_channels(x).contiguous(memory_format=torch.channels_last),
            filters.contiguous(memory_format=torch.channels_last),
            b.to(dtype),
        )
        x = F.relu(x) if spec.relu else x
        maps.append(x)
    return maps


def likelihood_gradient(
    net: ConvNet,
    weights: Weights,
    observed: Tensor,
    synthesized: Tensor,
    boundary: Boundary,
    dtype: torch.dtype = torch.float32,
) -> Gradient:
    """Gradient of the mean log-likelihood per top unit.

    Args:
        net: the network.
        weights: float32 or float64 weights.
        observed: images (N, C, H, W).
        synthesized: images (M, C, H', W'), a torus already unrolled by `wrap_image`.
        boundary: "bounded" or "valid", for both.
        dtype: arithmetic of the convolutions.
    """
    with torch.enable_grad():
        leaves = [p.detach().requires_grad_(True) for p in parameters(weights)]
        live = as_weights(leaves)
        seen = responses(net, observed, live, boundary, dtype)
        made = responses(net, synthesized, live, boundary, dtype)
        f_obs, f_syn = _mean_tilt(seen[-1]), _mean_tilt(made[-1])
        grads = torch.autograd.grad(f_obs - f_syn, leaves)
    shares = [(m > 0).to(torch.float32).mean() for m in made]
    if not net.layers[-1].relu:  # a linear unit is always on
        shares[-1] = torch.ones_like(shares[-1])
    active = torch.stack(shares)
    area_obs, area_syn = (_area(net, x, m[-1]) for x, m in ((observed, seen), (synthesized, made)))
    return Gradient(list(grads), f_obs.detach() / area_obs, f_syn.detach() / area_syn, active)


def _area(net: ConvNet, images: Tensor, top: Tensor) -> int:
    """Pixels per top unit; a full-map filter's only unit stands for the whole image."""
    alone = top.shape[-2:].numel() == 1
    return images.shape[-2:].numel() if alone else int(net.total_stride**2)


def _mean_tilt(top: Tensor) -> Tensor:
    work = torch.promote_types(top.dtype, torch.float32)
    return top.to(work).sum(1).mean()


def rate_factor(params: LearningParams, update: int) -> float:
    """The learning rate's course: a linear rise, then half a cosine from 1 to ``fall``."""
    rise = min(1.0, (update + 1) / (params.warmup + 1))
    way = 0.5 * (1 + math.cos(math.pi * update / max(1, params.updates)))
    return rise * (params.fall + (1 - params.fall) * way)


def adam_step(
    weights: Weights,
    grad: list[Tensor],
    moments: Moments,
    params: AdamParams,
    rate: float,
    sigma: float,
) -> tuple[Weights, Moments]:
    """One ascending Adam step of size ``rate``."""
    values = parameters(weights)
    zeros = tuple(torch.zeros_like(p) for p in values)
    first, second = moments.first or zeros, moments.second or zeros
    count = moments.count + 1
    first = tuple(m.lerp(g, 1 - params.beta1) for m, g in zip(first, grad, strict=True))
    second = tuple(v.lerp(g * g, 1 - params.beta2) for v, g in zip(second, grad, strict=True))
    moved = []
    for index, (p, m, v) in enumerate(zip(values, first, second, strict=True)):
        unit = sigma if index == 0 else 1.0
        spread = (v / (1 - params.beta2**count)).sqrt_().add_(1e-8 * unit)
        kept = p if index % 2 else p * (1 - rate * params.decay)
        moved.append(kept.addcdiv(m, spread, value=rate / (unit * (1 - params.beta1**count))))
    return as_weights(moved), Moments(first, second, count)


def sgd_step(
    weights: Weights, grad: list[Tensor], positions: Sequence[int], params: SgdParams, rate: float
) -> Weights:
    """One plain gradient step; ``positions`` counts every layer's units per filter."""
    moved = []
    for index, (p, g) in enumerate(zip(parameters(weights), grad, strict=True)):
        layer, is_bias = divmod(index, 2)
        step = g * (positions[-1] / positions[layer])
        step = step * (params.cap / step.abs().amax().clamp_min(params.cap))
        if is_bias:
            moved.append(p + rate * params.bias_factor * step)
        else:
            moved.append(p + rate * (step - params.decay * p))
    return as_weights(moved)


def average_weights(mean: Weights, weights: Weights, decay: float, count: int) -> Weights:
    """The running mean after ``count`` earlier updates; young means forget faster."""
    keep = min(decay, count / (count + 5.0))
    return as_weights(
        [m.lerp(p, 1 - keep) for m, p in zip(parameters(mean), parameters(weights), strict=True)]
    )
