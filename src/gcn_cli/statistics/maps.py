"""How well maps of one surface fit one another: correlations across channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gcn_cli.errors import ImageError
from gcn_cli.statistics.known import known_share, whole_windows

REACH = 8
"""Shifts, px, at which channels are compared."""


def cross_correlations(
    image: Tensor, pairs: Sequence[tuple[int, int]], reach: int = REACH
) -> Tensor:
    """Correlations of pairs of channels of (C, H, W) at all shifts up to ``reach`` px.

    Shifted within the frame: a picture need not tile. Returns (P, 2 reach + 1, 2 reach + 1) in
    -1..1, P the number of pairs; 0 where a channel is constant. Unknown pixels are NaN; places
    count where all are known as far as is shifted.

    Raises:
        ImageError: there is none.
    """
    _, height, width = image.shape
    seen = whole_windows(image, 2 * reach + 1)
    if not bool(seen.any()):
        raise ImageError(
            f"{known_share(image):.1%} of the maps is known, and no square of {2 * reach + 1} px "
            "that their correlations could be of"
        )
    inner = image[:, reach : height - reach, reach : width - reach].double()
    firsts, seconds = (list(channels) for channels in zip(*pairs, strict=True))
    still, shifts = _standard(inner[:, seen]), range(2 * reach + 1)
    found = image.new_zeros(len(pairs), len(shifts), len(shifts), dtype=torch.float64)
    for dy in shifts:
        for dx in shifts:
            moved = image[:, dy : dy + inner.shape[1], dx : dx + inner.shape[2]].double()
            every = still @ _standard(moved[:, seen]).T / still.shape[1]
            found[:, dy, dx] = every[firsts, seconds]
    return found


def cross_map_error(exemplar: Tensor, sample: Tensor, counts: Sequence[int]) -> float:
    """How far a sample's correlations across maps are from the exemplar's, 0 being none.

    ``counts`` are the channels of each map, in order. Root mean square difference over all pairs of
    channels of different maps and shifts up to `REACH` px, over the exemplar's root mean square.
    """
    owner = [number for number, count in enumerate(counts) for _ in range(count)]
    pairs = [
        (a, b) for a in range(len(owner)) for b in range(a + 1, len(owner)) if owner[a] != owner[b]
    ]
    if not pairs:
        return 0.0
    wanted, got = (cross_correlations(image, pairs) for image in (exemplar, sample))
    return float((got - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())


def _standard(channels: Tensor) -> Tensor:
    centred = channels - channels.mean(1, keepdim=True)
    return centred / centred.square().mean(1, keepdim=True).sqrt().clamp_min(1e-9)
