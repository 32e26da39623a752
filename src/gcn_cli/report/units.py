"""Basis functions of the strongest units above the first layer, beside what excites them most.

A unit's strength is the root mean square of the messages that the decoder sends it over the
exemplar, times the norm of what it paints (`gcn_cli.field.units`). Its picture is what it paints at
the patch that excites it most, decoded under the gates of that patch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gcn_cli.field.network import beside
from gcn_cli.field.units import messages, unit_basis, unit_window
from gcn_cli.report.measure import Field, surround

SHOWN = 12
"""Units of a layer that are told."""
PATCHES = 2
"""Patches shown of each."""


@dataclass(frozen=True)
class UnitFacts:
    """Unit ``index`` of a layer, both counted from 0; ``strength`` in units of grad h.

    ``basis`` (C, r, r) is what it paints at the first of ``patches`` (n, C, r, r), which are in
    units of contrast.
    """

    reduction: int
    layer: int
    index: int
    strength: float
    basis: Tensor
    patches: Tensor


def strongest_units(
    field: Field, reduction: int, x: Tensor, s: float, given: Tensor | None = None
) -> list[UnitFacts]:
    """Of every layer above the first, strongest first, of a picture (1, C, H, W) without noise."""
    canvas, told = surround(field, x), torch.full((1,), s, device=x.device)
    known = None if given is None else surround(field, given)
    z = beside(canvas / math.sqrt(1 + s**2), known)
    with torch.no_grad():
        responses = field.net.forward(z, told, field.weights, "frame")
    sent = messages(field.net, z, told, field.weights, "frame")
    found = []
    for layer in range(1, len(field.net.layers)):
        work = _Layer(field, layer, z, told, (x.shape[-2], x.shape[-1]))
        found += work.strongest(reduction, responses.layers[layer][0], sent[layer][0])
    return found


class _Layer:
    """One layer at work on a surrounded picture z (1, C + G, H, W)."""

    def __init__(
        self, field: Field, layer: int, z: Tensor, s: Tensor, size: tuple[int, int]
    ) -> None:
        self.field, self.layer, self.z, self.s, self.size = field, layer, z, s, size
        self.side, self.step, self.before = unit_window(field.net, layer)

    def _inside(self, maps: Tensor) -> tuple[Tensor, int]:
        """Units whose windows lie in the picture (K, h, w), and the first one's row and column."""
        first = -(-(self.field.margin + self.before) // self.step)
        ends = [
            (self.field.margin + n - self.side + self.before) // self.step + 1 for n in self.size
        ]
        return maps[:, first : ends[0], first : ends[1]], first

    def strongest(self, reduction: int, responses: Tensor, sent: Tensor) -> list[UnitFacts]:
        """`SHOWN` units by pre-activations and messages (K, h, w) of the surrounded picture."""
        inside, first = self._inside(responses)
        if not inside.numel():
            return []
        places = [self._places(one, first) for one in inside]
        bases = torch.cat([self._painted(k, *at[0]) for k, at in enumerate(places)])
        rms = self._inside(sent)[0].square().mean((1, 2)).sqrt()
        strengths = rms * bases.flatten(1).norm(dim=1)
        best = strengths.argsort(descending=True)[:SHOWN].tolist()
        return [
            UnitFacts(
                reduction,
                self.layer,
                k,
                float(strengths[k]),
                bases[k].cpu(),
                torch.cat([self._patch(*at) for at in places[k]]).cpu(),
            )
            for k in best
        ]

    def _places(self, response: Tensor, first: int) -> list[tuple[int, int]]:
        """Rows and columns where the unit (h, w) answers most, half a window or more apart."""
        left, apart = response.clone(), max(1, self.side // (2 * self.step))
        found = []
        for _ in range(PATCHES):
            i, j = divmod(int(left.argmax()), left.shape[1])
            found.append((i + first, j + first))
            left[max(0, i - apart) : i + apart + 1, max(0, j - apart) : j + apart + 1] = -math.inf
        return found

    def _patch(self, i: int, j: int) -> Tensor:
        """What unit (i, j) sees of y (1, C, r, r)."""
        top, left = i * self.step - self.before, j * self.step - self.before
        seen = self.z[:, : self.field.net.channels, top : top + self.side, left : left + self.side]
        return seen * (1 + self.s**2).sqrt()

    @torch.no_grad()
    def _painted(self, k: int, i: int, j: int) -> Tensor:
        """What unit (k, i, j) paints in its window (1, C, r, r), from whole strides around it."""
        net, stride = self.field.net, self.field.net.total_stride
        corner = [n * self.step - self.before for n in (i, j)]
        start = [n // stride * stride for n in corner]
        far = -(-(self.side + stride) // stride) * stride
        cut = self.z[..., start[0] : start[0] + far, start[1] : start[1] + far]
        pattern = net.pattern(net.forward(cut, self.s, self.field.weights, "frame"))
        unit = (k, i - start[0] // self.step, j - start[1] // self.step)
        told = unit_basis(net, pattern, self.field.weights, self.layer, [unit], "frame")
        top, left = corner[0] - start[0], corner[1] - start[1]
        return told[..., top : top + self.side, left : left + self.side]


__all__ = ["PATCHES", "SHOWN", "UnitFacts", "strongest_units"]
