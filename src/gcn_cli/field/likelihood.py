"""The paper's gradient of learning: maximum likelihood, and contrastive divergence.

Maximum likelihood climbs ``dL/dw = mean_obs df/dw - mean_syn df/dw`` (Xie et al. 2016). What it
learns is decided by where the chains of the synthesized images start:

- ``persistent``: where the update before left them (the paper's texture experiments);
- ``restart``: anew at every update from the reference, for a finite number of steps (finite-chain
  learning as in Gao et al. 2018: the law of those short runs is learned, and is sampled later);
- ``data``: at the observed images: contrastive divergence, which learns to reconstruct them.

All tilts are means per top unit, so that images of unlike sizes compare. The gradient of
reconstruction alone, the limit of contrastive divergence, is in `learning`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.field.convnet import Boundary, ConvNet, LayerWeights, Weights, margins

Activations = Callable[[ConvNet, Tensor, Weights, Boundary], list[Tensor]]
"""Activations of every layer on images (N, C, H, W), differentiable in the weights."""


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


def plain_activations(
    net: ConvNet, images: Tensor, weights: Weights, boundary: Boundary
) -> list[Tensor]:
    """Activations of every layer, as `ConvNet.forward` finds them."""
    responses = net.forward(images, weights, boundary)
    return [F.relu(a) if spec.relu else a for spec, a in zip(net.layers, responses, strict=True)]


def likelihood_gradient(
    net: ConvNet,
    weights: Weights,
    observed: Tensor,
    synthesized: Tensor,
    boundary: Boundary,
    activations: Activations = plain_activations,
) -> Gradient:
    """Gradient of the mean log-likelihood per top unit.

    Args:
        net: the network.
        weights: float32 or float64 weights.
        observed: images (N, C, H, W).
        synthesized: images (M, C, H', W'), a torus already unrolled by `wrap_image`.
        boundary: "bounded" or "valid", for both.
        activations: what finds every layer's maps; an engine hands in its own.
    """
    with torch.enable_grad():
        leaves = [p.detach().requires_grad_(True) for p in parameters(weights)]
        live = as_weights(leaves)
        seen = activations(net, observed, live, boundary)
        made = activations(net, synthesized, live, boundary)
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
