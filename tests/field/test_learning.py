"""The gradients of learning, against oracles that share no code with them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from gcn_cli.field.ladder import target, tilt
from gcn_cli.field.learning import (
    LEAST_LEVEL,
    STAND_IN,
    Gate,
    gaussian_loss,
    inside_output,
    likelihood_gap,
    reconstruction_loss,
    soft_gradient,
)
from gcn_cli.field.network import LayerSpec, NoiseNet

L = LayerSpec
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def grad(value, weights):
    return torch.autograd.grad(value, weights.tensors(), allow_unused=True)


def leaves(weights):
    return weights.map(lambda t: t.clone().requires_grad_(True))


def silent(weights):
    return weights._replace(votes=tuple(torch.zeros_like(v) for v in weights.votes))


def test_a_gate_passes_what_is_on_and_its_derivative_is_a_box_of_area_one():
    a = torch.linspace(-1.2, 1.2, 4800, dtype=torch.float64, requires_grad=True)
    t = (2 + a.detach()).requires_grad_(True)
    out = Gate.apply(t, a)
    assert torch.equal(out, torch.where(a > 0, t, torch.zeros(())))
    by_t, by_a = torch.autograd.grad(out.sum(), (t, a))
    assert torch.equal(by_t, (a > 0).double())
    box = by_a / t.detach()
    assert ((box > 0) == (a.abs() < STAND_IN)).all()
    assert float(box.sum()) * 2.4 / 4799 == pytest.approx(1.0, rel=2e-3)


@pytest.mark.parametrize("boundary", ["torus", "frame"])
def test_the_soft_gradient_has_the_value_of_the_gradient(
    net, boundary, noise_weights, canvas, mixed_levels
):
    weights, z, s = noise_weights(net), canvas(net), mixed_levels(2)
    soft = soft_gradient(net, z, s, weights, boundary)
    torch.testing.assert_close(soft, net.gradient(z, s, weights, boundary), **CLOSE)


def dense(w, spec, side, boundary):
    """A layer's filters (K, C, k, k) as a matrix from images (C side side) to its maps."""
    k, c = w.shape[:2]
    out = side // spec.stride
    places, values = [], []
    for unit, i, j, ch, dy, dx in itertools.product(
        range(k), range(out), range(out), range(c), range(spec.size), range(spec.size)
    ):
        y, x = i * spec.stride - spec.margin + dy, j * spec.stride - spec.margin + dx
        if boundary == "torus":
            y, x = y % side, x % side
        if 0 <= y < side and 0 <= x < side:
            places.append(((unit * out + i) * out + j, (ch * side + y) * side + x))
            values.append(w[unit, ch, dy, dx])
    rows, columns = torch.tensor(places).T
    matrix = w.new_zeros(k * out**2, c * side**2)
    return matrix.index_put((rows, columns), torch.stack(values), accumulate=True)


def ramp(a):
    """1[a > 0] in value; the derivative is that of a ramp, written out."""
    soft = ((a + STAND_IN) / (2 * STAND_IN)).clamp(0, 1)
    return (a > 0).to(a) + soft - soft.detach()


