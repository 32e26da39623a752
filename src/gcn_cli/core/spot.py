"""Spot noise: the stationary Gaussian field that has the observed images' power spectrum.

White noise convolved with an image, less its mean and tapered at its rim, is Gaussian, stationary,
and has that image's cross-spectra (van Wijk 1991; Galerne, Gousseau & Morel 2011). Where chains
start from it instead of from white noise, rows, spacings and large patches hold together over as
much of the canvas as the exemplar shows of them, and learning has shapes alone left to make.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.core.noise import NoiseSource

_RAMP = 0.25  # of a side, at either end, over which an image fades to zero


def make_spot(observed: Tensor) -> Tensor:
    """The spots (M, C, h, w) of images of that shape: their noise has the images' contrast."""
    rows, columns = (_taper(n, observed) for n in observed.shape[-2:])
    taper = rows[:, None] * columns
    weight = taper / taper.sum()
    mean = (observed * weight).sum((-2, -1), keepdim=True)
    scale = (taper.square().sum() * len(observed)).sqrt()
    return (observed - mean) * taper / scale


def spot_noise(spot: Tensor, out: Tensor, noise: NoiseSource) -> Tensor:
    """Fill tori ``out`` (N, C, H, W) with the noise of ``spot`` (M, C, h, w)."""
    white = torch.empty(len(out), len(spot), *out.shape[-2:], device=out.device)
    noise.normal_(white, "spot", 0)
    sides = out.shape[-2], out.shape[-1]
    kernel = torch.fft.rfft2(_folded(spot.to(out.device), sides))
    waves = torch.einsum("nmyx,mcyx->ncyx", torch.fft.rfft2(white), kernel)
    return out.copy_(torch.fft.irfft2(waves, s=sides))


def _folded(spot: Tensor, sides: tuple[int, int]) -> Tensor:
    """The spot on a torus of ``sides``: padded with zeros or, where larger, wrapped around it."""
    for dim, side in zip((-2, -1), sides, strict=True):
        turns = -(-spot.shape[dim] // side)
        missing = turns * side - spot.shape[dim]
        spot = F.pad(spot, (0, 0, 0, missing) if dim == -2 else (0, missing))
        spot = torch.stack(spot.chunk(turns, dim)).sum(0)
    return spot


def _taper(n: int, like: Tensor) -> Tensor:
    """(n,), a flat top between cosine ramps (Tukey)."""
    at = (torch.arange(n, dtype=like.dtype, device=like.device) + 0.5) / n
    rim = (torch.minimum(at, 1 - at) / _RAMP).clamp(max=1)
    return (1 - torch.cos(torch.pi * rim)) / 2
