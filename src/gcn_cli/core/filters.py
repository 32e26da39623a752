"""Filters of matching stages: random ones, and those that tell observed from synthesized images.

A random filter of many pixels weighs all directions of a patch alike, and its response hardly moves
when an octave is half as strong as it should be, or ten times as strong but weak beside the others.
So every bank of random filters has a complement: FRAME adds the filters whose responses tell most
(Zhu, Wu & Mumford 1998, filter pursuit). For Gaussian patches these are the generalised
eigenvectors of the two covariances, whose ratio of variances is farthest from 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_FREQUENCIES = 24  # a side, at which the gain of decoder after encoder is looked at
_NEIGHBOURS = 4  # eigenvectors mixed in a pursued filter
_ROUNDING = 0.3  # grey levels; directions weaker than 8 bits can show are not worth a filter


def white_filters(count: int, channels: int, side: int, rng: torch.Generator) -> Tensor:
    """Filters (count, channels, side, side) of white noise and unit norm."""
    return unit_filters(torch.randn(count, channels, side, side, generator=rng))


def detail_filters(count: int, channels: int, side: int, rng: torch.Generator) -> Tensor:
    """White filters minus their binomial blur, of unit norm: blind to flat areas and ramps."""
    w = torch.randn(count, channels, side - 2, side - 2, generator=rng)
    row = torch.tensor([0.25, 0.5, 0.25])
    kernel = -row[:, None] * row
    kernel[1, 1] += 1
    wide = F.pad(w, (2, 2, 2, 2)).flatten(0, 1)[:, None]
    fine: Tensor = F.conv2d(wide, kernel[None, None])
    return unit_filters(fine.view(count, channels, side, side))


def pursued_filters(
    count: int, observed: Tensor, made: Tensor, side: int, rng: torch.Generator
) -> Tensor:
    """Filters (count, C, side, side) whose responses differ most in variance.

    Each is a random mixture of a few generalised eigenvectors of neighbouring ratios of variances
    r, drawn with probability proportional to ``|log r|``.

    Args:
        count: of filters.
        observed: patches (P, C * side^2) of observed images, grey levels.
        made: patches of synthesized ones, likewise.
        side: px.
        rng: on the CPU.
    """
    seen, own = _covariance(observed), _covariance(made)
    values, vectors = torch.linalg.eigh(seen)
    whiten = vectors * values.rsqrt()
    ratios, turn = torch.linalg.eigh(whiten.mT @ own @ whiten)
    directions = whiten @ turn  # columns
    directions = directions / directions.norm(dim=0)
    odd = ratios.log().abs()
    pick = torch.multinomial(odd + 1e-3, count, replacement=True, generator=rng)
    near = pick[:, None] + torch.arange(_NEIGHBOURS) - _NEIGHBOURS // 2
    near = near.clamp(0, len(ratios) - 1)
    mix = torch.randn(count, _NEIGHBOURS, generator=rng, dtype=torch.float64)
    w = (directions.T[near] * mix[..., None]).sum(1)
    return unit_filters(w.view(count, -1, side, side).float())


def _covariance(patches: Tensor) -> Tensor:
    """Of patches (P, D): (D, D), float64 on the CPU, with the variance of rounding added."""
    # In float32 the products of strong contrasts drown the variance of rounding, and directions of
    # no variance come out with a negative one.
    exact = patches.double()
    centred = exact - exact.mean(0)
    covariance = (centred.mT @ centred / len(patches)).cpu()
    covariance.diagonal().add_(_ROUNDING**2)
    return covariance


def unit_filters(w: Tensor) -> Tensor:
    """Filters (K, C, p, p) at unit norm, with values that bfloat16 holds."""
    unit: Tensor = w / w.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
    return unit.to(torch.bfloat16).float()


def largest_gain(filters: Tensor) -> Tensor:
    """Largest eigenvalue of decoder after encoder, over frequencies; a scalar."""
    waves = torch.fft.rfft2(filters.cpu().double(), s=(_FREQUENCIES, _FREQUENCIES))
    by_wave = waves.permute(2, 3, 1, 0).flatten(0, 1)  # (frequencies, C, K)
    gains: Tensor = torch.linalg.eigvalsh(by_wave @ by_wave.mH)
    return gains[:, -1].max().to(filters)
