"""R-hat and effective sample size of chains whose law is known."""

from __future__ import annotations

import math

import pytest
import torch

from gcn_cli.statistics.chains import effective_size, split_rhat


def _autoregressive(rho, chains=4, steps=4000, seed=0):
    """x' = rho x + sqrt(1 - rho^2) Z, begun in its own law: ESS is n (1 - rho) / (1 + rho)."""
    z = torch.randn(chains, steps, generator=torch.Generator().manual_seed(seed))
    x = [z[:, 0]]
    for k in range(1, steps):
        x.append(rho * x[-1] + math.sqrt(1 - rho**2) * z[:, k])
    return torch.stack(x, 1)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.4])
def test_the_effective_size_of_an_autoregression(rho):
    draws = _autoregressive(rho)
    wanted = draws.numel() * (1 - rho) / (1 + rho)
    assert effective_size(draws) == pytest.approx(wanted, rel=0.12)
    assert split_rhat(draws) == pytest.approx(1, abs=0.01)


def test_ranks_alone_count():
    draws = _autoregressive(0.5, steps=400)
    assert effective_size(draws.exp()) == pytest.approx(effective_size(draws), rel=1e-6)
    assert split_rhat(100 * draws + 7) == pytest.approx(split_rhat(draws), rel=1e-6)


def test_chains_that_lie_apart_are_seen():
    draws = _autoregressive(0.0, steps=400)
    apart = draws + torch.tensor([0.0, 0.0, 3.0, 3.0])[:, None]
    assert split_rhat(apart) > 1.5
    assert effective_size(apart) < 20
    wide = draws * torch.tensor([1.0, 1.0, 5.0, 5.0])[:, None]  # equal means, unequal tails
    assert split_rhat(wide) > 1.2


def test_a_drift_within_the_chains_is_seen():
    draws = _autoregressive(0.0, steps=400) + torch.linspace(0, 6, 400)
    assert split_rhat(draws) > 1.5


def test_chains_that_never_move():
    assert split_rhat(torch.ones(2, 100)) == 1.0
    assert split_rhat(torch.tensor([[1.0], [2.0]]).expand(2, 100)) == math.inf
    assert math.isnan(effective_size(torch.ones(2, 100)))


def test_too_few_draws_tell_nothing():
    assert math.isnan(split_rhat(torch.randn(2, 6)))
    assert math.isnan(effective_size(torch.randn(2, 6)))
