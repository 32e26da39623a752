"""One density for every noise level, and the chain that goes down the ladder of levels.

Images are in units of contrast: centred, standard deviation 1. With y = x + s Z, the exemplar's law
blurred by white noise of level s, the law of y is modelled by the paper's density (Xie et al. 2016)

    p_s(y) = exp[f_s(y)] N(y; 0, (1 + s^2) 1) / Z_s,    f_s(y) = h(y / sqrt(1 + s^2); s) / s

The reference has the variance that white noise plus the data would have: at f = 0 the model is
exact for s -> infinity, where the chain starts. From the basis B_s = grad f_s follow

    score          grad log p_s = B_s(y) - y / (1 + s^2)
    reconstruction D(y, s) = y + s^2 grad log p_s = y / (1 + s^2) + s^2 B_s(y)

An image c may be given beside y (a coarser picture of it, to a finer size); all of this then holds
of p_s(y | c), and h looks at both.

D is the auto-encoder's output and the mean of x given y (Tweedie; Robbins 1956): the auto-encoder
denoises. Every step of the chain is driven by its reconstruction error D(y, s) - y.

Functions that need grad h take it as an argument, ``gradient(z, s)``, so that this module knows
nothing of how it is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gcn_cli.field.network import Boundary, NoiseNet, Weights, beside

Gradient = Callable[[Tensor, Tensor], Tensor]
"""grad h (N, C, H, W) of scaled images z (N, C, H, W), with what is given, at levels s (N,)."""

_POWER = 5.0  # of the ladder's spacing: levels crowd where s is small (Karras et al. 2022)

SHARE = 0.3
"""Of the way to its reconstruction that a Langevin step goes at one level."""


def column(s: Tensor) -> Tensor:
    """Levels (N,) as (N, 1, 1, 1), to go with images."""
    return s.view(-1, 1, 1, 1)


def tilt(net: NoiseNet, y: Tensor, s: Tensor, weights: Weights, boundary: Boundary) -> Tensor:
    """``f_s(y)`` in nats (N,) of images (N, C, H, W) at levels (N,)."""
    z = y / (1 + column(s) ** 2).sqrt()
    return net.output(net.forward(z, s, weights, boundary), weights) / s


def reference_energy(y: Tensor, s: Tensor) -> Tensor:
    """``|y|^2 / (2 (1 + s^2))`` in nats (N,)."""
    return y.square().flatten(1).sum(1) / (2 * (1 + s**2))


def energy(net: NoiseNet, y: Tensor, s: Tensor, weights: Weights, boundary: Boundary) -> Tensor:
    """``U_s(y) = |y|^2 / (2 (1 + s^2)) - f_s(y)`` in nats (N,), so that p_s ∝ exp(-U_s)."""
    return reference_energy(y, s) - tilt(net, y, s, weights, boundary)


def basis(gradient: Gradient, y: Tensor, s: Tensor) -> Tensor:
    """``B_s(y) = grad f_s(y)`` (N, C, H, W)."""
    scale = (1 + column(s) ** 2).sqrt()
    return gradient(y / scale, s) / (column(s) * scale)


def score(gradient: Gradient, y: Tensor, s: Tensor) -> Tensor:
    """``grad log p_s(y) = B_s(y) - y / (1 + s^2)`` (N, C, H, W)."""
    return basis(gradient, y, s) - y / (1 + column(s) ** 2)


def reconstruct(gradient: Gradient, y: Tensor, s: Tensor, given: Tensor | None = None) -> Tensor:
    """``D(y, s) = y / (1 + s^2) + s / sqrt(1 + s^2) (grad h)(y / sqrt(1 + s^2); s)``.

    The same as ``y + s^2 score``, without the quotients that grow as s falls.
    """
    scale = (1 + column(s) ** 2).sqrt()
    return y / scale**2 + (column(s) / scale) * gradient(beside(y / scale, given), s)


def target(x: Tensor, y: Tensor, s: Tensor) -> Tensor:
    """What grad h would have to be for D(y, s) = x; unit variance at every level."""
    scale = (1 + column(s) ** 2).sqrt()
    return (x - y / scale**2) * scale / column(s)


def noise_levels(start: float, least: float, steps: int) -> Tensor:
    """The ladder: ``steps`` levels from ``start`` down to ``least``, crowded at its foot.

    Raises:
        ValueError: levels out of order or fewer than one step.
    """
    if not 0 < least <= start or steps < 1:
        raise ValueError(f"no ladder of {steps} steps leads from {start} down to {least}")
    q = torch.linspace(0, 1, steps, dtype=torch.float64)
    root = start ** (1 / _POWER) + q * (least ** (1 / _POWER) - start ** (1 / _POWER))
    levels: Tensor = root**_POWER
    return levels


def noise_shares(s: float, below: float) -> tuple[float, float]:
    """(share of the old noise kept, deviation of the fresh noise) of a step from s to ``below``.

    Were D the very x, y at level ``below`` given y at level s would be normal with mean
    ``x + kept (y - x)`` and deviation ``up``: ``kept = below^2 / s^2``, ``up^2 = below^2 (1 -
    below^2 / s^2)``, so that ``kept^2 s^2 + up^2 = below^2`` (Ho et al. 2020; Song et al. 2021).
    """
    kept = (below / s) ** 2
    return kept, below * math.sqrt(max(0.0, 1 - kept))


def extrapolated(
    reconstruction: Tensor, earlier: Tensor | None, above: float, s: float, below: float
) -> Tensor:
    """D carried on to the middle of the step from s to ``below``, along the last step's change.

    ``D + h / (2 h') (D - D')``, h and h' the lengths of this step and the last in ln s, D' the
    reconstruction at level ``above``. Without it a chain of few steps lags behind D and ends with
    too little contrast (second order: Lu et al. 2022).
    """
    if earlier is None:
        return reconstruction
    share = 0.5 * math.log(s / below) / math.log(above / s)
    return torch.lerp(earlier, reconstruction, 1 + share)


def langevin_step(
    y: Tensor, reconstruction: Tensor, s: float, noise: Tensor, before: Tensor, first: bool
) -> Tensor:
    """One step of Langevin dynamics at level s, which leaves p_s as it is.

    ``y <- y + eps^2/2 score + eps (Z + Z') / 2`` with ``eps^2 = 2 SHARE s^2``, so that a step goes
    SHARE of the way to the reconstruction (Xie et al. 2016, section 5). Z' is the ``noise`` of the
    step before: with it the law of a Gaussian is left exactly as it is, of whatever spectrum and
    at steps of any length (Leimkuhler and Matthews 2013). The ``first`` step at a level has none
    before it; ``before`` is fresh noise then, of the weight that is right where y is half noise.
    """
    share = math.sqrt(0.75 - SHARE / 4) if first else 0.5
    kick = noise.mul(0.5).add_(before, alpha=share)
    return torch.lerp(y, reconstruction, SHARE).add_(kick, alpha=s * math.sqrt(2 * SHARE))


def step_down(y: Tensor, towards: Tensor, s: float, below: float, noise: Tensor) -> Tensor:
    """One step of the annealed chain, from level s to level ``below``.

    ``y <- D + kept (y - D) + up Z``: the error of reconstruction y - D is the noise that the field
    sees in y; less of it is kept, and some is drawn anew. ``towards`` is D or D `extrapolated`.
    """
    kept, up = noise_shares(s, below)
    return torch.lerp(towards, y, kept) + up * noise


@torch.no_grad()
def anneal(gradient: Gradient, y: Tensor, levels: Tensor, noise: Callable[[int], Tensor]) -> Tensor:
    """The whole chain from ``y`` at ``levels[0]`` to the reconstruction at the last level.

    ``noise(k)`` gives Z (N, C, H, W) of step k.
    """
    ladder = levels.tolist()
    earlier: Tensor | None = None
    for k, s in enumerate(ladder):
        told = torch.full((len(y),), s, dtype=y.dtype, device=y.device)
        reconstruction = reconstruct(gradient, y, told)
        if k + 1 == len(ladder):
            break
        above, below = ladder[max(0, k - 1)], ladder[k + 1]
        towards = extrapolated(reconstruction, earlier, above, s, below)
        y, earlier = step_down(y, towards, s, below, noise(k)), reconstruction
    return reconstruction
