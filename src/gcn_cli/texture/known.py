"""Which pixels of an exemplar are known, and where learning may therefore look.

A pixel counts only where all that the network sees around it is known. Maps of known pixels are
(N, 1, H, W) bool. Where everything is known there is no map (None), and none of this is called.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_CUBIC = 2  # px of the coarser of two sizes that bicubic resampling looks at, on either side
_ENOUGH = 0.5  # of the best window's counting pixels that a window must have


def eroded(known: Tensor, reach: int) -> Tensor:
    """Pixels around which, up to ``reach`` px away, all are known; beyond the frame all are."""
    return ~_spread(~known, reach, reach)


def _spread(unknown: Tensor, rows: int, columns: int) -> Tensor:
    """Pixels (N, 1, H, W) that are unknown or near one that is."""
    x = unknown.to(torch.float32)
    x = F.max_pool2d(_rim(x, 0, rows), (2 * rows + 1, 1), 1)
    return F.max_pool2d(_rim(x, columns, 0), (1, 2 * columns + 1), 1) > 0


def _rim(x: Tensor, columns: int, rows: int) -> Tensor:
    return F.pad(x, (columns, columns, rows, rows))


def reduced_known(known: Tensor, size: tuple[int, int]) -> Tensor:
    """Known pixels (N, 1, H, W) at another size (h, w): unknown where any pixel under it is.

    Under it is all that bicubic resampling looks at.
    """
    if tuple(known.shape[-2:]) == tuple(size):
        return known
    rows, columns = (
        _CUBIC * max(1, -(-n // m)) for n, m in zip(known.shape[-2:], size, strict=True)
    )
    wide = _spread(~known, rows, columns).to(torch.float32)
    if size[0] >= known.shape[-2] and size[1] >= known.shape[-1]:
        return F.interpolate(wide, size=size, mode="nearest-exact") == 0
    return F.adaptive_max_pool2d(wide, size) == 0


def filled(images: Tensor, known: Tensor) -> Tensor:
    """Images (N, C, H, W) whose unknown pixels have the mean colour of the known ones."""
    mean = mean_of_known(images, known).to(images)
    return torch.where(known, images, mean[:, None, None])


def mean_of_known(images: Tensor, known: Tensor) -> Tensor:
    """Mean colour (C,) of the known pixels of images (N, C, H, W), float64."""
    mask = known.to(torch.float64)
    return (images * mask).sum((0, 2, 3)) / mask.sum().clamp_min(1)


def known_values(images: Tensor, known: Tensor | None) -> Tensor:
    """The values of all known pixels, in a row; the images themselves where all are known."""
    return images if known is None else images[known.expand_as(images)]


class Windows:
    """Where windows may be cut out of maps: the places (k, i, j) that have enough that counts."""

    def __init__(self, counts: Tensor, shape: tuple[int, int], margin: int, whole: bool) -> None:
        """``counts`` (N, 1, H, W): pixels that count, inside a window's ``margin``.

        ``whole``: windows all of whose pixels count, and no others.
        """
        self._size = counts.shape[-2] - shape[0] + 1, counts.shape[-1] - shape[1] + 1
        inner = counts[..., margin : counts.shape[-2] - margin, margin : counts.shape[-1] - margin]
        h, w = shape[0] - 2 * margin, shape[1] - 2 * margin
        sums = window_sums(inner[:, 0].to(torch.float64), h, w)
        wanted = h * w if whole else max(1.0, _ENOUGH * float(sums.max()))
        self._places = (sums >= wanted).flatten().nonzero().flatten().cpu()

    def __len__(self) -> int:
        return len(self._places)

    def draw(self, n: int, draw: torch.Generator) -> list[tuple[int, int, int]]:
        """``n`` places, each as likely as the others."""
        rows, columns = self._size
        picked = self._places[torch.randint(len(self), (n,), generator=draw)]
        return [
            (place // (rows * columns), place // columns % rows, place % columns)
            for place in picked.tolist()
        ]


def window_sums(x: Tensor, h: int, w: int) -> Tensor:
    """Sums of maps (N, H, W) over all windows of h x w px, by cumulative sums."""
    total = F.pad(x.cumsum(1).cumsum(2), (1, 0, 1, 0))
    return total[:, h:, w:] - total[:, :-h, w:] - total[:, h:, :-w] + total[:, :-h, :-w]


__all__ = [
    "Windows",
    "eroded",
    "filled",
    "known_values",
    "mean_of_known",
    "reduced_known",
    "window_sums",
]
