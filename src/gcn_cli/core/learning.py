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
_MOST_EXCESS = 0.5  # of contrast that one update answers to
_MOST_SHIFT = 0.2  # the same, either way, for the centre's gain
_GAINS = (0.6, 1.1)  # of the centre, at least and at most


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
    top: float = 1.0
    """Share of the rate that the top layer moves at. Where it starts with little gain its weights
    are smaller than other layers', and Adam moves all of them alike: at the full rate a run of
    updates in which f(syn) leads can turn every unit off."""


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
    restraint: float = 0.0
    """How fast the top layer shrinks while the chains' contrast exceeds the data's; 0 never."""
    tolerance: float = 0.0
    """Excess of contrast, as a share of the data's, below which the restraint rests."""
    reach: float = 0.0
    """Spread of ``sigma^2 B``, what the network adds to the centre, over the data's spread, above
    which the restraint acts, too, and far above which learning rests; 0 never. A reconstruction has
    no use for more than 1, but chains of few steps that lag behind the data let maximum likelihood
    pull ever harder."""
    recentre: float = 0.0
    """How fast the centre's gain answers to the chains' contrast at the coarser level; 0 never."""


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
        taps = -(-spec.span // spec.stride)
        out = [(n - spec.span) // spec.stride + 1 for n in x.shape[-2:]]
        x = to_blocks(x, spec.stride)[:, :, : out[0] + taps - 1, : out[1] + taps - 1]
        filters = fill_channels(deep_filters(w, spec.stride, taps, 0)).to(dtype)
        x = convolve(
            fill_channels(x).contiguous(memory_format=torch.channels_last),
            filters.contiguous(memory_format=torch.channels_last),
            b.to(dtype),
            spec.dilation,
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


def restrain(weights: Weights, excess: Tensor, strength: float) -> Weights:
    """The weights with a smaller top layer where the chains show too much, by ``excess``.

    The tilt is homogeneous in its top layer (filters and biases together), so B shrinks by the
    same factor and with it what the chains make of it. It holds the constraint that the learned
    law has no more contrast than the observed images, which a short run of maximum likelihood
    drifts across: filters that single out observed details keep gaining faster than the chains
    can answer.

    Args:
        weights: of all layers, bottom to top.
        excess: of the chains' local contrast over the data's, as a share of it, or of what
            `LearningParams.reach` bounds; a scalar tensor. Below 0 nothing shrinks.
        strength: share of the excess by which the top layer shrinks in one update.
    """
    return scale_tilt(weights, 1 - strength * excess.clamp(0, _MOST_EXCESS))


def curb(old: Weights, new: Weights, excess: Tensor) -> Weights:
    """The way from ``old`` to ``new`` weights, cut short where B spreads far too wide.

    Shrinking the top layer alone does not hold a field whose lower layers grow as fast. All of
    the step is taken up to twice what `LearningParams.reach` allows, none from three times on.

    Args:
        old: weights before a step.
        new: weights after it.
        excess: of B's spread over what is allowed, as a share of it; a scalar tensor.
    """
    share = (2 - excess).clamp(0, 1)
    pairs = zip(parameters(old), parameters(new), strict=True)
    return as_weights([before.lerp(after, share) for before, after in pairs])


def scale_tilt(weights: Weights, gain: Tensor) -> Weights:
    """The weights whose tilt, and so B, is ``gain`` (a scalar) times what it was."""
    top = weights[-1]
    return (*weights[:-1], top._replace(w=top.w * gain, b=top.b * gain))


def recentre(gain: Tensor, contrast: Tensor, strength: float) -> Tensor:
    """The centre's gain after an update that saw the chains' contrast at the coarser level.

    A finer field re-draws the coarse structure that it is given and so adds to its contrast. Its
    reference is therefore centred at the coarser sample times a gain below 1, found by this
    feedback, rather than let the excess weaken the field's own, finer detail.

    Args:
        gain: scalar tensor.
        contrast: local contrast of the reduced chains over that of the reduced data, a scalar.
        strength: share of the excess that one update takes off.
    """
    excess = (contrast - 1).clamp(-_MOST_SHIFT, _MOST_SHIFT)
    return (gain * (1 - strength * excess)).clamp(*_GAINS)


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
        step = rate * params.top if index >= len(values) - 2 else rate
        moved.append(kept.addcdiv(m, spread, value=step / (unit * (1 - params.beta1**count))))
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
