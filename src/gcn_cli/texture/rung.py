"""One step of a chain: down the ladder, or a Langevin step at its own level.

A canvas is moved whole, or window by window and in place where its maps would not fit into memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gcn_cli.engine import NoiseSource, Sampler, move_bands, windowed_gradient
from gcn_cli.field.ladder import extrapolated, langevin_step, step_down
from gcn_cli.field.network import NoiseNet, beside
from gcn_cli.texture.held import Held
from gcn_cli.texture.pyramid import enlarge_rows

FACTOR = 2
"""Between a size and the next finer one."""
KEPT = torch.float16
"""What the last D is kept in for the next step: half the memory of a large canvas."""


@dataclass(frozen=True)
class Rung:
    """From level s, number ``index``, to ``below``, after ``above``.

    ``below`` is 0 at the end and s itself where the step stays; ``number`` keys its random numbers.
    """

    index: int
    number: int
    above: float
    s: float
    below: float
    before: int | None = None
    """Number of the Langevin step before, at the same level."""

    @property
    def stays(self) -> bool:
        """Whether it is a Langevin step."""
        return self.below == self.s


def rungs(levels: Sequence[float], langevin: int, first: int = 0) -> Iterator[Rung]:
    """The steps of a ladder from number ``first`` on.

    Before each but the last come so many Langevin steps at its level.
    """
    for k, s in list(enumerate(levels))[first:]:
        above, last = levels[max(first, k - 1)], k + 1 == len(levels)
        before = None
        for again in range(0 if last else langevin):
            number = k + (1 + again) * len(levels)
            yield Rung(k, number, above, s, s, before)
            before = number
        yield Rung(k, k, above, s, 0.0 if last else levels[k + 1])


@dataclass(frozen=True)
class Mover:
    """What moves the chains of one size: noise named ``purpose``, and what is held at that size."""

    noise: NoiseSource
    purpose: str
    temperature: float = 1.0
    held: Held | None = None

    def move(
        self, y: Tensor, d: Tensor, earlier: Tensor | None, rung: Rung, first_row: int = 0
    ) -> Tensor:
        """Y (N, C, h, W), whose first row is ``first_row`` of the canvas, after one step.

        ``d`` is D(y, s) with what is held in it, ``earlier`` that of the level above.
        """
        if not rung.below:
            return d
        z = self._normal(d, self.purpose, rung.number, first_row)
        if rung.stays:
            first = rung.before is None
            purpose = f"{self.purpose}/first" if first else self.purpose
            before = self._normal(d, purpose, rung.before or rung.number, first_row)
            moved = langevin_step(y, d, rung.s, z, before, first)
            if self.held is None:
                return moved
            return self.held.put(moved, first_row, z.mul_(rung.s))
        last = None if earlier is None else earlier.float()
        towards = extrapolated(d, last, rung.above, rung.s, rung.below)
        return step_down(y, towards, rung.s, rung.below, z)

    def _normal(self, like: Tensor, purpose: str, number: int, first_row: int) -> Tensor:
        z = torch.empty_like(like, memory_format=torch.contiguous_format)
        self.noise.normal_(z, purpose, number, first_row)
        return z.mul_(math.sqrt(self.temperature))

    def move_windows(
        self,
        net: NoiseNet,
        sampler: Sampler,
        y: Tensor,
        coarser: Tensor | None,
        earlier: Tensor | None,
        rung: Rung,
        shift: tuple[int, int],
        window: int,
    ) -> Tensor | None:
        """One step of the whole canvas, in place; returns D, kept in half as many bytes.

        Of a Langevin step it returns ``earlier``, which is left as it is.
        """
        told = torch.full((1,), rung.s, device=y.device)
        scale, last = math.sqrt(1 + rung.s**2), earlier
        if rung.stays:
            kept = None
        else:
            kept = torch.empty_like(y, dtype=KEPT) if earlier is None else earlier

        def gradient(piece: Tensor) -> Tensor:
            return sampler.window(piece, told.expand(len(piece)))

        def move(rows: Tensor, top: int, inner: tuple[int, int]) -> Tensor:
            first, end = inner
            known = None
            if coarser is not None:
                known = enlarge_rows(coarser, FACTOR, top, top + rows.shape[-2])
            z, stride = beside(rows / scale, known), net.total_stride
            found = windowed_gradient(
                gradient, z, y.shape[1], top, inner, net.reach, stride, shift, window
            )
            here = rows[..., first - top : end - top, :]
            d = here / scale**2 + (rung.s / scale) * found
            d = d if self.held is None else self.held.put(d, first)
            before = None if last is None else last[..., first:end, :].clone()
            if kept is not None:
                kept[..., first:end, :] = d
            return self.move(here, d, before, rung, first)

        move_bands(y, net.reach, net.total_stride, shift[0], move)
        return earlier if kept is None else kept


__all__ = ["FACTOR", "KEPT", "Mover", "Rung", "rungs"]
