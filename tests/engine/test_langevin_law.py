"""Laws that the chains must follow, within their standard errors."""

from __future__ import annotations

import math

import pytest
import torch

from gcn_cli.engine import NoiseSource
from gcn_cli.engine.fused import FusedBasis
from gcn_cli.field.convnet import ConvNet, LayerSpec
from gcn_cli.field.langevin import ChainState, LangevinParams, run_langevin

CHAINS, SHAPE = 1500, (1, 4, 6)
LIMIT = 5.0  # standard errors


def law_errors(run, x0, mode, sigma, eps, steps):
    """Standard errors between ``run(x0, steps)`` and the n-step law of a constant basis.

    A chain with basis B and x0 fixed is Gaussian after n steps, with ``a = 1 - eps^2/(2 sigma^2)``:
    mean ``a^n x0 + (1 - a^n) mode``, ``mode = sigma^2 B``, and per pixel the variance
    ``eps^2 (1 - a^(2n)) / (1 - a^2)``. Returns the largest error of the mean over pixels, that of
    the pooled variance, and that of the correlation of neighbours.
    """
    end = run(x0, steps).double()
    a = 1 - eps**2 / (2 * sigma**2)
    mean = a**steps * x0 + (1 - a**steps) * mode
    variance = eps**2 * (1 - a ** (2 * steps)) / (1 - a**2)
    n, off = len(end), end - mean
    mean_error = (off.mean(0) / math.sqrt(variance / n)).abs().max()
    variance_error = abs(off.square().mean() / variance - 1) / math.sqrt(2 / off.numel())
    pairs = off[..., 1:] * off[..., :-1] / variance
    correlation_error = abs(pairs.mean()) * math.sqrt(pairs.numel())
    return float(mean_error), float(variance_error), float(correlation_error)


@pytest.fixture(scope="module")
def field(all_on_weights, draw_images):
    """A two-layer net with every unit on, a starting image, and the constant basis."""
    net = ConvNet((LayerSpec(3, 3), LayerSpec(2, 3)), 1)
    weights = all_on_weights(net)
    x0 = draw_images(1, *SHAPE, scale=3.0).expand(CHAINS, *SHAPE)
    basis = net.basis(x0[:1], weights, "torus")
    far = net.basis(x0[:1] + 50, weights, "torus")
    assert torch.equal(basis, far)
    assert basis.abs().max() > 1
    return net, weights, x0, basis


def _production(field, sigma, eps, cpu, seed=11):
    net, weights, x0, _ = field
    fused = FusedBasis(net, tuple(x0.shape), "torus", torch.float64, cpu).load(weights)

    def run(start, steps):
        noise = NoiseSource(seed, range(len(start)), cpu)
        state = ChainState(start, 3)
        return run_langevin(state, fused, LangevinParams(sigma, eps), steps, noise)[0].images

    return run


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize(("sigma", "eps"), [(0.5, 0.4), (1.0, 0.3), (2.0, 1.5), (2.0, 3.0)])
def test_chains_follow_the_n_step_law(sigma, eps, steps, field, cpu):
    run = _production(field, sigma, eps, cpu)
    errors = law_errors(run, field[2], sigma**2 * field[3], sigma, eps, steps)
    assert max(errors) < LIMIT, errors


def _flawed(field, sigma, eps, *, noise=1.0, drift=1.0, reference=1.0, basis_factor=1.0, shared=0):
    """The same dynamics written anew, with one flaw each."""
    b = field[3] * basis_factor

    def run(start, steps):
        generator = torch.Generator().manual_seed(4)
        x = start
        for _ in range(steps):
            z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            z = z[..., :1].expand_as(z) if shared else z
            x = x + drift * eps**2 / 2 * (b - reference * x / sigma**2) + noise * eps * z
        return x

    return run


