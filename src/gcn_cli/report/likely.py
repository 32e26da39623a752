"""How likely a picture is at a model's coarsest size: two ways to ln p, which must agree."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gcn_cli.engine import Machine, NoiseSource
from gcn_cli.errors import ImageError, UsageError
from gcn_cli.field import evidence as law
from gcn_cli.field import ladder
from gcn_cli.field.network import beside
from gcn_cli.field.partition import Bounds, Ladder
from gcn_cli.report import measure
from gcn_cli.texture.draw import Model
from gcn_cli.texture.place import place_maps
from gcn_cli.texture.plan import at_size

SURE = 0.1
"""Bits per value: errors above it make agreement say nothing."""


@dataclass(frozen=True)
class Wanted:
    """How: lowest level (None: the model's), px a side at most, levels, chains, seed."""

    lowest: float | None = None
    side: int = 64
    steps: int = 200
    chains: int = 4
    seed: int = 0


@dataclass(frozen=True)
class Likely:
    """-log2 p in bits per value, per grey level, by either way, and their errors.

    ``width`` x ``height`` px of the picture reduced ``reduction`` times, under noise of ``noise``
    grey levels. ``accepted``: share of Langevin's moves.
    """

    annealed: float
    annealed_error: float
    denoised: float
    denoised_error: float
    reduction: int
    width: int
    height: int
    noise: float
    accepted: float

    @property
    def agree(self) -> bool:
        """Whether both are sure, and nearer to one another than their errors together."""
        apart = abs(self.annealed - self.denoised)
        return self.error <= SURE and apart <= self.annealed_error + self.denoised_error

    @property
    def bits(self) -> float | None:
        """What both say; None where they do not agree."""
        return (self.annealed + self.denoised) / 2 if self.agree else None

    @property
    def error(self) -> float:
        """Of `bits`: the larger of both."""
        return max(self.annealed_error, self.denoised_error)

    @property
    def told(self) -> str:
        """What it is the density of."""
        return (
            f"-log2 p of {self.width}x{self.height} px at 1/{self.reduction}, noise of "
            f"{self.noise:.3g} grey levels on them"
        )


def likely(model: Model, grey: Tensor, machine: Machine, wanted: Wanted) -> Likely:
    """Both ways, of a picture (C, H, W) in grey levels.

    Raises:
        ImageError: a picture of fewer px than a stride at the coarsest size, or no object's canvas.
        UsageError: a lowest level outside the ladder.
    """
    work = _Coarsest(model, machine, wanted)
    x = work.ready(grey)
    bits = work.shape(x)
    costs, levels = work.costs(x)
    low, high, energy = work.bounds(x, costs, levels)
    unit = math.log2(model.contrast)
    annealed, error = energy + low.value, math.hypot(low.error, high)
    denoised, loss = work.integrated(x, costs, levels)
    n = x[0].numel() * math.log(2)
    return Likely(
        annealed / n + unit,
        error / n,
        denoised / n + unit,
        loss / n,
        model.sizes[0].reduction,
        *bits,
        noise=float(levels[-1]) * model.contrast,
        accepted=low.accepted,
    )


class _Coarsest:
    """The coarsest field on a torus."""

    def __init__(self, model: Model, machine: Machine, wanted: Wanted) -> None:
        self.model, self.machine, self.wanted = model, machine, wanted
        self.field = measure.open_field(model, 0, machine)
        ends = model.sizes[0].levels
        least = float(ends[-1]) if wanted.lowest is None else wanted.lowest
        if not float(ends[-1]) * 0.999 <= least < float(ends[0]):
            raise UsageError(
                f"--lowest lies between {float(ends[-1]):.3g} and {float(ends[0]):.3g}, the levels "
                f"that the model knows; it is {least:.3g}"
            )
        self.levels = ladder.noise_levels(float(ends[0]), least, wanted.steps)

    def ready(self, grey: Tensor) -> Tensor:
        """The middle (n, C, h, w) of the picture in units of contrast, once for every chain."""
        y = (grey[None] - self.model.mean) / self.model.contrast
        y = at_size(y.float(), self.model.sizes[0].reduction)
        stride = self.model.net.total_stride
        height, width = (min(n, self.wanted.side) // stride * stride for n in y.shape[-2:])
        if self.model.place is not None and (height, width) != self.model.place:
            raise ImageError(f"this model is of objects of {self.model.place[::-1]} px as a whole")
        if not height or not width:
            raise ImageError(
                f"the picture is {grey.shape[-1]}x{grey.shape[-2]} px; sides of {stride} px at "
                f"1/{self.model.sizes[0].reduction} are the least"
            )
        top, left = (y.shape[-2] - height) // 2, (y.shape[-1] - width) // 2
        y = y[..., top : top + height, left : left + width]
        return y.expand(self.wanted.chains, -1, -1, -1).to(self.machine.device).contiguous()

    def shape(self, x: Tensor) -> tuple[int, int]:
        """Width and height, px."""
        return x.shape[-1], x.shape[-2]

    def normal(self, x: Tensor, purpose: str, step: int) -> Tensor:
        """Keyed noise like x."""
        noise = NoiseSource(self.wanted.seed, range(len(x)), x.device)
        return noise.normal_(torch.empty_like(x), f"likely/{purpose}", step)

    def given(self, x: Tensor) -> Tensor | None:
        """Where a pixel of an object lies."""
        if self.model.place is None:
            return None
        return place_maps(len(x), (x.shape[-2], x.shape[-1]), x.device)

    @torch.no_grad()
    def density(self, y: Tensor, s: float) -> tuple[Tensor, Tensor]:
        """``-U_s`` (N,), nats, and its gradient, by one pass up and down."""
        net, told = self.field.net, y.new_full((len(y),), s)
        scale = math.sqrt(1 + s**2)
        z = beside(y / scale, self.given(y))
        responses = net.forward(z, told, self.field.weights, "torus")
        f = net.output(responses, self.field.weights) / s
        b = net.decode(net.pattern(responses), self.field.weights, "torus") / (s * scale)
        return f - ladder.reference_energy(y, told), b - y / scale**2

    def costs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Costs of denoising (K, N), noise drawn anew at every level, and the levels."""

        def denoiser(y: Tensor, s: Tensor) -> Tensor:
            return ladder.reconstruct(self.field.sampler, y, s, self.given(y))

        found = law.denoising_cost(denoiser, x, lambda k: self.normal(x, "denoise", k), self.levels)
        return found.double().cpu(), self.levels

    def integrated(self, x: Tensor, costs: Tensor, levels: Tensor) -> tuple[float, float]:
        """-ln p of the picture under noise, nats, and its error: over draws, and of the sum."""
        least = float(levels[-1])
        above = law.divergence_from_reference(x.double().cpu(), float(levels[0]))
        fine = law.integral(costs, levels)
        total = fine + above + law.noise_entropy(x[0].numel(), least)
        last = (len(levels) - 1) // 2 * 2
        even, whole = costs[: last + 1 : 2], costs[: last + 1]
        coarse = law.integral(even, levels[: last + 1 : 2])
        grid = float((coarse - law.integral(whole, levels[: last + 1])).mean().abs()) / 3
        return float(total.mean()), measure.standard_error(total) + grid

    def bounds(self, x: Tensor, costs: Tensor, levels: Tensor) -> tuple[Bounds, float, float]:
        """Bounds of ln Z; standard error and mean over draws of U of the picture under noise."""
        least = float(levels[-1])
        spread = costs.mean(1) * levels**2 / x[0].numel()
        work = Ladder(self.density, levels, spread, lambda purpose, k: self.normal(x, purpose, k))
        y = x + least * self.normal(x, "picture", 0)
        energies = -self.density(y, least)[0].double().cpu()
        return work.bounds(y), measure.standard_error(energies), float(energies.mean())
