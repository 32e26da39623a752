"""Langevin dynamics on canvases whose feature maps would not fit into memory.

A value of B(I) depends on pixels less than one receptive field away, so it can be had from a
window of the canvas with a margin of that width. Each step goes over the canvas in bands of rows,
window by window, and moves the image in place; memory is the image itself, one band and the maps
of one window. The numbers are those of the whole canvas, up to the rounding of convolutions of
other shapes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gcn_cli.engine.device import AnyBasis, make_basis
from gcn_cli.field.convnet import Boundary, ConvNet, Weights
from gcn_cli.field.langevin import ChainState, LangevinParams, move, phase
from gcn_cli.field.noise import BAND, NoiseSource


@dataclass(frozen=True)
class _Span:
    """Where a window with its margin lies along one axis, and where the margin ends."""

    start: int
    stop: int
    lead: int


def parts(n: int, side: int, multiple: int = 1) -> list[tuple[int, int]]:
    """``n`` px cut into even pieces of at most ``side`` px, all but the last of whole multiples."""
    most = max(multiple, side // multiple * multiple)
    length = -(-n // (-(-n // most)))
    length = -(-length // multiple) * multiple
    return [(first, min(n, first + length)) for first in range(0, n, length)]


class WindowedField:
    """A field, evaluated in windows of at most about ``side`` px."""

    def __init__(
        self,
        net: ConvNet,
        weights: Weights,
        boundary: Boundary,
        dtype: torch.dtype,
        device: torch.device,
        side: int,
    ) -> None:
        self.net, self.boundary, self.side = net, boundary, side
        self._weights, self._dtype, self._device = weights, dtype, device
        self._bases: dict[tuple[int, ...], AnyBasis] = {}

    @property
    def reach(self) -> int:
        """Rows that a band must know above and below itself."""
        return self.net.receptive_field - 1 + self.net.total_stride

    def span(self, first: int, last: int, n: int, shift: int) -> _Span:
        """The window for [first, last) on an axis of ``n`` px, in phase with the stride."""
        stride = self.net.total_stride
        start, stop = first - self.net.receptive_field + 1, last + self.net.receptive_field - 1
        start -= (start + shift) % stride
        if self.boundary == "torus":
            stop += -(stop + shift) % stride
        else:
            start, stop = max(0, start), min(n, stop)
        return _Span(start, stop, first - start)

    def basis(self, window: Tensor) -> Tensor:
        """B of a window (N, C, h, w); its margin is not to be trusted."""
        key = tuple(window.shape)
        if key not in self._bases:
            n, c, h, w = key
            made = make_basis(self.net, (n, c, h, w), self.boundary, self._dtype, self._device)
            self._bases[key] = made.load(self._weights)
        return self._bases[key](window)


@torch.no_grad()
def run_windowed(
    state: ChainState,
    field: WindowedField,
    params: LangevinParams,
    steps: int,
    noise: NoiseSource,
    purpose: str = "langevin",
) -> ChainState:
    """`run_langevin`, window by window: the images of ``state`` are moved in place."""
    for k in range(steps):
        t = state.step + k
        shift = phase(params, noise, purpose, t)
        _step(state.images, field, params, noise, purpose, t, shift)
    return ChainState(state.images, state.step + steps)


def _step(
    images: Tensor,
    field: WindowedField,
    params: LangevinParams,
    noise: NoiseSource,
    purpose: str,
    step: int,
    shift: tuple[int, int],
) -> None:
    """One step of the whole canvas. What later bands still need of moved rows is kept aside."""
    n, reach = images.shape[-2], min(field.reach, images.shape[-2])
    torus = field.boundary == "torus"
    head = images[..., : reach if torus else 0, :].clone()
    above = images[..., n - reach if torus else n :, :].clone()
    for top, bottom in parts(n, field.side, BAND):
        below = images[..., bottom : bottom + reach, :]
        wrapped = head[..., : max(0, reach - below.shape[-2]), :]
        rows = torch.cat([above, images[..., top:bottom, :], below, wrapped], -2)
        first = top - above.shape[-2]
        drawn = None
        if params.temperature > 0:
            shape = (*images.shape[:2], bottom - top, images.shape[-1])
            drawn = noise.normal_(torch.empty(shape, device=images.device), purpose, step, top)
        _move_band(
            images[..., top:bottom, :],
            rows,
            first,
            top,
            n,
            field,
            params,
            drawn,
            shift,
        )
        kept = bottom - first
        above = rows[..., max(0, kept - reach) : kept, :].clone()


def _move_band(
    band: Tensor,
    rows: Tensor,
    first: int,
    top: int,
    height: int,
    field: WindowedField,
    params: LangevinParams,
    drawn: Tensor | None,
    shift: tuple[int, int],
) -> None:
    """Move ``band``, rows ``top`` and on; ``rows``, row ``first`` and on, are the old ones."""
    width = band.shape[-1]
    y = field.span(top, top + band.shape[-2], height, shift[0])
    for left, right in parts(width, field.side):
        x = field.span(left, right, width, shift[1])
        columns = torch.arange(x.start, x.stop, device=band.device) % width
        window = rows[..., y.start - first : y.stop - first, :].index_select(-1, columns)
        b = field.basis(window)[
            ..., y.lead : y.lead + band.shape[-2], x.lead : x.lead + right - left
        ]
        piece = band[..., left:right]
        move(piece, b, params, None if drawn is None else drawn[..., left:right], None, out=piece)
