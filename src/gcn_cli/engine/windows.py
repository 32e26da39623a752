"""Canvases whose maps would not fit into memory: one step, window by window, in place.

A value of grad h depends on pixels at most `NoiseNet.reach` away, so it can be had from a window of
the canvas with a margin of that width. A step goes over the canvas in bands of rows and moves them
in place; memory is the canvas itself, one band and the maps of one window. The numbers are those of
the whole canvas up to the rounding of convolutions of other shapes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BAND = 256
"""Rows of a band: as many as share a key of noise (`gcn_cli.field.noise`)."""


def parts(n: int, most: int) -> list[tuple[int, int]]:
    """``n`` px cut into pieces of at most ``most`` px, first to last."""
    return [(first, min(n, first + most)) for first in range(0, n, most)]


def window(first: int, last: int, reach: int, stride: int, shift: int) -> tuple[int, int]:
    """[start, stop) around [first, last): ``reach`` px more on both sides, in phase with a stride.

    ``start + shift`` and ``stop + shift`` are multiples of ``stride``: a torus rolled by ``shift``
    has its units there. They may lie outside the canvas.
    """
    start = first - reach
    start -= (start + shift) % stride
    stop = last + reach
    return start, stop + -(stop + shift) % stride


def windowed_gradient(
    gradient: Callable[[Tensor], Tensor],
    rows: Tensor,
    channels: int,
    top: int,
    inner: tuple[int, int],
    reach: int,
    stride: int,
    shift: tuple[int, int],
    side: int,
) -> Tensor:
    """Grad h of rows ``inner`` of a torus, from ``rows`` (N, C, h, W) that begin at row ``top``.

    ``gradient`` takes bounded windows and tells ``channels`` of them; ``rows`` holds those that
    `window` asks for; columns wrap.
    """
    width = rows.shape[-1]
    first, last = inner
    out = rows.new_empty(len(rows), channels, last - first, width)
    start, stop = window(first, last, reach, stride, shift[0])
    strip = rows[..., start - top : stop - top, :]
    for left, right in parts(width, side):
        begin, end = window(left, right, reach, stride, shift[1])
        columns = torch.arange(begin, end, device=rows.device) % width
        piece = gradient(strip.index_select(-1, columns))
        out[..., left:right] = piece[
            ..., first - start : last - start, left - begin : right - begin
        ]
    return out


def gradient_by_windows(
    gradient: Callable[[Tensor], Tensor],
    torus: Tensor,
    channels: int,
    reach: int,
    stride: int,
    shift: tuple[int, int],
    side: int,
) -> Tensor:
    """Grad h (N, ``channels``, H, W) of a whole torus, band by band; see `windowed_gradient`."""
    height = torus.shape[-2]
    out = torus.new_empty(len(torus), channels, *torus.shape[-2:])
    for first, last in parts(height, BAND):
        start, stop = window(first, last, reach, stride, shift[0])
        rows = torus.index_select(-2, torch.arange(start, stop, device=torus.device) % height)
        out[..., first:last, :] = windowed_gradient(
            gradient, rows, channels, start, (first, last), reach, stride, shift, side
        )
    return out


def move_bands(
    canvas: Tensor,
    reach: int,
    stride: int,
    shift: int,
    move: Callable[[Tensor, int, tuple[int, int]], Tensor],
) -> None:
    """Replace a torus (N, C, H, W) band by band by ``move(rows, top, (first, last))``, in place.

    ``rows``, the first of which is row ``top`` of the canvas (negative: wrapped), holds the rows
    [first, last) and those around them that `window` asks for, all as they were before the step.
    """
    height, keep = canvas.shape[-2], reach + stride
    if height <= BAND + 2 * keep:  # so few rows are held twice, and may wrap more than once
        before = canvas.clone()
        for first, last in parts(height, BAND):
            start, stop = window(first, last, reach, stride, shift)
            lines = torch.arange(start, stop, device=canvas.device) % height
            canvas[..., first:last, :] = move(before.index_select(-2, lines), start, (first, last))
        return
    head = canvas[..., :keep, :].clone()
    above = canvas[..., height - keep :, :].clone()
    for first, last in parts(height, BAND):
        start, stop = window(first, last, reach, stride, shift)
        below = torch.arange(last, stop, device=canvas.device)
        fresh = canvas.index_select(-2, below[below < height])
        wrapped = head.index_select(-2, below[below >= height] % height)
        rows = torch.cat(
            [
                above[..., above.shape[-2] - (first - start) :, :],
                canvas[..., first:last, :],
                fresh,
                wrapped,
            ],
            -2,
        )
        above = torch.cat([above, canvas[..., first:last, :]], -2)[..., -keep:, :].clone()
        canvas[..., first:last, :] = move(rows, start, (first, last))
