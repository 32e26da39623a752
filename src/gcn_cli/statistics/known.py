"""Pictures of which some pixels are unknown: those are NaN, and so is whatever looks at them.

Filters and averages carry NaN on, so that a statistic need only leave it out. Where nothing is
unknown, none of this changes a value.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def told(columns: Tensor) -> Tensor:
    """The columns of (K, P) that saw nothing unknown."""
    unknown = columns.sum(0).isnan()
    return columns[:, ~unknown] if bool(unknown.any()) else columns


def whole_windows(image: Tensor, side: int) -> Tensor:
    """Which windows of ``side`` px of a picture (C, H, W) are known: (H - side + 1, ...) bool."""
    unknown = image.isnan().any(0).to(torch.float32)
    return F.max_pool2d(unknown[None], side, 1)[0] == 0


def known_share(image: Tensor) -> float:
    """Share of the pixels of a picture (C, H, W) that are known."""
    return 1 - float(image.isnan().any(0).double().mean())


def largest_square(image: Tensor) -> Tensor:
    """The largest square of a picture (C, H, W) of which all is known; the picture if all is."""
    if not bool(image.isnan().any()):
        return image
    unknown = F.pad(image.isnan().any(0).double().cumsum(0).cumsum(1), (1, 0, 1, 0))
    least, most = 0, min(image.shape[-2:]) + 1  # there is one of the former side, none of the other
    top = left = 0
    while most - least > 1:
        n = (least + most) // 2
        sums = unknown[n:, n:] - unknown[:-n, n:] - unknown[n:, :-n] + unknown[:-n, :-n]
        if float(sums.min()) < 0.5:
            least, (top, left) = n, divmod(int(sums.argmin()), sums.shape[1])
        else:
            most = n
    return image[:, top : top + least, left : left + least]