@pytest.mark.parametrize("boundary", ["torus", "frame"])
def test_the_stand_in_derivative_is_that_of_matrices_with_ramps_for_gates(boundary, noise_weights):
    net, side = NoiseNet((L(3, 4, 2, True), L(2, 3, 1, True)), 1), 6
    weights = leaves(noise_weights(net, 5))
    rng = torch.Generator().manual_seed(3)
    z, probe = torch.randn(2, 1, 1, side, side, generator=rng, dtype=torch.float64)
    s = torch.full((1,), 0.7, dtype=torch.float64)

    b1, c1, b2, c2 = (b.flatten()[:, None] for b in net.biases(s, weights))
    w1, w2 = (
        dense(w, spec, n, boundary)
        for w, spec, n in zip(weights.filters, net.layers, (side, side // 2), strict=True)
    )
    (m1, m2), (v1, v2) = (m[..., 0, 0] for m in weights.mixers), weights.votes
    a1 = (w1 @ z.flatten()).view(3, -1) + b1
    q1 = m1 @ a1.relu() + c1
    a2 = (w2 @ a1.relu().flatten()).view(2, -1) + b2
    q2 = m2 @ a2.relu() + c2
    g2 = (m2.T @ (v2[:, None] * ramp(q2))) * ramp(a2)
    g1 = (m1.T @ (v1[:, None] * ramp(q1)) + (w2.T @ g2.flatten()).view(3, -1)) * ramp(a1)
    oracle = (w1.T @ g1.flatten()).view(1, 1, side, side)

    told = soft_gradient(net, z, s, weights, boundary)
    torch.testing.assert_close(told, oracle, **CLOSE)
    for mine, true in zip(
        grad((told * probe).sum(), weights), grad((oracle * probe).sum(), weights), strict=True
    ):
        torch.testing.assert_close(mine, true, **CLOSE)
        assert true.abs().max() > 1e-6
    inside = [(a.detach().abs() < STAND_IN).double().mean() for a in (a1, q1, a2, q2)]
    assert min(inside) > 0  # control: every kind of gate has its stand-in at work


def test_the_loss_is_the_squared_miss_of_the_target_within_the_margin(
    net, noise_weights, canvas, mixed_levels
):
    weights, x, z, s = noise_weights(net), canvas(net), canvas(net, seed=5), mixed_levels(2)
    margin = 5
    y = x + s.view(-1, 1, 1, 1) * z
    scaled = y / (1 + s**2).sqrt().view(-1, 1, 1, 1)
    miss = (net.gradient(scaled, s, weights, "frame") - target(x, y, s)).square()
    height, width = x.shape[-2:]
    told = [
        miss[n, c, i, j]
        for n in range(2)
        for c in range(net.channels)
        for i in range(margin, height - margin)
        for j in range(margin, width - margin)
    ]
    loss = reconstruction_loss(net, x, z, s, weights, margin)
    torch.testing.assert_close(loss, sum(told) / len(told), **CLOSE)


def test_what_lies_in_the_margin_counts_for_nothing_by_itself(net, noise_weights, canvas):
    weights, x, z = silent(noise_weights(net)), canvas(net), canvas(net, seed=5)
    s, other = torch.ones(2, dtype=torch.float64), canvas(net, seed=6)
    loss = reconstruction_loss(net, x, z, s, weights, 4)
    frame = torch.ones_like(x)
    frame[..., 4:-4, 4:-4] = 0
    assert torch.equal(reconstruction_loss(net, x + frame * other, z, s, weights, 4), loss)
    frame[..., 4, 4] = 1
    assert not torch.equal(reconstruction_loss(net, x + frame * other, z, s, weights, 4), loss)


@pytest.mark.parametrize("level", [0.02, 1.0])
def test_a_silent_field_has_loss_one_on_white_noise(level, noise_weights):
    net = NoiseNet((L(2, 2, 2, True),), 1)
    rng = torch.Generator().manual_seed(0)
    x, z = torch.randn(2, 1, 1, 300, 300, generator=rng, dtype=torch.float64)
    s = torch.tensor([level], dtype=torch.float64)
    loss = reconstruction_loss(net, x, z, s, silent(noise_weights(net)), 2)
    assert abs(loss - 1) < 5 * math.sqrt(2) / 296


@pytest.mark.parametrize("level", [0.1, 0.5, 2.0])
def test_the_gaussian_loss_is_what_a_wiener_filter_attains(level):
    f = torch.fft.fftfreq(64, dtype=torch.float64)
    power = 1 / (0.01 + f[:, None] ** 2 + f[None] ** 2)
    power /= power.mean()
    rng = torch.Generator().manual_seed(0)
    white, z = torch.randn(2, 40, 1, 64, 64, generator=rng, dtype=torch.float64)
    x = torch.fft.ifft2(torch.fft.fft2(white) * power.sqrt()).real
    y = x + level * z
    d = torch.fft.ifft2(torch.fft.fft2(y) * power / (power + level**2)).real
    s = torch.full((40,), level, dtype=torch.float64)
    losses = (target(d, y, s) - target(x, y, s)).square().mean((1, 2, 3))
    error = losses.std() / math.sqrt(40)
    assert abs(losses.mean() - gaussian_loss(power, level)) < 5 * error
    assert gaussian_loss(power, level) < 0.995
    assert gaussian_loss(torch.ones(64, 64), level) == pytest.approx(1.0)


def test_equal_images_have_no_gap_and_no_gradient(noise_weights):
    """Filters as wide as their stride meet no frame, so that torus and frame are treated alike."""
    net = NoiseNet((L(4, 2, 2, True), L(3, 1), L(3, 3, 3, True)), 2)
    weights = leaves(noise_weights(net))
    y = torch.randn(3, 2, 18, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gap = likelihood_gap(net, y, y, 0.6, weights, 0)
    assert gap.item() == 0
    assert all(not g.any() for g in grad(gap, weights))
    assert likelihood_gap(net, 1.1 * y, y, 0.6, weights, 0).item() != 0


def test_on_a_torus_the_output_per_pixel_is_all_of_it(net, noise_weights, canvas, mixed_levels):
    weights, z, s = noise_weights(net), canvas(net), mixed_levels(2)
    told = inside_output(net, z, s, weights, "torus", 0)
    whole = net.output(net.forward(z, s, weights, "torus"), weights)
    torch.testing.assert_close(told, whole / z[0, 0].numel(), **CLOSE)


def test_within_a_margin_units_of_a_window_are_those_of_the_canvas(
    net, noise_weights, canvas, mixed_levels
):
    weights, s, margin = noise_weights(net), mixed_levels(1), net.receptive_field // 2
    stride = net.total_stride
    first, side = 2 * stride, (2 * margin // stride + 4) * stride
    z = canvas(net, 1, least=side + 4 * stride)
    window = z[..., first : first + side, first : first + side]
    told = inside_output(net, window, s, weights, "frame", margin)
    total, jump = 0.0, 1
    votes = iter(zip(net.forward(z, s, weights, "torus").votes, weights.votes, strict=True))
    for spec in net.layers:
        jump *= spec.stride
        if spec.vote:
            q, v = next(votes)
            units = range(math.ceil((first + margin) / jump), (first + side - margin) // jump)
            values = [v @ q[0, :, i, j].relu() for i in units for j in units]
            total = total + sum(values) / len(values) / jump**2
    torch.testing.assert_close(told[0], total, **CLOSE)


@pytest.mark.parametrize("level", [0.5, 0.01])
def test_the_gap_and_its_gradient_are_means_over_examples(noise_weights, canvas, level):
    """Filters as wide as their stride again: every term is a plain tilt per pixel."""
    net = NoiseNet((L(4, 2, 2, True), L(3, 3, 3, True)), 2)
    weights = leaves(noise_weights(net))
    observed, chains = 0.8 * canvas(net, 3), canvas(net, 2, seed=4)[..., :-6]
    gap = likelihood_gap(net, observed, chains, level, weights, 0)
    s = torch.full((1,), level, dtype=torch.float64)
    scale = level / max(level, LEAST_LEVEL)

    def term(y, sign):
        return sign * scale * tilt(net, y, s, weights, "torus")[0] / y[0, 0].numel()

    terms = [term(y[None], 1 / 3) for y in observed] + [term(y[None], -1 / 2) for y in chains]
    torch.testing.assert_close(gap, sum(terms), **CLOSE)
    parts = [grad(t, weights) for t in terms]
    for told, *each in zip(grad(gap, weights), *parts, strict=True):
        torch.testing.assert_close(told, sum(each), **CLOSE)


def test_climbing_one_vote_of_a_blind_field_finds_the_difference_of_its_features(noise_weights):
    """h = v relu(z), so that d gap / dv is the difference of the mean of relu, over s."""
    net = NoiseNet((L(1, 1, 1, True),), 1)
    weights = noise_weights(net)
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    weights = leaves(weights.map(torch.zeros_like)._replace(filters=(one,), mixers=(one,)))
    rng = torch.Generator().manual_seed(0)
    observed, chains = torch.randn(2, 1, 1, 8, 8, generator=rng, dtype=torch.float64)
    by = grad(likelihood_gap(net, observed, chains, 0.5, weights, 0), weights)
    scale = math.sqrt(1.25)
    true = (F.relu(observed / scale).mean() - F.relu(chains / scale).mean()) / 0.5
    torch.testing.assert_close(by[2][0], true, **CLOSE)
