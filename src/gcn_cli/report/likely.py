"""How likely a picture is at a model's coarsest size: two ways to ln p, which must agree.

One passage of the ladder tells both at every level. Far down, where log densities are quotients by
a small s, a model differs most from its neighbours' blurred; so the number that is told is of the
lowest level down to which both ways are sure and agree, at it and at all above.
"""

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
from gcn_cli.field.partition import Bounds, Ladder, even_levels, two_errors
from gcn_cli.report import measure
from gcn_cli.texture.draw import Model
from gcn_cli.texture.place import place_maps
from gcn_cli.texture.plan import at_size

SURE = 0.1
"""Bits per value: errors above it make agreement say nothing."""
MOST, LEAST = 1.0, 0.1
"""Levels, contrasts, between which it is searched: above, noise leaves little of a picture; chains
begun where densities are told worst would spoil the bounds of all levels."""
_PILOT = 30  # levels that the ladder is made even by


@dataclass(frozen=True)
class Wanted:
    """How: lowest level (None: searched), px a side, levels, leaps, chains, seed."""

    lowest: float | None = None
    side: int = 64
    steps: int = 200
    moves: int = 10
    chains: int = 4
    seed: int = 0


@dataclass(frozen=True)
class Likely:
    """-log2 p in bits per value, per grey level, by either way, and their errors.

    ``white`` is that of white noise of the picture's contrast. ``width`` x ``height`` px of the
    picture reduced ``reduction`` times, under noise of ``noise`` grey levels, ``level`` contrasts;
    ``searched``: they part below. ``accepted``: share of trajectories.
    """

    annealed: float
    annealed_error: float
    denoised: float
    denoised_error: float
    white: float
    reduction: int
    width: int
    height: int
    noise: float
    level: float
    searched: bool
    accepted: float

    @property
    def apart(self) -> float:
        """Bits per value between both."""
        return abs(self.annealed - self.denoised)

    @property
    def together(self) -> float:
        """Both errors."""
        return self.annealed_error + self.denoised_error

    @property
    def agree(self) -> bool:
        """Whether both are sure, and nearer to one another than their errors together."""
        return self.error <= SURE and self.apart <= self.together

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
        why = ", the least down to which both agree" if self.searched else ""
        return (
            f"-log2 p of {self.width}x{self.height} px at 1/{self.reduction}, noise of "
            f"{self.noise:.3g} grey levels on them{why}"
        )


def likely(model: Model, grey: Tensor, machine: Machine, wanted: Wanted) -> Likely:
    """Both ways, of a picture (C, H, W) in grey levels.

    Raises:
        ImageError: a picture of fewer px than a stride at the coarsest size, or no object's canvas.
        UsageError: a lowest level outside the ladder.
    """
    work = _Coarsest(model, machine, wanted)
    x = work.ready(grey)
    work.even(x)
    costs, energies = work.costs(x)
    bounds = work.bounds(x, costs)
    annealed, error = work.annealed(energies, bounds)
    denoised, loss = work.integrated(x, costs)
    n = x[0].numel() * math.log(2)
    sure = torch.maximum(error, loss) <= SURE * n
    fine = sure & ((annealed - denoised).abs() <= error + loss)
    k = len(fine) - 1 if wanted.lowest is not None else _last(fine, work.levels)
    level, unit = float(work.levels[k]), math.log2(model.contrast)
    return Likely(
        annealed=float(annealed[k]) / n + unit,
        annealed_error=float(error[k]) / n,
        denoised=float(denoised[k]) / n + unit,
        denoised_error=float(loss[k]) / n,
        white=work.white(x, level) / n + unit,
        reduction=model.sizes[0].reduction,
        width=x.shape[-1],
        height=x.shape[-2],
        noise=level * model.contrast,
        level=level,
        searched=k < len(fine) - 1,
        accepted=bounds.accepted,
    )


def _last(fine: Tensor, levels: Tensor) -> int:
    """The last level down to which it is ``fine`` (K,) from `MOST` on; the first if nowhere."""
    first = min(int((levels > MOST).sum()), len(levels) - 1)
    return first + max(0, int(fine[first:].cumprod(0).sum()) - 1)


