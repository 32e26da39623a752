"""Where in the picture a pixel lies: maps that a field of aligned objects is given beside y."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_WAVES = 2
PLACE = 4 * _WAVES
"""Channels of a place: cosine and sine of whole turns across either side."""


def place_maps(n: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """Maps (n, `PLACE`, H, W) of a canvas ``size`` (H, W); opposite sides of it meet.

    Whole waves, so that the canvas is a torus as everything else is, and yet no two pixels of it
    have the same place.
    """
    rows = []
    for dim, side in enumerate(size):
        turn = 2 * math.pi * (torch.arange(side, device=device) + 0.5) / side
        for k in range(1, _WAVES + 1):
            for wave in (torch.cos(k * turn), torch.sin(k * turn)):
                shaped = wave[:, None] if dim == 0 else wave[None]
                rows.append(shaped.expand(size))
    return torch.stack(rows).expand(n, -1, -1, -1)
