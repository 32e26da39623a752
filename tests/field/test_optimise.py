"""Adam and Muon on one vector, against loops over numbers and matrices."""

from __future__ import annotations

import math

import pytest
import torch

from gcn_cli.field.network import initial_weights
from gcn_cli.field.optimise import (
    Moments,
    adam,
    averaged,
    clipped,
    flatten,
    muon,
    orthogonal,
    unflatten,
)


def test_adam_is_the_loop_of_its_paper():
    rng = torch.Generator().manual_seed(0)
    vector = torch.randn(4, generator=rng, dtype=torch.float64)
    rates = torch.tensor([0.1, 0.02, 0.3, 0.0], dtype=torch.float64)
    beta1, beta2 = 0.8, 0.95
    theta, m, v = vector.tolist(), [0.0] * 4, [0.0] * 4
    moments = Moments.zero(vector)
    for t in range(1, 8):
        gradient = torch.randn(4, generator=rng, dtype=torch.float64) + 0.5
        vector, moments = adam(vector, gradient, moments, rates, beta1, beta2)
        for k, g in enumerate(gradient.tolist()):
            m[k] = beta1 * m[k] + (1 - beta1) * g
            v[k] = beta2 * v[k] + (1 - beta2) * g**2
            m_hat, v_hat = m[k] / (1 - beta1**t), v[k] / (1 - beta2**t)
            theta[k] -= float(rates[k]) * m_hat / (math.sqrt(v_hat) + 1e-8)
        assert vector.tolist() == pytest.approx(theta, rel=1e-12)
        assert moments.count == t
    assert theta[3] == vector[3] != 0  # a rate of 0 leaves a weight alone


def test_the_first_descent_has_the_length_of_the_rate_against_the_gradient():
    vector, gradient = torch.zeros(2).double(), torch.tensor([3.0, -1e-3]).double()
    moved, _ = adam(vector, gradient, Moments.zero(vector), 0.25, 0.9, 0.99)
    assert moved.tolist() == pytest.approx([-0.25, 0.25], rel=1e-4)
    still, _ = adam(vector, 0 * gradient, Moments.zero(vector), 0.25, 0.9, 0.99)
    assert torch.equal(still, vector)


def test_only_long_gradients_are_shortened():
    gradient = torch.tensor([3.0, -4.0]).double()
    torch.testing.assert_close(clipped(gradient, 1.0), gradient / 5)
    assert torch.equal(clipped(gradient, 5.5), gradient)
    assert torch.equal(clipped(0 * gradient, 1.0), 0 * gradient)


def test_the_running_mean_is_short_at_first_and_long_in_the_end():
    zero, one = torch.zeros(1).double(), torch.ones(1).double()
    for count, decay in ((1, 1 / 11), (10, 0.5), (10**6, 0.9)):
        assert float(averaged(zero, one, 0.9, count)) == pytest.approx(1 - decay, rel=1e-12)
    assert float(averaged(one, one, 0.9, 3)) == 1


def test_weights_go_into_one_vector_and_back(net):
    weights = initial_weights(net, torch.Generator().manual_seed(0))
    vector = flatten(weights.tensors())
    back = unflatten(vector, weights)
    assert vector.shape == (net.n_parameters(),)
    for a, b in zip(back.tensors(), weights.tensors(), strict=True):
        assert torch.equal(a, b)
    assert type(back) is type(weights)
    vector[0] = 7.0
    assert back.filters[0].flatten()[0] == 7.0  # views, not copies


def test_orthogonal_brings_singular_values_near_one_and_keeps_directions():
    for shape in ((6, 40), (40, 6), (12, 12)):
        generator = torch.Generator().manual_seed(shape[0])
        matrix = torch.randn(shape, generator=generator, dtype=torch.float64)
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        told = orthogonal(matrix)
        inner = u.T @ told @ v.T
        values = inner.diagonal()
        torch.testing.assert_close(inner, values.diag(), rtol=0, atol=1e-9)
        assert values.min() > 0.6
        assert values.max() < 1.3
        torch.testing.assert_close(orthogonal(1e-3 * matrix), told, rtol=0, atol=1e-4)
    assert torch.equal(orthogonal(torch.zeros(3, 4)), torch.zeros(3, 4))


def test_muon_moves_banks_by_orthogonal_steps_and_all_else_by_adam(net):
    like = initial_weights(net, torch.Generator().manual_seed(0)).map(torch.Tensor.double)
    vector, rate = flatten(like.tensors()), 0.01
    gradients = [
        torch.randn(vector.shape, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
        for k in (1, 2)
    ]
    moments, moved = Moments.zero(vector), vector
    for g in gradients:
        moved, moments = muon(moved, g, moments, like, rate, 0.9, 0.99)
    assert moments.count == 2
    parts = [unflatten(t, like) for t in (vector, moved, *gradients)]
    banks = len(like.filters) + len(like.mixers)
    for start, end, g1, g2 in list(zip(*(p.tensors() for p in parts), strict=True))[:banks]:
        true = start
        first = 0.1 * g1
        for mean, g in ((first, g1), (0.9 * first + 0.1 * g2, g2)):
            ahead = 0.9 * mean + 0.1 * g
            step = orthogonal(ahead.flatten(1)).view_as(start)
            true = true - rate * 0.2 * max(start.shape[0], start[0].numel()) ** 0.5 * step
        torch.testing.assert_close(end, true, rtol=0, atol=1e-12)
    n = sum(t.numel() for t in like.tensors()[:banks])
    rest, alone = vector[n:], Moments.zero(vector[n:])
    for g in gradients:
        rest, alone = adam(rest, g[n:], alone, rate, 0.9, 0.99)
    torch.testing.assert_close(moved[n:], rest, rtol=0, atol=0)
