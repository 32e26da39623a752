"""How large the motifs of a texture are, and so which size a field must begin with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FALL = 0.1
"""Correlation below which two pixels count as of different motifs."""
MOTIF = 2.5
"""Diameters of a motif in correlation lengths: from a stone's middle to its rim, and back."""


def correlation_length(images: Tensor) -> float:
    """Distance, px, at which the correlation of images (N, C, H, W) falls below 0.1.

    Averaged over directions, colours and images; at most a quarter of the shorter side.
    """
    height, width = images.shape[-2:]
    size = (2 * height, 2 * width)  # zeros beyond the frame: no correlation around the torus
    centred = (images - images.mean((2, 3), keepdim=True)).double()
    power = torch.fft.rfft2(centred, s=size).abs().square().sum((0, 1))
    inside = torch.fft.rfft2(torch.ones(height, width, dtype=torch.float64), s=size)
    pairs = torch.fft.irfft2(inside.abs().square(), s=size).clamp_min(1)
    correlation = torch.fft.irfft2(power, s=size) / pairs
    correlation = correlation / correlation[0, 0]
    most = min(height, width) // 4
    rows, columns = torch.meshgrid(
        torch.arange(-most, most + 1), torch.arange(-most, most + 1), indexing="ij"
    )
    ring = (rows**2 + columns**2).double().sqrt().round().long()
    near = correlation[rows % size[0], columns % size[1]]
    total = torch.zeros(int(ring.max()) + 1, dtype=torch.float64)
    count = torch.zeros_like(total)
    total.index_add_(0, ring.flatten(), near.flatten())
    count.index_add_(0, ring.flatten(), torch.ones_like(near).flatten())
    profile = (total / count)[: most + 1]
    below = (profile < _FALL).nonzero()
    return float(below[0, 0]) if len(below) else float(most)


def motif(images: Tensor) -> float:
    """Diameter, px, of the largest motifs of images (N, C, H, W)."""
    return MOTIF * correlation_length(images)


def coarsest_reduction(images: Tensor, field_of_view: int, least_side: int) -> int:
    """By how much the coarsest size is reduced: until a motif fits into the field of view.

    A power of two; never so small that a side falls below ``least_side`` px.
    """
    reduction, side = 1, min(images.shape[-2:])
    while motif(images) / reduction > field_of_view and side // (2 * reduction) >= least_side:
        reduction *= 2
    return reduction
