"""One density for every level: its score, its reconstruction, its ladder."""

from __future__ import annotations

import math

import pytest
import torch

from gcn_cli.field.ladder import (
    anneal,
    basis,
    energy,
    extrapolated,
    noise_levels,
    noise_shares,
    reconstruct,
    reference_energy,
    score,
    step_down,
    target,
    tilt,
)

LEVELS = [0.03, 0.4, 1.0, 6.0]


@pytest.fixture
def field(net, noise_weights):
    """(gradient, energy) of one network on a torus: grad h, and U_s summed over images."""
    weights = noise_weights(net)
    return (
        lambda z, s: net.gradient(z, s, weights, "torus"),
        lambda y, s: energy(net, y, s, weights, "torus").sum(),
    )


@pytest.mark.parametrize("level", LEVELS)
def test_the_score_is_the_slope_of_minus_the_energy(net, field, level, canvas):
    gradient, total = field
    y, s = 1.3 * canvas(net), torch.tensor([level, 1.7 * level], dtype=torch.float64)
    (slope,) = torch.autograd.grad(-total(leaf := y.clone().requires_grad_(True), s), leaf)
    told = score(gradient, y, s)
    assert (told - slope).norm() < 1e-10 * slope.norm()
    way = canvas(net, seed=3)
    step = 1e-6 * way / way.norm()
    difference = -(total(y + step, s) - total(y - step, s)) / 2
    torch.testing.assert_close((told * step).sum(), difference, rtol=1e-5, atol=0)


@pytest.mark.parametrize("level", LEVELS)
def test_the_reconstruction_is_where_the_score_points_to(net, field, level, canvas):
    gradient, _ = field
    y, s = canvas(net), torch.tensor([level, 1.7 * level], dtype=torch.float64)
    s2 = (s**2).view(-1, 1, 1, 1)
    d = reconstruct(gradient, y, s)
    torch.testing.assert_close((d - y) / s2, score(gradient, y, s), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(d, y / (1 + s2) + s2 * basis(gradient, y, s), rtol=1e-12, atol=1e-12)


def test_without_votes_the_field_is_its_gaussian_reference(net, noise_weights, canvas):
    weights = noise_weights(net)
    silent = weights._replace(votes=tuple(torch.zeros_like(v) for v in weights.votes))
    y, s = canvas(net), torch.tensor([0.3, 2.0], dtype=torch.float64)
    assert torch.equal(tilt(net, y, s, silent, "torus"), torch.zeros(2, dtype=torch.float64))
    told = reconstruct(lambda z, s: net.gradient(z, s, silent, "torus"), y, s)
    torch.testing.assert_close(told, y / (1 + s**2).view(-1, 1, 1, 1), rtol=1e-15, atol=0)
    assert float(reference_energy(y, s)[1]) == pytest.approx(float((y[1] ** 2).sum()) / 2 / 5)


def test_a_field_that_meets_its_target_reconstructs_the_exemplar(canvas, net):
    x, z = canvas(net), canvas(net, seed=2)
    s = torch.tensor([0.2, 3.0], dtype=torch.float64)
    y = x + s.view(-1, 1, 1, 1) * z
    d = reconstruct(lambda z, s: target(x, y, s), y, s)
    torch.testing.assert_close(d, x, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("level", LEVELS)
def test_the_target_has_variance_one_at_every_level(level):
    rng = torch.Generator().manual_seed(0)
    x, z = torch.randn(2, 1, 1, 400, 500, generator=rng, dtype=torch.float64)
    s = torch.tensor([level], dtype=torch.float64)
    square = target(x, x + level * z, s).square()
    assert abs(square.mean() - 1) < 5 * square.std() / math.sqrt(square.numel())


def test_the_ladder_falls_from_its_head_to_its_foot_where_it_is_crowded():
    levels = noise_levels(20.0, 0.02, 40)
    assert len(levels) == 40
    assert levels[[0, -1]].tolist() == pytest.approx([20.0, 0.02], rel=1e-12)
    steps = levels[:-1] - levels[1:]
    assert (steps > 0).all()
    assert (steps[1:] < steps[:-1]).all()
    roots = levels ** (1 / 5)
    assert (roots[:-1] - roots[1:]).std() < 1e-12
    assert noise_levels(3.0, 0.1, 1).tolist() == pytest.approx([3.0])


@pytest.mark.parametrize("given", [(0.1, 0.2, 4), (1.0, 0.0, 4), (1.0, 0.1, 0)])
def test_ladders_that_lead_nowhere_are_refused(given):
    with pytest.raises(ValueError, match=r"no ladder of . steps leads from 1?\.?0?\.?.* down to"):
        noise_levels(*given)


@pytest.mark.parametrize(("s", "below"), [(20.0, 15.0), (1.0, 0.9), (0.5, 0.02)])
def test_the_noise_left_by_a_step_has_the_variance_of_the_level_below(s, below):
    kept, up = noise_shares(s, below)
    assert kept**2 * s**2 + up**2 == pytest.approx(below**2, rel=1e-12)
    posterior = below**2 * (s**2 - below**2) / s**2  # variance of y' given y and x
    assert up == pytest.approx(math.sqrt(posterior), rel=1e-12)


def test_shares_of_noise_at_the_limits():
    assert noise_shares(2.0, 1.0) == (0.25, pytest.approx(math.sqrt(0.75)))
    assert noise_shares(2.0, 0.0) == (0.0, 0.0)
    assert noise_shares(1.0, 1.0) == (1.0, 0.0)


def test_a_step_keeps_a_share_of_the_error_and_draws_the_rest(canvas, net):
    y, d, z = (canvas(net, seed=k) for k in (1, 2, 3))
    kept, up = noise_shares(2.0, 1.2)
    told = step_down(y, d, 2.0, 1.2, z)
    torch.testing.assert_close(told, d + kept * (y - d) + up * z, rtol=1e-14, atol=1e-14)


def test_a_reconstruction_linear_in_ln_s_is_carried_on_to_the_middle_of_the_step(canvas, net):
    """Of D = a + b ln s the step sees a + b ln sqrt(s below): what D is halfway down."""
    a, b = canvas(net, seed=1), canvas(net, seed=2)
    above, s, below = 3.0, 1.7, 0.4
    told = extrapolated(a + b * math.log(s), a + b * math.log(above), above, s, below)
    torch.testing.assert_close(told, a + b * math.log(math.sqrt(s * below)))
    assert extrapolated(a, None, above, s, below) is a


def test_the_chain_ends_with_the_reconstruction_at_the_last_level(canvas, net, noise_weights):
    weights, levels, drawn = noise_weights(net), noise_levels(3.0, 0.1, 4), []

    def gradient(z, s):
        return net.gradient(z, s, weights, "torus")

    def noise(k):
        drawn.append(k)
        return canvas(net, seed=10 + k)

    y = canvas(net)
    told = anneal(gradient, y, levels, noise)
    assert drawn == [0, 1, 2]
    earlier = None
    for k in range(3):
        d = reconstruct(gradient, y, levels[k].expand(2))
        above, s, below = (float(levels[i]) for i in (max(0, k - 1), k, k + 1))
        y = step_down(
            y, extrapolated(d, earlier, above, s, below), s, below, canvas(net, seed=10 + k)
        )
        earlier = d
    torch.testing.assert_close(told, reconstruct(gradient, y, levels[3].expand(2)))
