"""Kind ``texture``: fresh samples by the annealed chain at every size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from gcn_cli.engine import Machine, NoiseSource
from gcn_cli.errors import UsageError
from gcn_cli.run import texture_cost
from gcn_cli.run.sampling import USUAL, Frame, Request, fit_canvas, fitting_batch
from gcn_cli.texture import draw
from gcn_cli.texture.draw import Model, Step
from gcn_cli.texture.pyramid import enlarge_torus


@dataclass(frozen=True)
class TextureArtist:
    """See `gcn_cli.run.sampling.Artist`."""

    model: Model

    @property
    def usual(self) -> tuple[int, int]:
        """What is drawn unasked."""
        return self.model.place or (USUAL, USUAL)

    def canvas(self, request: Request) -> tuple[int, int]:
        """A torus (H, W) of full size that the strides divide at every size.

        Raises:
            UsageError: a side that must tile and is not divided, or not the canvas of objects.
        """
        place = self.model.place
        if place is not None and (request.height, request.width) != place:
            raise UsageError(
                f"this model is of objects on {place[1]}x{place[0]} px, not "
                f"{request.width}x{request.height}; leave out --size"
            )
        if place is not None:
            return place
        least = self.model.net.receptive_field * self.model.sizes[0].reduction
        return fit_canvas(request, self.model.multiple, least)

    def batch(self, request: Request, machine: Machine, wanted: int | None) -> int:
        """Chains at once; on a processor one, since its convolutions round by the batch's size."""
        if machine.device.type == "cpu":
            return 1
        one = texture_cost.chain_bytes(self.model, self.canvas(request), machine.dtype)
        return wanted or fitting_batch(one, machine.device)

    def frames(self, request: Request, machine: Machine) -> Iterator[Frame]:
        """The chain of every seed, step by step."""
        noise = NoiseSource(0, request.seeds, machine.device)
        canvas, steps, taken = self.canvas(request), self.model.total_steps, 0
        for step in draw.draw(self.model, canvas, noise, machine, request.temperature):
            last = step.s == 0 and step.size == len(self.model.sizes) - 1
            if step.s > 0 or last:  # the end of one size is the beginning of the next
                yield Frame(taken, steps, partial(self._shown, step), partial(self._finished, step))
                taken += 1

    def _shown(self, step: Step) -> Tensor:
        """The first chain (C, H, W) in grey levels and full size, scaled to the data's spread."""
        y = step.y[:1] / math.sqrt(1 + step.s**2)
        return self.model.to_grey(self._enlarged(y, step.size))[0].cpu()

    def _finished(self, step: Step) -> Tensor:
        """Samples (N, C, H, W) in grey levels, in place where the last size is the full one."""
        y = self._enlarged(step.y, step.size)
        return y.mul_(self.model.contrast).add_(self.model.mean.to(y.device))

    def _enlarged(self, y: Tensor, size: int) -> Tensor:
        return enlarge_torus(y, self.model.sizes[size].reduction)
