"""Kind ``texture``: fresh samples by the annealed chain at every size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor
from torch.nn import functional

from gcn_cli.engine import Machine, NoiseSource
from gcn_cli.errors import UsageError
from gcn_cli.run import texture_cost
from gcn_cli.run.sampling import USUAL, Frame, Request, fit_canvas, fitting_batch
from gcn_cli.texture import draw
from gcn_cli.texture.denoise import Denoiser
from gcn_cli.texture.draw import Begin, Conditions, Model, Step
from gcn_cli.texture.held import Held
from gcn_cli.texture.pyramid import enlarge_torus

PATIENCE = 6
"""Langevin steps at every level of the coarsest size, if it is reduced, around what is known: with
none, what is drawn knows little of what it borders on; with more, contrast grows."""


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
        model = self.model
        least = model.net.receptive_field * model.sizes[0].reduction
        if request.kept is None:
            return fit_canvas(request, model.multiple, least)
        # Room between what is known at one side and what is known at the other.
        wide = replace(
            request,
            height=request.height + (0 if request.tile in ("y", "xy") else model.multiple),
            width=request.width + (0 if request.tile in ("x", "xy") else model.multiple),
        )
        return fit_canvas(wide, model.multiple, least)

    def batch(self, request: Request, machine: Machine, wanted: int | None) -> int:
        """Chains to run at once."""
        one = texture_cost.chain_bytes(self.model, self.canvas(request), machine.dtype)
        return fitting_batch(one, machine.device, wanted)

    def frames(
        self,
        request: Request,
        machine: Machine,
        denoisers: Callable[[int], Denoiser] | None = None,
    ) -> Iterator[Frame]:
        """The chain of every seed, step by step; ``denoisers``: see `draw.draw`."""
        noise = NoiseSource(0, request.seeds, machine.device)
        canvas = self.canvas(request)
        conditions = self._conditions(request, canvas)
        model, skipped = self.model, 0
        if conditions.begin is not None:
            skipped = round(conditions.begin.share * (len(model.sizes[0].levels) - 1))
        steps, taken = model.total_steps - skipped, 0
        for step in draw.draw(
            model,
            canvas,
            noise,
            machine,
            request.temperature,
            conditions=conditions,
            denoisers=denoisers,
        ):
            last = step.s == 0 and step.size == len(model.sizes) - 1
            if step.s > 0 or last:  # the end of one size is the beginning of the next
                yield Frame(taken, steps, partial(self._shown, step), partial(self._finished, step))
                taken += 1

    def _conditions(self, request: Request, canvas: tuple[int, int]) -> Conditions:
        """What is kept and begun with, on the canvas."""
        held = begin = None
        if request.kept is not None:
            picture = self.model.in_units(request.kept.levels[None])
            known = request.kept.known[None, None]
            held = Held(_spread(picture, canvas), _spread(known, canvas))
        if request.sketch is not None:
            picture = self.model.in_units(request.sketch.levels[None])
            begin = Begin(_spread(picture, canvas), request.sketch.share)
        return Conditions(held, begin, PATIENCE if held is not None else 0)

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


def _spread(maps: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Maps (1, C, h, w) at the top left of a canvas (H, W), around them 0."""
    below, right = (n - m for n, m in zip(canvas, maps.shape[-2:], strict=True))
    return functional.pad(maps, (0, right, 0, below))
