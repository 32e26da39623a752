"""What spoils a photograph as an exemplar: frames, captions, blocks of a compression."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_PLAIN = 2.0  # grey levels: a line that varies less is of one colour
_MOST = 0.25  # of a side that a frame may take
_BLOCK = 8  # px, of JPEG


class Inside(NamedTuple):
    """The part of a picture inside its frame: left, top, width, height, px."""

    x: int
    y: int
    width: int
    height: int


def inside_frame(image: Tensor) -> Inside:
    """What is left of a picture (C, H, W) without lines of one colour along its sides.

    A single line of one colour is no frame; two or more are. Unknown pixels are NaN and do not
    count, and a line of nothing else is of no colour.
    """
    height, width = image.shape[-2:]
    top, bottom = _ends(_spread(image, 2))
    left, right = _ends(_spread(image, 1))
    return Inside(left, top, width - left - right, height - top - bottom)


def _spread(image: Tensor, dim: int) -> Tensor:
    centred = image - image.nanmean(dim, keepdim=True)
    return centred.square().nanmean(dim).sqrt().amax(0)


def _ends(spread: Tensor) -> tuple[int, int]:
    """Plain lines at either end, of the standard deviations (n,) along lines."""
    plain = (spread < _PLAIN).tolist()
    counts = []
    for lines in (plain, plain[::-1]):
        count = lines.index(False) if False in lines else 0
        counts.append(count if 2 <= count <= _MOST * len(lines) else 0)
    return counts[0], counts[1]


def blockiness(image: Tensor) -> float:
    """Steps across the borders of 8 px blocks over those inside them (C, H, W); 1: no blocks.

    Of the two second differences that straddle a border, whatever the picture shows; the larger of
    both directions. Unknown pixels are NaN and do not count.
    """
    return max(_steps(image), _steps(image.mT))


def _steps(image: Tensor) -> float:
    if image.shape[-1] < 4 * _BLOCK:
        return 1.0
    # How far a step is from the mean of its neighbours: smooth shading has none.
    step = image[..., 1:] - image[..., :-1]
    odd = (step[..., 1:-1] - (step[..., :-2] + step[..., 2:]) / 2).abs()
    by_place = torch.stack([odd[..., k::_BLOCK].nanmean() for k in range(_BLOCK)])
    border = by_place[_BLOCK - 2]  # between px 7 and 8 of a block
    rest = (by_place.sum() - border) / (_BLOCK - 1)
    return float((border / rest.clamp_min(1e-6)).nan_to_num(1.0))
