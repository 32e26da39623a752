"""Images across the levels of a pyramid: resampling that respects the torus."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SUPPORT = 4  # px of wrap that bicubic interpolation needs, with room to spare


def shrink(images: Tensor, scale: float) -> Tensor:
    """Anti-aliased bicubic reduction of images (N, C, H, W) to ``scale`` of their sides."""
    if scale == 1:
        return images
    size = [max(1, round(n * scale)) for n in images.shape[-2:]]
    return F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)


def enlarge_torus(images: Tensor, factor: int) -> Tensor:
    """Bicubic enlargement of a torus (N, C, H, W) by a whole factor; the result is a torus."""
    if factor == 1:
        return images
    for dim in (-2, -1):
        n = images.shape[dim]
        index = torch.arange(-_SUPPORT, n + _SUPPORT, device=images.device) % n
        images = images.index_select(dim, index)
    big = F.interpolate(images, scale_factor=factor, mode="bicubic", align_corners=False)
    margin = _SUPPORT * factor
    return big[..., margin : big.shape[-2] - margin, margin : big.shape[-1] - margin].contiguous()