class _Coarsest:
    """The coarsest field on a torus, and the ladder of levels that it is asked at."""

    def __init__(self, model: Model, machine: Machine, wanted: Wanted) -> None:
        self.model, self.machine, self.wanted = model, machine, wanted
        self.field = measure.open_field(model, 0, machine)
        ends = model.sizes[0].levels
        least = max(float(ends[-1]), LEAST) if wanted.lowest is None else wanted.lowest
        if not float(ends[-1]) * 0.999 <= least < float(ends[0]):
            raise UsageError(
                f"--lowest lies between {float(ends[-1]):.3g} and {float(ends[0]):.3g}, the levels "
                f"that the model knows; it is {least:.3g}"
            )
        self.levels = ladder.noise_levels(float(ends[0]), least, _PILOT)

    def ready(self, grey: Tensor) -> Tensor:
        """The middle (n, C, h, w) of the picture in units of contrast, once for every chain."""
        y = self.model.in_units(grey[None])
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

    def even(self, x: Tensor) -> None:
        """Make steps between levels equally hard, by what denoising costs at a few of them."""
        costs, _ = self.costs(x)
        self.levels = even_levels(costs.mean(1) / x[0].numel(), self.levels, self.wanted.steps)

    def costs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Costs of denoising, and U of the picture under noise (K, N), drawn anew at every level.

        Each is the mean over Z and -Z, and without what is due to |Z|^2 being off its mean n: of a
        cost of c n that is the share c, of U (1 - c) / 2; c is that of the other draws.
        """
        energies, strengths, both = [], [], torch.cat([x, x])

        def normal(k: int) -> Tensor:
            z = self.normal(x, "denoise", k)
            strengths.append(z.flatten(1).square().sum(1) - z[0].numel())
            return torch.cat([z, -z])

        def denoiser(y: Tensor, s: Tensor) -> Tensor:
            log_q, score = self.density(y, float(s[0]))
            energies.append(-log_q)
            return y + float(s[0]) ** 2 * score

        told = law.denoising_cost(denoiser, both, normal, self.levels), torch.stack(energies)
        costs, own = (t.double().cpu().view(len(t), 2, -1).mean(1) for t in told)
        others = (costs.sum(1, keepdim=True) - costs) / (len(x) - 1)
        c, off = others / x[0].numel(), torch.stack(strengths).double().cpu()
        return costs - c * off, own - (1 - c) / 2 * off

    def bounds(self, x: Tensor, costs: Tensor) -> Bounds:
        """Bounds of ln Z at every level."""
        spread = costs.mean(1) * self.levels**2 / x[0].numel()
        moves = self.wanted.moves
        work = Ladder(self.density, self.levels, spread, lambda p, k: self.normal(x, p, k), moves)
        told = work.bounds(x + float(self.levels[-1]) * self.normal(x, "picture", 0))
        return told._replace(lower=told.lower.cpu(), upper=told.upper.cpu())

    def annealed(self, energies: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
        """-ln p of the picture under noise at every level (K,), nats, and its error."""
        error = torch.hypot(bounds.error, two_errors(energies))
        return energies.mean(1) + bounds.value, error.cummax(0).values

    def integrated(self, x: Tensor, costs: Tensor) -> tuple[Tensor, Tensor]:
        """The same by denoising errors; its error is over draws, and of the sum over levels."""
        above = law.divergence_from_reference(x.double().cpu(), float(self.levels[0]))
        fine = law.running_integral(costs, self.levels)
        entropy = [law.noise_entropy(x[0].numel(), s) for s in self.levels.tolist()]
        total = (fine + above).mean(1) + torch.tensor(entropy, dtype=torch.float64)
        coarse = law.running_integral(costs[::2], self.levels[::2])
        grid = ((coarse - fine[::2]).mean(1).abs() / 3).repeat_interleave(2)[: len(fine)]
        return total, (two_errors(fine) + grid).cummax(0).values

    def white(self, x: Tensor, s: float) -> float:
        """-ln N(y; 0, 1 + s^2) of the picture under noise, nats, mean over the noise."""
        away, variance = x[0].double().square().sum() + x[0].numel() * s**2, 1 + s**2
        return float(away) / (2 * variance) + x[0].numel() / 2 * math.log(2 * math.pi * variance)
