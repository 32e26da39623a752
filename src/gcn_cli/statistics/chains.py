"""Whether Markov chains agree, and how many independent draws they are worth.

Split R-hat and effective sample size of rank-normalised draws (Gelman and Rubin 1992; Vehtari,
Gelman, Simpson, Carpenter and Bürkner 2021): R-hat near 1 where all chains, and both halves of
each, have one distribution; ESS is the number of independent draws whose mean would be as
uncertain.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LEAST = 4  # draws of a half chain, below which nothing can be told


def split_rhat(draws: Tensor) -> float:
    """Split R-hat of ``draws`` (chains, steps): the larger of bulk and tails (equations 2-4, 4.2).

    nan where a half chain has fewer than four draws, 1 where nothing ever moves.
    """
    halves = _halves(draws)
    if halves.shape[1] < _LEAST:
        return math.nan
    folded = (halves - halves.median()).abs()
    return max(_rhat(_normal_scores(halves)), _rhat(_normal_scores(folded)))


def effective_size(draws: Tensor) -> float:
    """Effective sample size of ``draws`` (chains, steps), by all chains together (equation 10).

    Autocorrelations are summed while neighbouring pairs stay positive and fall (Geyer 1992). nan
    where a half chain has fewer than four draws or nothing ever moves.
    """
    halves = _normal_scores(_halves(draws))
    chains, steps = halves.shape
    within = float(halves.var(1).mean()) if steps >= _LEAST else 0.0
    if not within > 0:
        return math.nan
    total = within * (steps - 1) / steps + float(halves.mean(1).var())
    covariance = _autocovariance(halves).mean(0)
    correlation = 1 - (within - covariance * steps / (steps - 1)) / total
    correlation[0] = 1.0
    pairs = correlation[: steps // 2 * 2].view(-1, 2).sum(1)
    positive = pairs > 0
    count = int((~positive).to(torch.int).argmax()) if not bool(positive.all()) else len(pairs)
    time = -1 + 2 * float(pairs[: max(1, count)].cummin(0).values.sum())
    most = chains * steps * math.log10(chains * steps)  # antithetic chains
    return min(chains * steps / max(time, 1e-12), most)


def _halves(draws: Tensor) -> Tensor:
    """First and last half of every chain as chains of their own (2 chains, steps // 2), double."""
    half = draws.shape[1] // 2
    return torch.cat([draws[:, :half], draws[:, draws.shape[1] - half :]]).double()


def _normal_scores(draws: Tensor) -> Tensor:
    """Ranks among all draws as quantiles of N(0, 1); ties share their mean rank (Blom 1958)."""
    flat = draws.flatten()
    _, place, count = torch.unique(flat, return_inverse=True, return_counts=True)
    rank = (count.cumsum(0) - (count - 1) / 2)[place]
    share = (rank - 3 / 8) / (len(flat) + 1 / 4)
    scores: Tensor = torch.special.ndtri(share)
    return scores.view_as(draws)


def _rhat(halves: Tensor) -> float:
    steps = halves.shape[1]
    within, between = float(halves.var(1).mean()), float(halves.mean(1).var())
    if within <= 0:
        return 1.0 if between <= 0 else math.inf
    return math.sqrt((steps - 1) / steps + between / within)


def _autocovariance(draws: Tensor) -> Tensor:
    """Autocovariance (chains, steps) of every chain about its own mean, by Fourier transform."""
    steps = draws.shape[1]
    waves = torch.fft.rfft(draws - draws.mean(1, keepdim=True), 2 * steps)
    told: Tensor = torch.fft.irfft(waves.abs().square(), 2 * steps)
    return told[:, :steps] / steps
