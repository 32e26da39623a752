"""How large the motifs of a texture are, and so which size a field must begin with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FALL = 0.1
"""Correlation below which two pixels count as of different motifs."""
_DIRECTIONS = 24
_COLOURS = 3


def correlation_length(images: Tensor, known: Tensor | None = None) -> float:
    """Farthest distance, px, at which the correlation of images (N, C, H, W) falls below 0.1.

    Along every direction it falls at some distance; the farthest counts, so that long motifs count
    by their length. Averaged over colours and images; at most a quarter of the shorter side. With a
    map of known pixels (N, 1, H, W), pairs of known ones alone are counted.
    """
    height, width = images.shape[-2:]
    size = (2 * height, 2 * width)  # zeros beyond the frame: no correlation around the torus
    if known is None:
        centred = (images - images.mean((2, 3), keepdim=True)).double()
        seen = torch.ones(1, height, width, dtype=torch.float64)
    else:
        mask = known.double()
        mean = (images * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True)
        centred, seen = (images - mean) * mask, mask[:, 0]
    power = torch.fft.rfft2(centred, s=size).abs().square().sum((0, 1))
    inside = torch.fft.rfft2(seen, s=size).abs().square().sum(0)
    pairs = torch.fft.irfft2(inside, s=size).clamp_min(1)
    correlation = torch.fft.irfft2(power, s=size) / pairs
    correlation = correlation / correlation[0, 0]
    most = min(height, width) // 4
    angle = torch.arange(_DIRECTIONS, dtype=torch.float64)[:, None] * math.pi / _DIRECTIONS
    distance = torch.arange(most + 1, dtype=torch.float64)
    rows = (distance * angle.sin()).round().long() % size[0]
    columns = (distance * angle.cos()).round().long() % size[1]
    fallen = correlation[rows, columns] < _FALL
    fallen[:, -1] = True
    return float(fallen.double().argmax(1).max())


def motif(images: Tensor, known: Tensor | None = None) -> float:
    """Length, px, of the largest motifs of images (N, C, H, W): two correlation lengths.

    More than three channels are maps of a surface: the one with the largest motifs counts, for
    edges in all of them would else hide how large the patches of colour are.
    """
    parts = torch.split(images, 1, 1) if images.shape[1] > _COLOURS else (images,)
    return 2 * max(correlation_length(part, known) for part in parts)


def coarsest_reduction(
    images: Tensor, field_of_view: int, least_side: int, known: Tensor | None = None
) -> int:
    """By how much the coarsest size is reduced: until a motif fits twice into the field of view.

    A power of two; never so small that a side falls below ``least_side`` px.
    """
    reduction, side = 1, min(images.shape[-2:])
    wide = 2 * motif(images, known)
    while wide / reduction > field_of_view and side // (2 * reduction) >= least_side:
        reduction *= 2
    return reduction
