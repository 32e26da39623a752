"""ln Z of a density at its lowest noise level, by annealed importance sampling both ways.

The ladder of levels s > s' carries samples of the Gaussian reference, of which everything is known,
down to the lowest p_s (Neal 2001). A step down is a denoising one, its reverse adds noise:

    y' ~ N(D + kept (y - D), up^2 + (1 - kept)^2 v),     y | y' ~ N(y', s^2 - s'^2)

with kept and up of `ladder.noise_shares` and v the variance of x given y: were p_s' blurred p_s and
v that of every pixel, the weight of a step would be 1 (Doucet, Grathwohl, Matthews and Strathmann
2022). After a step Langevin moves with Metropolis' test, which leave p_s' as it is (Roberts and
Tweedie 1996). With ln w the sum of

    ln q_s'(y') - ln q_s(y) + ln N(y; y', s^2 - s'^2) - ln N(y'; ...)

over the ladder, w has mean Z: the mean of ln w bounds ln Z from below, and the same sum along
chains that climb the ladder from samples of p_s bounds it from above (Grosse, Ancha and Roy 2016).
Starts of the climb that are no samples of p_s, as pictures are, make the upper bound approximate.
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

_STEP = 0.5  # of Langevin's eps, in units of s n^(-1/6)


class Bounds(NamedTuple):
    """ln w (N,) of chains down and up the ladder, in nats, and the share of moves accepted."""

    lower: Tensor
    upper: Tensor
    accepted: float

    @property
    def value(self) -> float:
        """Half way between both."""
        return float(self.lower.mean() + self.upper.mean()) / 2

    @property
    def error(self) -> float:
        """Half the way between both, and a standard error of either."""
        gap = abs(float(self.upper.mean() - self.lower.mean())) / 2
        own = [float(t.std()) / math.sqrt(len(t)) for t in (self.lower, self.upper) if len(t) > 1]
        return gap + math.hypot(*own) if own else gap


def log_normal(away: Tensor, variance: float) -> Tensor:
    """``ln N(away; 0, variance)`` (N,) of (N, C, H, W)."""
    flat = away.double().flatten(1)
    n = flat.shape[1]
    return -flat.square().sum(1) / (2 * variance) - n / 2 * math.log(2 * math.pi * variance)


class Ladder:
    """A density, levels (K,) from highest to lowest, and at each the variance v of x given y."""

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
        """Log weights (N,) of chains from the reference to the lowest level."""
        top = self.levels[0]
        y = self.normal("start", 0) * math.sqrt(1 + top**2)
        told = self._at(y, 0)[0].double() - log_normal(y, 1 + top**2)
        y = self._moved(y, 0, "down")
        for k in range(len(self.levels) - 1):
            mean, variance = self._proposal(y, k)
            below = mean + math.sqrt(variance) * self.normal("down", k)
            told = told + self._weight(y, below, mean, variance, k)
            y = self._moved(below, k + 1, "down")
        return told

    def up(self, y: Tensor) -> Tensor:
        """Log weights (N,) of chains from the lowest level to the reference."""
        told = torch.zeros(len(y), dtype=torch.float64, device=y.device)
        for k in range(len(self.levels) - 2, -1, -1):
            below = self._moved(y, k + 1, "up")
            gap = self.levels[k] ** 2 - self.levels[k + 1] ** 2
            y = below + math.sqrt(gap) * self.normal("up", k)
            told = told + self._weight(y, below, *self._proposal(y, k), k)
        y, top = self._moved(y, 0, "up"), self.levels[0]
        return told + self._at(y, 0)[0].double() - log_normal(y, 1 + top**2)

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
        """Langevin moves at level k, each taken or left by Metropolis' rule."""
        s = self.levels[k]
        n = y[0].numel()
        eps = _STEP * s * n ** (-1 / 6)
        log_q, score = self._at(y, k)
        for move in range(self.moves):
            place = k * self.moves + move
            there = y + eps**2 / 2 * score + eps * self.normal(f"move/{way}", place)
            log_there, score_there = self._at(there, k)
            forth = log_normal(there - y - eps**2 / 2 * score, eps**2)
            back = log_normal(y - there - eps**2 / 2 * score_there, eps**2)
            ratio = log_there.double() - log_q.double() + back - forth
            chance = self.normal(f"test/{way}", place).flatten(1)[:, 0]
            uniform = 0.5 * (1 + torch.erf(chance.double() / math.sqrt(2)))
            take = uniform.log() < ratio
            self._tried, self._taken = self._tried + len(y), self._taken + float(take.sum())
            pick = take.view(-1, 1, 1, 1)
            y, score = torch.where(pick, there, y), torch.where(pick, score_there, score)
            log_q = torch.where(take, log_there, log_q)
        return y
