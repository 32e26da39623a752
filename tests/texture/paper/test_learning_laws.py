"""What learning must arrive at where the answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from gcn_cli.engine import likelihood_gradient
from gcn_cli.field.ascent import AdamParams, Moments, SgdParams
from gcn_cli.field.convnet import ConvNet, LayerSpec, LayerWeights
from gcn_cli.field.langevin import ChainState, LangevinParams, langevin_step
from gcn_cli.field.likelihood import as_weights, parameters
from gcn_cli.texture.paper.learn import LearningState, begin, learn
from gcn_cli.texture.paper.model import SamplerParams
from gcn_cli.texture.paper.plan import LearningParams, Plan, StagePlan

# ------------------------------------------------------------ contrastive divergence, one step


def cd_gradient(net, weights, images, sigma, eps, boundary):
    """The CD-1 gradient in expectation: antithetic noises make the linear part exact."""
    z = torch.randn(images.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    params = LangevinParams(sigma, eps)

    def basis(x):
        return net.basis(x, weights, boundary)

    ends = [langevin_step(images, basis, params, noise)[0] for noise in (z, -z)]
    patterns = [net.pattern(net.forward(x, weights, boundary)) for x in (images, *ends)]
    same = all(
        torch.equal(a, b) for end in patterns[1:] for a, b in zip(end, patterns[0], strict=True)
    )
    found = likelihood_gradient(net, weights, images, torch.cat(ends), boundary, torch.float64)
    h, w = net.map_sizes(tuple(images.shape[-2:]), boundary)[-1]
    # The mean over twice as many images is the mean over both signs; undo "per top unit".
    return [g * h * w for g in found.weights], same


def reconstruction_gradient(net, weights, images, sigma, eps, boundary, factor=0.25):
    """Gradient of ``-(eps^2/4) |I/sigma^2 - B(I)|^2`` in the weights, pattern held fixed."""
    leaves = [p.clone().requires_grad_(True) for p in parameters(weights)]
    live = as_weights(leaves)
    pattern = net.pattern(net.forward(images, weights, boundary))
    basis = net.decode(pattern, live, boundary, tuple(images.shape[-2:]))
    loss = -factor * eps**2 * (images / sigma**2 - basis).square().flatten(1).sum(1).mean()
    grads = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(leaves, grads, strict=True)]


NETS = {
    "bounded": (ConvNet((LayerSpec(3, 3, 2, 1), LayerSpec(2, 3, 1, 1)), 2), (7, 8)),
    "valid": (ConvNet((LayerSpec(3, 4, 3), LayerSpec(2, 2)), 1), (13, 10)),
}


@pytest.mark.parametrize("boundary", NETS)
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_cd1_reconstructs_exactly_while_every_unit_is_on(
    sigma, boundary, all_on_weights, draw_images
):
    """With all units on f is linear in I at any eps: the formula has no boundary terms."""
    net, size = NETS[boundary]
    weights = all_on_weights(net, gain=0.5)
    images, eps = draw_images(4, net.channels, *size, scale=2.0), 1.2 * sigma
    found, same = cd_gradient(net, weights, images, sigma, eps, boundary)
    assert same
    expected = reconstruction_gradient(net, weights, images, sigma, eps, boundary)
    for g, e in zip(found, expected, strict=True):
        scale = max(float(e.abs().max()), 1.0)
        torch.testing.assert_close(g / scale, e / scale, rtol=0, atol=1e-9)
    assert expected[0].abs().max() > 1e-2
    for other in (0.5, -0.25):  # control: another factor or sign
        wrong = reconstruction_gradient(net, weights, images, sigma, eps, boundary, other)
        assert (found[0] - wrong[0]).abs().max() > 0.2 * expected[0].abs().max()


@pytest.mark.parametrize("boundary", NETS)
def test_cd1_reconstructs_for_any_pattern_that_a_small_step_keeps(
    boundary, draw_weights, draw_images
):
    net, size = NETS[boundary]
    weights, images = draw_weights(net), draw_images(3, net.channels, *size)
    sigma, eps = 1.5, 1e-5
    found, same = cd_gradient(net, weights, images, sigma, eps, boundary)
    assert same
    share = net.pattern(net.forward(images, weights, boundary))[0].double().mean()
    assert 0.2 < share < 0.8
    expected = reconstruction_gradient(net, weights, images, sigma, eps, boundary)
    for g, e in zip(found[::2], expected[::2], strict=True):
        torch.testing.assert_close(g / eps**2, e / eps**2, rtol=1e-3, atol=1e-3)


def _reconstruction_errors(langevin, machine):
    """|I - sigma^2 B(I)| over |I| of five 12 px pictures, before and after 300 updates of CD-1."""
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    waves = [torch.sin(0.6 * x + 0.25 * k * y + k) for k in range(5)]
    observed = 40 * torch.stack(waves)[:, None]
    net = ConvNet((LayerSpec(12, 5, 1, 2), LayerSpec(6, 3, 1, 1)), 1)
    plan = Plan(
        net=net,
        boundary="bounded",
        langevin=langevin,
        sampler=SamplerParams(1),
        chains=5,
        canvas=(12, 12),
        stages=(StagePlan(2, LearningParams(300, 1, "data", AdamParams(1e-3), fall=0.1)),),
        top_gain=0.1,
    )
    course = list(learn(plan, observed, torch.zeros(1, 1, 1), begin(), machine))
    assert all(info.event is None for _, info in course)

    def error(weights):
        basis = net.basis(observed, weights, "bounded")
        return float((observed - langevin.sigma**2 * basis).norm() / observed.norm())

    return error(course[0][0].weights), error(course[-1][0].weights)


@pytest.mark.slow
def test_cd_learning_lowers_the_reconstruction_error(machine):
    before, after = _reconstruction_errors(LangevinParams(1.0, 0.3), machine)
    assert before > 0.9
    assert after < 0.4


@pytest.mark.slow
def test_cd_learns_to_reconstruct_only_where_noise_crosses_few_boundaries(machine):
    """The formula holds up to boundary terms: noise of a tenth of the contrast lets them lead."""
    noisy = LangevinParams(10.0, 3.0)
    assert _reconstruction_errors(noisy.cooled(0.0), machine)[1] < 0.3
    assert _reconstruction_errors(noisy, machine)[1] > 0.9


# ------------------------------------------------------------- maximum likelihood, known answer

SIGMA, EPS = 3.0, 2.5


def _linear_unit_plan(kind, optimiser, chains, updates):
    """One filter as large as the 4x4 image: f = <w, I> + b while the unit is on."""
    net = ConvNet((LayerSpec(1, 4),), 1)
    learning = LearningParams(updates, 6, kind, optimiser, fall=0.02, averaging=0.98)
    return Plan(
        net=net,
        boundary="bounded",
        langevin=LangevinParams(SIGMA, EPS),
        sampler=SamplerParams(6, SIGMA),
        chains=chains,
        canvas=(4, 4),
        stages=(StagePlan(1, learning),),
        seed=1,
    )


def _learned(plan, observed, start, machine):
    """The end of learning that began with the weights ``start``."""
    chains = ChainState(torch.zeros(plan.chains, 1, 4, 4))
    state = LearningState(0, 0, start, start, Moments(), chains)
    course = list(learn(plan, observed, torch.zeros(1, 1, 1), state, machine))
    assert all(info.event is None for _, info in course)
    return course[-1][0]


OPTIMISERS = {
    "sgd": SgdParams(0.05, decay=0.0, cap=1e6),
    "adam": AdamParams(0.1, 0.5, 0.99),
}


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS.keys())
@pytest.mark.parametrize("kind", ["persistent", "restart", "data"])
def test_one_always_active_unit_learns_the_mean_over_sigma_squared(
    kind, optimiser, machine, draw_images
):
    """Piecewise Gaussian with one piece: p = N(sigma^2 w, sigma^2), whose ML is the mean."""
    count, updates = 64, 150
    pattern = draw_images(1, 1, 4, 4, seed=3, scale=4.0, dtype=torch.float32)
    observed = pattern + draw_images(count, 1, 4, 4, scale=SIGMA, dtype=torch.float32)
    plan = _linear_unit_plan(kind, optimiser, count, updates)
    start = (LayerWeights(torch.zeros(1, 1, 4, 4), torch.full((1,), 500.0)),)
    state = _learned(plan, observed, start, machine)
    target = observed.mean(0, keepdim=True) / SIGMA**2
    (layer,) = state.average
    assert layer.b.item() == 500.0  # the bias of a unit that is always on has no gradient
    # One batch of chains knows its mean to sigma/sqrt(count); the running mean of weights is finer.
    standard_error = 1 / (SIGMA * math.sqrt(count))
    off = (layer.w - target).abs().max()
    assert off < 2.5 * standard_error, (float(off), standard_error)
    assert target.abs().max() > 10 * standard_error
    for wrong in (observed.mean(0), observed.mean(0) / SIGMA):  # control: sigma forgotten
        assert (layer.w[0] - wrong).abs().max() > 10 * standard_error


def test_zero_is_where_noise_learns_to_stay(machine, draw_images):
    """Control: data from the reference itself leave w at 0."""
    count = 256
    observed = draw_images(count, 1, 4, 4, scale=SIGMA, dtype=torch.float32)
    plan = _linear_unit_plan("persistent", OPTIMISERS["sgd"], 64, 100)
    start = (LayerWeights(torch.zeros(1, 1, 4, 4), torch.full((1,), 500.0)),)
    state = _learned(plan, observed, start, machine)
    assert state.average[0].w.abs().max() < 5 / (SIGMA * math.sqrt(64))
