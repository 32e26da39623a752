"""Moving tori in place, a band of rows at a time, so that memory does not grow with the canvas."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def add_in_bands_(
    images: Tensor, margin: int, band: int, change: Callable[[Tensor], Tensor]
) -> Tensor:
    """``images + change(images)`` of tori (N, C, H, W), in place.

    What later bands still need of moved rows is kept aside.

    Args:
        images: they are moved.
        margin: px on every side that ``change`` needs beyond what it returns.
        band: rows at once.
        change: maps blocks (N, C, h + 2 margin, W + 2 margin) to (N, C, h, W).
    """
    height, width = images.shape[-2:]
    columns = torch.arange(-margin, width + margin, device=images.device) % width
    beyond = torch.arange(margin, device=images.device)
    above = images.index_select(-2, (beyond - margin) % height)
    first = images.index_select(-2, beyond % height)  # seen again below the last row
    for top in range(0, height, band):
        bottom = min(height, top + band)
        below = images[..., bottom : bottom + margin, :]
        wrapped = first[..., : margin - below.shape[-2], :]
        rows = torch.cat([above, images[..., top:bottom, :], below, wrapped], -2)
        above = rows[..., bottom - top : bottom - top + margin, :].clone()
        images[..., top:bottom, :] += change(rows.index_select(-1, columns))
    return images
