"""The likelihood equations: their gradient, and when they hold."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.field.learning import likelihood_gap
from gcn_cli.field.moments import blocks, equation, moments
from gcn_cli.field.network import LayerSpec, NoiseNet, initial_weights

NET = NoiseNet((LayerSpec(6, 4, 2, vote=True), LayerSpec(5, 3, 1, vote=True)), 2, 1)
LEVEL = 0.7


@pytest.fixture(scope="module")
def weights():
    told = initial_weights(NET, torch.Generator().manual_seed(0))
    rest = torch.randn(NET.n_biases, generator=torch.Generator().manual_seed(1)) / 4
    return told._replace(rest=rest).map(torch.Tensor.double)


def _noise(*shape, seed):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def test_the_difference_of_moments_is_the_gradient_of_likelihood(weights):
    seen, made = _noise(2, 2, 24, 24, seed=2), _noise(3, 2, 16, 16, seed=3)
    beside_seen, beside_made = _noise(2, 1, 24, 24, seed=4), _noise(3, 1, 16, 16, seed=5)
    leaves = weights.map(lambda t: t.clone().requires_grad_(True))
    given = beside_seen, beside_made
    gap = likelihood_gap(NET, seen, made, LEVEL, leaves, 4, given)
    wanted = torch.autograd.grad(gap, leaves.tensors())
    observed = moments(NET, seen, LEVEL, weights, "frame", 4, beside_seen)
    synthesized = moments(NET, made, LEVEL, weights, "torus", 0, beside_made)
    for a, b, g in zip(observed.tensors(), synthesized.tensors(), wanted, strict=True):
        torch.testing.assert_close(a - b, g, rtol=1e-9, atol=1e-12)


def test_every_filter_mixer_vote_and_bias_is_in_one_block(weights):
    found = blocks(NET, weights)
    assert list(found) == ["layer 1", "layer 2", "mixers", "votes", "biases"]
    counts = [6 * 3 * 16, 5 * 6 * 9, 36 + 25, 11, 22]
    assert [len(block) for block in found.values()] == counts


def _drawn(law, weights, count, seed):
    told = [
        blocks(NET, moments(NET, law(_noise(1, 2, 16, 16, seed=seed + k)), LEVEL, weights, "torus"))
        for k in range(count)
    ]
    return {name: torch.stack([one[name] for one in told]) for name in told[0]}


def test_equations_hold_between_equal_laws_and_not_between_others(weights):
    """Forty times: the distance squared is the error squared on average where laws are equal."""
    seen = _drawn(lambda z: z, weights, 40 * 4, 100)
    made = _drawn(lambda z: z, weights, 40 * 5, 1000)
    other = _drawn(lambda z: 1.5 * z + 0.5, weights, 40, 5000)
    for name, observed in seen.items():
        ratios = torch.tensor(
            [
                equation(observed[4 * k : 4 * k + 4], made[name][5 * k : 5 * k + 5]).errors
                for k in range(40)
            ]
        )
        assert float(ratios.square().mean()) == pytest.approx(1, abs=0.45), name
        assert float((ratios < 2).float().mean()) >= 0.85, name
        assert equation(observed, other[name]).errors > 3, name


def test_distance_and_error_are_shares_of_the_datas_moment():
    observed = torch.tensor([[4.0, 0.0], [2.0, 0.0]])
    synthesized = torch.tensor([[3.0, 4.0], [3.0, 2.0]])
    told = equation(observed, synthesized)
    assert told.distance == pytest.approx(1.0)
    assert told.error == pytest.approx((2 / 2 + 2 / 2) ** 0.5 / 3)
    assert told.excess == pytest.approx((1 - 2 / 9) ** 0.5)
    assert equation(observed, observed).excess == 0
