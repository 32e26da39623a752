"""The dynamics: fixed points, dither, units, keys."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.field.convnet import ConvNet, LayerSpec, LayerWeights
from gcn_cli.field.energy import reconstruction, score
from gcn_cli.field.langevin import ChainState, LangevinParams, langevin_step, run_langevin
from gcn_cli.field.noise import NoiseSource

NET = ConvNet((LayerSpec(4, 4, 2), LayerSpec(3, 3)), 1)
SIZE = (8, 12)


def _basis(weights, net=NET):
    return lambda images: net.basis(images, weights, "torus")


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_a_step_is_half_eps_squared_of_the_score_plus_noise(sigma, draw_weights, draw_images):
    weights = draw_weights(NET)
    images, centre, z = (draw_images(2, 1, *SIZE, seed=s) for s in (1, 2, 3))
    params = LangevinParams(sigma, 0.4, temperature=0.25)
    moved, basis = langevin_step(images, _basis(weights), params, z, centre)
    drift = 0.4**2 / 2 * score(basis, images, sigma, centre)
    torch.testing.assert_close(moved, images + drift + 0.4 * 0.5 * z, rtol=1e-12, atol=1e-12)
    cold, _ = langevin_step(images, _basis(weights), params.cooled(0.0), z, centre)
    torch.testing.assert_close(cold, images + drift, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("centred", [False, True], ids=["c = 0", "c"])
@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_without_noise_the_chain_ends_at_its_own_reconstruction(
    sigma, centred, cpu, draw_weights, draw_images
):
    """With positive upper filters f is convex, so that no mode of p lies on the edge of a piece."""
    weights = tuple(
        layer._replace(w=layer.w.abs() if index else layer.w)
        for index, layer in enumerate(draw_weights(NET))
    )
    start = ChainState(draw_images(3, 1, *SIZE))
    centre = draw_images(3, 1, *SIZE, seed=8) if centred else None
    params = LangevinParams(sigma, 0.8 * sigma, temperature=0.0)
    noise = NoiseSource(0, range(3), cpu)
    end, _ = run_langevin(start, _basis(weights), params, 200, noise, centre)
    basis = NET.basis(end.images, weights, "torus")
    error = end.images - reconstruction(basis, sigma, 0.0 if centre is None else centre)
    assert error.abs().max() < 1e-12
    assert basis.abs().max() > 0.1
    pattern = NET.pattern(NET.forward(end.images, weights, "torus"))
    assert 0 < pattern[0].double().mean() < 1, "a mode with every unit alike proves little"
    hot, _ = run_langevin(start, _basis(weights), params.cooled(1.0), 200, noise, centre)
    gap = hot.images - sigma**2 * NET.basis(hot.images, weights, "torus")
    assert gap.abs().max() > 0.1 * sigma  # control


def test_unit_of_the_grey_levels_does_not_matter(cpu, draw_weights, draw_images):
    weights, images = draw_weights(NET), draw_images(2, 1, *SIZE, scale=2.0)
    centre, noise = draw_images(2, 1, *SIZE, seed=6), NoiseSource(1, range(2), cpu)
    s, sigma, eps = 37.0, 1.5, 0.6

    def run(unit, first):
        scaled = (LayerWeights(weights[0].w * first, weights[0].b), *weights[1:])
        params = LangevinParams(sigma / unit, eps / unit, dither=2)
        start = ChainState(images / unit)
        end, _ = run_langevin(start, _basis(scaled), params, 25, noise, centre / unit)
        return end.images * unit

    torch.testing.assert_close(run(s, s), run(1.0, 1.0), rtol=1e-10, atol=1e-10)
    assert (run(s, 1.0) - run(1.0, 1.0)).abs().max() > 0.1  # control: filters left as they were


def test_pieces_of_a_run_equal_the_whole(cpu, draw_weights, draw_images):
    basis, images = _basis(draw_weights(NET)), draw_images(2, 1, *SIZE)
    params, noise = LangevinParams(1.0, 0.5, dither=2), NoiseSource(1, range(2), cpu)
    whole, _ = run_langevin(ChainState(images, 40), basis, params, 9, noise)
    state = ChainState(images, 40)
    for steps in (4, 1, 4):
        state, _ = run_langevin(state, basis, params, steps, noise)
    assert torch.equal(state.images, whole.images)
    assert state.step == whole.step == 49
    other, _ = run_langevin(ChainState(images, 41), basis, params, 9, noise)
    assert not torch.allclose(other.images, whole.images, atol=0.1)  # the step keys the noise


def test_a_chain_is_the_same_at_any_batch(cpu, draw_weights, draw_images):
    basis, images = _basis(draw_weights(NET)), draw_images(4, 1, *SIZE)
    params = LangevinParams(1.0, 0.5, dither=2)

    def run(chains):
        noise = NoiseSource(1, chains, cpu)
        return run_langevin(ChainState(images[chains]), basis, params, 10, noise)[0].images

    torch.testing.assert_close(run([0, 1, 2, 3])[[3, 1]], run([3, 1]), rtol=1e-12, atol=1e-12)


def test_the_input_is_left_alone(cpu, draw_weights, draw_images):
    images = draw_images(2, 1, *SIZE)
    before = images.clone()
    params = LangevinParams(1.0, 0.5)
    run_langevin(
        ChainState(images), _basis(draw_weights(NET)), params, 3, NoiseSource(1, range(2), cpu)
    )
    assert torch.equal(images, before)


def test_dither_estimates_the_phase_free_basis_without_bias(cpu, draw_weights, draw_images):
    net = ConvNet((LayerSpec(4, 4, 2), LayerSpec(3, 3)), 1)
    weights, images = draw_weights(net), draw_images(1, 1, *SIZE)
    basis, d = _basis(weights, net), net.total_stride
    cold = LangevinParams(1.0, 0.5, temperature=0.0)
    shifts = [(dy, dx) for dy in range(d) for dx in range(d)]
    steps = [langevin_step(images, basis, cold, None, shift=s) for s in shifts]
    mean = torch.stack([b for _, b in steps]).mean(0)

    # The mean over shifts is the gradient of the tilt averaged over shifts.
    leaf = images.clone().requires_grad_(True)
    rolled = [net.tilt(torch.roll(leaf, s, (-2, -1)), weights, "torus") for s in shifts]
    (slope,) = torch.autograd.grad(torch.stack(rolled).mean(), leaf)
    torch.testing.assert_close(mean, slope, rtol=1e-12, atol=1e-12)
    assert (steps[0][1] - steps[1][1]).abs().max() > 0.01

    # A run draws every shift alike often: mean of one-step runs = mean over shifts.
    params, noise = LangevinParams(1.0, 0.5, temperature=0.0, dither=d), NoiseSource(5, [0], cpu)
    seen = [
        run_langevin(ChainState(images, t), basis, params, 1, noise)[1].basis for t in range(800)
    ]
    counts = torch.tensor([sum(bool(torch.equal(b, x)) for x in seen) for _, b in steps])
    assert int(counts.sum()) == 800
    expected = 800 / len(shifts)
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert chi_squared < 16.3  # 0.1 % point at 3 degrees of freedom
    spread = torch.stack(seen).std(0) / 800**0.5
    assert ((torch.stack(seen).mean(0) - mean).abs() <= 5 * spread + 1e-12).all()
    undithered = (steps[0][1] - mean).abs()
    assert (undithered > 5 * spread).any()  # control


def test_the_phase_free_basis_commutes_with_every_shift(draw_weights, draw_images):
    weights, images = draw_weights(NET), draw_images(1, 1, *SIZE)
    cold = LangevinParams(1.0, 0.5, temperature=0.0)

    def average(x):
        pairs = [(dy, dx) for dy in range(2) for dx in range(2)]
        return sum(langevin_step(x, _basis(weights), cold, None, shift=s)[1] for s in pairs) / 4

    moved = average(torch.roll(images, (1, 3), (-2, -1)))
    expected = torch.roll(average(images), (1, 3), (-2, -1))
    torch.testing.assert_close(moved, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bad", [(1.0, 2.0), (1.0, 2.5), (0.0, 0.1), (1.0, 0.0), (1.0, 0.5, -1.0)])
def test_unstable_or_senseless_constants_are_refused(bad):
    with pytest.raises(ValueError, match=r"below 2 sigma|positive"):
        LangevinParams(*bad)
    LangevinParams(1.0, 1.99)
