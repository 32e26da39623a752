"""Two ways to ln p, on fields whose Z is known: what denoising costs, and annealed importance."""

from __future__ import annotations

import math

import pytest
import torch

from gcn_cli.field import evidence, ladder
from gcn_cli.field.noise import NoiseSource
from gcn_cli.field.partition import Bounds, Ladder, even_levels

SIDE, CHAINS, TOP, LEAST = 8, 6, 20.0, 0.1
N = SIDE * SIDE


def _power(width):
    """Power per frequency, mean 1; white for ``width`` 0."""
    f = torch.fft.fftfreq(SIDE, dtype=torch.float64)
    power = torch.exp(-((f[:, None] ** 2 + f[None] ** 2) * (2 * width) ** 2)) + 0.05 * bool(width)
    return power / power.mean()


class Gaussian:
    """The field of a Gaussian exemplar of a known power: q_s is off by a factor that is told."""

    def __init__(self, power, factor=3.0):
        self.power, self.factor = power, factor

    def __call__(self, y, s):
        waves = torch.fft.fft2(y, norm="ortho")
        share = waves / (self.power + s**2)
        log_q = -(waves * share.conj()).real.flatten(1).sum(1) / 2 + self.factor
        return log_q, -torch.fft.ifft2(share, norm="ortho").real

    def denoised(self, y, s):
        return y + float(s[0]) ** 2 * self(y, float(s[0]))[1]

    def log_z(self, s):
        return self.factor + float(torch.log(2 * math.pi * (self.power + s**2)).sum()) / 2

    def draw(self, s, z):
        return torch.fft.ifft2(torch.fft.fft2(z) * (self.power + s**2).sqrt()).real

    def spread(self, levels):
        return torch.stack([(self.power * s**2 / (self.power + s**2)).mean() for s in levels])


def _normal(purpose, step, seed=0):
    noise = NoiseSource(seed, range(CHAINS), torch.device("cpu"))
    return noise.normal_(torch.empty(CHAINS, 1, SIDE, SIDE, dtype=torch.float64), purpose, step)


def _bounds(law, steps, start=None):
    levels = ladder.noise_levels(TOP, LEAST, steps)
    work = Ladder(law, levels, law.spread(levels), _normal)
    return work.bounds(law.draw(LEAST, _normal("exact", 0)) if start is None else start)


def test_without_a_tilt_every_weight_is_z():
    """f = 0: the step down is the law of y' given y, at every length of step."""
    law = Gaussian(_power(0))
    found = _bounds(law, 5)
    wanted = torch.tensor([law.log_z(float(s)) for s in ladder.noise_levels(TOP, LEAST, 5)])
    for weights in (found.lower, found.upper):
        torch.testing.assert_close(weights, wanted.double()[:, None].expand(-1, CHAINS))
    assert found.error.max() < 1e-6
    assert found.accepted > 0.5


@pytest.mark.parametrize("width", [0.5, 1.0])
def test_of_a_coloured_field_the_bounds_hold_z_between_them(width):
    law = Gaussian(_power(width))
    found = _bounds(law, 60)
    assert abs(found.value[-1] - law.log_z(LEAST)) < 2 * found.error[-1]
    assert found.error[-1] < 0.01 * N
    assert _bounds(law, 15).error[-1] > 2 * found.error[-1]  # a longer ladder is surer


def test_even_levels_are_equally_hard_to_step_between():
    """Of c = s / (1 + s), sqrt(c (1 - c)) d ln s is 2 d arctan sqrt(s)."""
    fine = torch.logspace(1.3, -0.5, 2000, dtype=torch.float64)
    told = even_levels(fine / (1 + fine), fine, 9)
    torch.testing.assert_close(told[[0, -1]], fine[[0, -1]])
    steps = told.sqrt().atan().diff()
    torch.testing.assert_close(steps, steps.mean().expand(8), rtol=1e-3, atol=0)


def test_bounds_are_nearer_on_even_levels():
    law, ways = Gaussian(_power(2.0)), []
    crowded = ladder.noise_levels(TOP, LEAST, 30)
    even = even_levels(law.spread(crowded) / crowded**2, crowded, 30)
    for levels in (crowded, even):
        found = []
        for seed in range(4):
            work = Ladder(law, levels, law.spread(levels), lambda p, k, s=seed: _normal(p, k, s))
            start = law.draw(LEAST, _normal("exact", 0, seed))
            found.append((work.up(start) - work.down())[-1].mean())
        ways.append(float(torch.stack(found).mean()))
    assert 0 < ways[1] < 0.8 * ways[0]


