"""Images at several sizes: resampling that respects the torus."""

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


def shrink_torus(images: Tensor, factor: int) -> Tensor:
    """`shrink` of a torus (N, C, H, W) by a whole factor of its sides; the result is a torus."""
    if factor == 1:
        return images
    for dim in (-2, -1):
        images = _wrapped(images, dim, 0, images.shape[dim], _SUPPORT * factor)
    small = shrink(images, 1 / factor)
    return small[..., _SUPPORT:-_SUPPORT, _SUPPORT:-_SUPPORT].contiguous()


def enlarge_torus(images: Tensor, factor: int) -> Tensor:
    """Bicubic enlargement of a torus (N, C, H, W) by a whole factor; the result is a torus."""
    if factor == 1:
        return images
    return enlarge_rows(images, factor, 0, images.shape[-2] * factor)


def enlarge_rows(images: Tensor, factor: int, top: int, bottom: int) -> Tensor:
    """Rows ``top`` to ``bottom`` of `enlarge_torus`, without the others."""
    first, last = top // factor, -(-bottom // factor)
    part = _wrapped(_wrapped(images, -2, first, last), -1, 0, images.shape[-1])
    big = F.interpolate(part, scale_factor=factor, mode="bicubic", align_corners=False)
    margin = _SUPPORT * factor
    skip = margin + top - first * factor
    return big[..., skip : skip + bottom - top, margin : big.shape[-1] - margin].contiguous()


def _wrapped(images: Tensor, dim: int, first: int, last: int, margin: int = _SUPPORT) -> Tensor:
    """Lines ``first`` to ``last`` along ``dim`` of a torus, and ``margin`` on either side."""
    index = torch.arange(first - margin, last + margin, device=images.device)
    return images.index_select(dim, index % images.shape[dim])