FLAWS = {
    "noise times sqrt 2": {"noise": math.sqrt(2)},
    "noise over sqrt 2": {"noise": math.sqrt(0.5)},
    "drift flipped": {"drift": -1.0},
    "drift twice": {"drift": 2.0},
    "no reference": {"reference": 0.0},
    "reference at sigma = 1": {"reference": 4.0},
    "basis over sigma^2": {"basis_factor": 0.25},
    "noise shared by neighbours": {"shared": 1},
}


@pytest.mark.parametrize("flaw", FLAWS.values(), ids=FLAWS.keys())
def test_the_harness_rejects_a_flawed_chain(flaw, field):
    sigma, eps = 2.0, 1.0
    args = (field[2], sigma**2 * field[3], sigma, eps, 7)
    assert max(law_errors(_flawed(field, sigma, eps), *args)) < LIMIT
    assert max(law_errors(_flawed(field, sigma, eps, **flaw), *args)) > 2 * LIMIT


@pytest.mark.parametrize(("sigma", "eps"), [(1.0, 0.3), (2.0, 3.4)])
def test_the_white_noise_field_has_its_discretised_law(sigma, eps, cpu):
    """Stationary variance ``sigma^2 / (1 - eps^2 / (4 sigma^2))``, visibly above sigma^2."""
    params, noise = LangevinParams(sigma, eps), NoiseSource(2, range(300), cpu)
    state = ChainState(torch.zeros(300, 1, 8, 8, dtype=torch.float64))
    steps = math.ceil(math.log(1e-6) / math.log(abs(1 - params.eta)))
    end, _ = run_langevin(state, torch.zeros_like, params, steps, noise)
    variance = sigma**2 / (1 - eps**2 / (4 * sigma**2))
    standard_error = variance * math.sqrt(2 / end.images.numel())
    found = float(end.images.square().mean())
    assert abs(found - variance) < LIMIT * standard_error
    assert abs(float(end.images.mean())) < LIMIT * math.sqrt(variance / end.images.numel())
    if eps > sigma:
        assert abs(found - sigma**2) > LIMIT * standard_error  # control: the continuum's law


def test_temperature_scales_the_variance(cpu):
    noise = NoiseSource(3, range(200), cpu)
    state = ChainState(torch.zeros(200, 1, 6, 6, dtype=torch.float64))
    params = LangevinParams(1.0, 0.9, temperature=0.3)
    end, _ = run_langevin(state, torch.zeros_like, params, 40, noise)
    variance = 0.3 / (1 - 0.81 / 4)
    found = float(end.images.square().mean())
    assert abs(found / variance - 1) < LIMIT * math.sqrt(2 / end.images.numel())


def test_noise_is_standard_normal_and_independent(cpu):
    z = torch.stack(
        [
            NoiseSource(8, range(40), cpu).normal_(torch.empty(40, 3, 16, 16), "langevin", t)
            for t in range(5)
        ]
    ).double()
    n = z.numel()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        error = abs(float(z.pow(power).mean()) - moment) / math.sqrt(variance / n)
        assert error < LIMIT, power
    neighbours = [
        z[1:] * z[:-1],  # steps
        z[:, 1:] * z[:, :-1],  # chains
        z[:, :, 1:] * z[:, :, :-1],  # colours
        z[..., 1:] * z[..., :-1],  # pixels
    ]
    for products in neighbours:
        assert abs(float(products.mean())) < LIMIT / math.sqrt(products.numel())


def test_small_integers_are_uniform_and_independent(cpu):
    source, draws = NoiseSource(9, [0], cpu), 3000
    pairs = torch.tensor([source.integers("phase", t, (3, 4)) for t in range(draws)])
    counts = torch.bincount(pairs[:, 0] * 4 + pairs[:, 1], minlength=12)
    expected = draws / 12
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert 1 < chi_squared < 31.3  # 0.1 % point at 11 degrees of freedom
    assert source.integers("phase", 5, (3, 4)) == pairs[5].tolist()
