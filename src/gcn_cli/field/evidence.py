"""How likely an image is, by what its denoising costs: no Z is needed.

Let y = x + s Z. As the level falls from S to s, what p knows of y grows by what D fails to know of
x (Guo, Shamai and Verdu 2005; for a single image: Kong, Brekelmans and Ver Steeg 2023):

    KL[N(x, s^2 1) | p_s] = KL[N(x, S^2 1) | p_S] + int_s^S E|D(y, t) - x|^2 / t^2 d ln t

and the mean of -log p_s(y) over Z is that divergence plus the entropy of the noise, n/2 ln(2 pi e
s^2). At the highest level S, p_S is its Gaussian reference, so that the first term is known. All of
it holds for densities that are one another's blurred; learned ones are so in part, and then this is
the cost of a code that denoises, not the value of any one density.

Images are (N, C, H, W) in units of contrast; everything is in nats of a whole image.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gcn_cli.field.ladder import column

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""D(y, s) (N, C, H, W) of y (N, C, H, W) at levels s (N,)."""


def noise_entropy(n: int, s: float) -> float:
    """Of white noise of level s in n values: ``n/2 ln(2 pi e s^2)`` nats."""
    return n / 2 * math.log(2 * math.pi * math.e * s**2)


def divergence_from_reference(away: Tensor, s: float, variance: float = 1.0) -> Tensor:
    """``KL[N(x, s^2) | N(m, variance + s^2)]`` (N,) of what x is away from the mean m.

    ``n/2 [ln(v / s^2) + s^2 / v - 1] + |x - m|^2 / (2 v)`` with ``v = variance + s^2``.
    """
    flat = away.flatten(1)
    v = variance + s**2
    own = flat.shape[1] / 2 * (math.log(v / s**2) + s**2 / v - 1)
    return flat.square().sum(1) / (2 * v) + own


def denoising_cost(
    denoiser: Denoiser, x: Tensor, noise: Callable[[int], Tensor], levels: Tensor
) -> Tensor:
    """``|D(x + s Z, s) - x|^2 / s^2`` (K, N) at ``levels`` (K,); ``noise(k)`` is Z at level k.

    The same Z at every level compares fields; Z drawn anew at every level has the surer sum.
    """
    told = []
    for k, s in enumerate(levels.to(x).tolist()):
        here = x.new_full((len(x),), s)
        error = denoiser(x + column(here) * noise(k), here) - x
        told.append(error.flatten(1).square().sum(1) / s**2)
    return torch.stack(told)


def integral(costs: Tensor, levels: Tensor) -> Tensor:
    """The integral (N,) of ``costs`` (K, N) over ln s, by trapezia between ``levels`` (K,)."""
    logs = levels.double().log().to(costs.device)
    return torch.trapezoid(costs.double().movedim(0, -1), logs, dim=-1).abs()


def running_integral(costs: Tensor, levels: Tensor) -> Tensor:
    """`integral` (K, N) from the first level to every one."""
    logs = levels.double().log().to(costs.device)
    told = torch.cumulative_trapezoid(costs.double().movedim(0, -1), logs, dim=-1).movedim(-1, 0)
    return torch.cat([told.new_zeros(1, costs.shape[1]), told.abs()])


def level_weights(levels: Tensor) -> Tensor:
    """Weights (K,) of the levels in `integral`: how many units of ln s each stands for."""
    gaps = levels.double().log().diff().abs()
    zero = gaps.new_zeros(1)
    return (torch.cat([gaps, zero]) + torch.cat([zero, gaps])) / 2
