"""Gradient ascent on the paper's weights: the authors' own steps, and Adam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gcn_cli.field.convnet import Weights
from gcn_cli.field.likelihood import as_weights, parameters
from gcn_cli.field.values import key


@dataclass(frozen=True)
class AdamParams:
    """Adam (Kingma & Ba 2015), ascending.

    ``rate`` is per update; first-layer filters count in units of 1/sigma, so that a change of the
    grey-level unit changes nothing.
    """

    name: Literal["adam"] = key("adam, or sgd as the authors had it", "adam", kw_only=True)
    rate: float = key("learning rate at its height", gt=0, le=1e3)
    beta1: float = key("decay an update of the mean gradient", 0.5, ge=0, lt=1)
    beta2: float = key("decay an update of the mean square", 0.99, ge=0, lt=1)
    decay: float = key("shrinking of the filters, times the rate", 0.0, ge=0, le=1e3)
    """Decoupled weight decay of the filters (Loshchilov & Hutter 2019): a Gaussian prior on w."""


@dataclass(frozen=True)
class SgdParams:
    """Plain gradient ascent with the authors' scalings.

    Each layer's gradient (of the tilt summed over positions) is divided by the number of that
    layer's positions; a tensor whose largest entry exceeds ``cap`` is rescaled to it; biases learn
    ``bias_factor`` times faster; ``decay`` shrinks weights.
    """

    name: Literal["sgd"] = key("sgd as the authors had it, or adam", "sgd", kw_only=True)
    rate: float = key("learning rate at its height", gt=0, le=1e3)
    decay: float = key("shrinking of the filters, times the rate", 1e-4, ge=0, le=1e3)
    bias_factor: float = key("times faster that biases learn", 2.0, ge=0, le=1e6)
    cap: float = key("largest entry of a gradient; more is scaled down", 20.0, gt=0, le=1e9)


@dataclass(frozen=True)
class Moments:
    """Adam's running means of the gradient and of its square, and the number of updates."""

    first: tuple[Tensor, ...] = ()
    second: tuple[Tensor, ...] = ()
    count: int = 0


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