def test_many_leaps_go_farther_than_one():
    """What y has to do with where it began, at one level, after one move."""
    law, s = Gaussian(_power(0.5)), 0.5
    y = law.draw(s, _normal("exact", 0))
    kept = []
    for moves in (1, 8):
        work = Ladder(law, torch.tensor([s]), torch.ones(1), _normal, moves)
        kept.append(float((work._moved(y, 0, "down") * y).mean() / y.square().mean()))
        assert work._taken / work._tried > 0.5
    assert kept[1] < 0.5 < kept[0]


def test_bounds_that_cross_are_no_surer_for_it():
    """Apart by 0, 4 and 0 nats, with nothing of scatter."""
    lower = torch.tensor([[0.0], [1.0], [2.0]]).double().expand(3, 4)
    upper = torch.tensor([[0.0], [5.0], [2.0]]).double().expand(3, 4)
    found = Bounds(lower, upper, 1.0)
    assert found.value.tolist() == [0, 3, 2]
    assert found.error.tolist() == [0, 2, 2]


def test_densities_that_move_apart_leave_wide_bounds():
    """A field that is not its own neighbour blurred: the error says so."""

    class Broken(Gaussian):
        def __call__(self, y, s):
            log_q, score = super().__call__(y, s)
            return 1.5 * log_q, 1.5 * score

    broken, own = (_bounds(kind(_power(0.5)), 60).error[-1] for kind in (Broken, Gaussian))
    assert broken > 5 * own


def _by_denoising(law, x, noise, steps=60):
    levels = ladder.noise_levels(TOP, LEAST, steps)
    costs = evidence.denoising_cost(law.denoised, x, noise, levels)
    above = evidence.divergence_from_reference(x, TOP)
    return evidence.noise_entropy(N, LEAST) + above + evidence.integral(costs, levels)


@pytest.mark.parametrize("width", [0, 0.5, 1.0])
def test_denoising_tells_the_density_of_one_image(width):
    """The mean over Z of -ln p(x + s Z), of one image, to its own standard error."""
    law = Gaussian(_power(width))
    x = law.draw(0.0, _normal("image", 0))[:1].expand(CHAINS, -1, -1, -1)
    told = torch.cat(
        [_by_denoising(law, x, lambda k, j=j: _normal(f"z/{j}", k)) for j in range(20)]
    )
    share = 1 / (law.power + LEAST**2)
    waves = torch.fft.fft2(x[0, 0], norm="ortho").abs().square()
    wanted = float((share * (waves + LEAST**2)).sum()) / 2 - law.factor + law.log_z(LEAST)
    error = float(told.std()) / math.sqrt(len(told))
    assert abs(float(told.mean()) - wanted) < 4 * error + 0.002 * N
    assert error < 0.01 * N


def test_both_ways_agree_within_their_errors():
    law = Gaussian(_power(0.5))
    x = law.draw(0.0, _normal("image", 1))
    z = _normal("z", 0)
    found = _bounds(law, 60)
    by_z = found.value[-1] - law(x + LEAST * z, LEAST)[0].mean()
    told = _by_denoising(law, x, lambda k: _normal("denoise", k))
    assert abs(float(told.mean() - by_z)) < found.error[-1] + 3 * told.std() / CHAINS**0.5


def test_weights_of_levels_are_those_of_the_integral():
    levels = ladder.noise_levels(3.0, 0.2, 7)
    costs = torch.rand(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    summed = (evidence.level_weights(levels)[:, None] * costs).sum(0)
    torch.testing.assert_close(summed, evidence.integral(costs, levels))
    told = evidence.running_integral(costs, levels)
    torch.testing.assert_close(told[-1], summed)
    torch.testing.assert_close(told[3], evidence.integral(costs[:4], levels[:4]))
    assert not told[0].any()
    ones = torch.ones(7, 1, dtype=torch.float64)
    torch.testing.assert_close(
        evidence.integral(ones, levels), torch.tensor([math.log(15)], dtype=torch.float64)
    )
