"""ln Z of a density at its lowest noise level, by annealed importance sampling both ways.

The ladder of levels s > s' carries samples of the Gaussian reference, of which everything is known,
down to the lowest p_s (Neal 2001). A step down is a denoising one, its reverse adds noise:

    y' ~ N(D + kept (y - D), up^2 + (1 - kept)^2 v),     y | y' ~ N(y', s^2 - s'^2)

with kept and up of `ladder.noise_shares` and v the variance of x given y: were p_s' blurred p_s and
v that of every pixel, the weight of a step would be 1 (Doucet, Grathwohl, Matthews and Strathmann
2022). After a step a Hamiltonian trajectory with Metropolis' test, which leaves p_s' as it is
(Duane, Kennedy, Pendleton and Roweth 1987); of one leap it is a Langevin move, of many it goes as
many times as far, where moves in a row go the root of it. With ln w the sum of

    ln q_s'(y') - ln q_s(y) + ln N(y; y', s^2 - s'^2) - ln N(y'; ...)

over the ladder, w has mean Z: the mean of ln w bounds ln Z from below, and the same sum along
chains that climb the ladder from samples of p_s bounds it from above (Grosse, Ancha and Roy 2016).
Starts of the climb that are no samples of p_s, as pictures are, make the upper bound approximate.
One passage of the ladder bounds ln Z of all its levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gcn_cli.field.ladder import noise_shares

Density = Callable[[Tensor, float], tuple[Tensor, Tensor]]
"""(ln q_s (N,), its gradient (N, C, H, W)) of y at level s; p_s = q_s / Z."""
Normal = Callable[[str, int], Tensor]
"""Keyed Z (N, C, H, W) for a purpose and a step."""

_STEP = 1.0  # of a leap, in units of s n^(-1/4)
_LEAST_SPEED = 0.1  # so that no gap between levels is too wide for the integral of `evidence`


class Bounds(NamedTuple):
    """ln w (K, N) of chains down and up the ladder to every level, nats; share of moves accepted.

    ``upper`` are those of a climb from level k on.
    """

    lower: Tensor
    upper: Tensor
    accepted: float

    @property
    def value(self) -> Tensor:
        """Of ln Z (K,): half way between both."""
        return (self.lower.mean(1) + self.upper.mean(1)) / 2

    @property
    def error(self) -> Tensor:
        """(K,): half the way between both, and two standard errors of the one less sure.

        It grows with every step, for the way is a sum of divergences; where it seems to shrink,
        the largest so far counts.
        """
        way = (self.upper.mean(1) - self.lower.mean(1)).abs() / 2
        own = torch.maximum(two_errors(self.lower), two_errors(self.upper))
        return (way + own).cummax(0).values


def two_errors(told: Tensor) -> Tensor:
    """Two standard errors (K,) of the means of ``told`` (K, N) over N."""
    return 2 * told.std(1) / math.sqrt(told.shape[1])


def even_levels(share: Tensor, levels: Tensor, steps: int) -> Tensor:
    """``steps`` levels from the first to the last of ``levels`` (K,), equally hard to step between.

    ``share`` (K,) is c, the variance of x given y over s^2. The proposal takes all directions to
    have it; they lie in [0, 1], so that their own variance is at most c (1 - c), and a step of d ln
    s diverges from the law of y' given y by n c (1 - c) (d ln s)^2 or less. Least in sum are steps
    of equal sqrt(c (1 - c)) d ln s.
    """
    c, logs = share.double().clamp(0, 1).cpu(), levels.double().log().cpu()
    speed = (c * (1 - c)).sqrt().clamp_min(_LEAST_SPEED)
    time = torch.cat([logs.new_zeros(1), torch.cumulative_trapezoid(speed, -logs)])
    wanted = torch.linspace(0, float(time[-1]), steps, dtype=torch.float64)
    k = torch.searchsorted(time, wanted).clamp(1, len(time) - 1)
    way = (wanted - time[k - 1]) / (time[k] - time[k - 1])
    return torch.lerp(logs[k - 1], logs[k], way).exp()


def log_normal(away: Tensor, variance: float) -> Tensor:
    """``ln N(away; 0, variance)`` (N,) of (N, C, H, W)."""
    flat = away.double().flatten(1)
    n = flat.shape[1]
    return -flat.square().sum(1) / (2 * variance) - n / 2 * math.log(2 * math.pi * variance)


class Ladder:
    """A density, levels (K,) from highest to lowest, and at each the variance v of x given y.

    ``moves``: leaps of the trajectory at every level.
    """

    def __init__(
        self, density: Density, levels: Tensor, spread: Tensor, normal: Normal, moves: int = 1
    ) -> None:
        self.density, self.normal, self.moves = density, normal, moves
        self.levels = [float(s) for s in levels]
        self.spread = [float(v) for v in spread]
        self._tried, self._taken = 0, 0.0
        self._seen: list[tuple[Tensor, int, tuple[Tensor, Tensor]]] = []

    def bounds(self, start: Tensor) -> Bounds:
        """Both bounds; ``start`` (N, C, H, W) are, or are near, samples of the lowest level."""
        lower, upper = self.down(), self.up(start)
        return Bounds(lower, upper, self._taken / max(1, self._tried))

    def down(self) -> Tensor:
        """Log weights (K, N) of chains from the reference to every level."""
        top = self.levels[0]
        y = self.normal("start", 0) * math.sqrt(1 + top**2)
        told = [self._at(y, 0)[0].double() - log_normal(y, 1 + top**2)]
        y = self._moved(y, 0, "down")
        for k in range(len(self.levels) - 1):
            mean, variance = self._proposal(y, k)
            below = mean + math.sqrt(variance) * self.normal("down", k)
            told.append(self._weight(y, below, mean, variance, k))
            y = self._moved(below, k + 1, "down")
        return torch.stack(told).cumsum(0)

    def up(self, y: Tensor) -> Tensor:
        """Log weights (K, N) of chains from every level to the reference, begun at the lowest."""
        told = []
        for k in range(len(self.levels) - 2, -1, -1):
            below = self._moved(y, k + 1, "up")
            gap = self.levels[k] ** 2 - self.levels[k + 1] ** 2
            y = below + math.sqrt(gap) * self.normal("up", k)
            told.append(self._weight(y, below, *self._proposal(y, k), k))
        y, top = self._moved(y, 0, "up"), self.levels[0]
        told.append(self._at(y, 0)[0].double() - log_normal(y, 1 + top**2))
        return torch.stack(told[::-1]).cumsum(0)

    def _at(self, y: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The density of y at level k; the last few are remembered."""
        for known, level, told in self._seen:
            if known is y and level == k:
                return told
        told = self.density(y, self.levels[k])
        self._seen = [*self._seen[-2:], (y, k, told)]
        return told

    def _proposal(self, y: Tensor, k: int) -> tuple[Tensor, float]:
        """Mean and variance of the step down from level k."""
        s, below = self.levels[k], self.levels[k + 1]
        kept, up = noise_shares(s, below)
        d = y + s**2 * self._at(y, k)[1]
        return torch.lerp(d, y, kept), up**2 + (1 - kept) ** 2 * self.spread[k]

    def _weight(self, y: Tensor, below: Tensor, mean: Tensor, variance: float, k: int) -> Tensor:
        s, lower = self.levels[k], self.levels[k + 1]
        gained = self._at(below, k + 1)[0].double() - self._at(y, k)[0].double()
        back = log_normal(y - below, s**2 - lower**2)
        return gained + back - log_normal(below - mean, variance)

    def _moved(self, y: Tensor, k: int, way: str) -> Tensor:
        """A Hamiltonian trajectory at level k, taken or left by Metropolis' rule."""
        eps = _STEP * self.levels[k] * y[0].numel() ** (-1 / 4)
        log_q, score = self._at(y, k)
        momentum = self.normal(f"move/{way}", k)
        there, speed = y, momentum
        for _ in range(self.moves):
            speed = speed + eps / 2 * score
            there = there + eps * speed
            log_there, score = self._at(there, k)
            speed = speed + eps / 2 * score
        kinetic = [m.double().flatten(1).square().sum(1) / 2 for m in (momentum, speed)]
        ratio = log_there.double() - log_q.double() + kinetic[0] - kinetic[1]
        chance = self.normal(f"test/{way}", k).flatten(1)[:, 0]
        uniform = 0.5 * (1 + torch.erf(chance.double() / math.sqrt(2)))
        take = uniform.log() < ratio
        self._tried, self._taken = self._tried + len(y), self._taken + float(take.sum())
        return torch.where(take.view(-1, 1, 1, 1), there, y)
