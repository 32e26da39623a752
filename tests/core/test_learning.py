"""The learning gradient and the optimisers."""

from __future__ import annotations

import math

import pytest
import torch

from gcn_cli.core.learning import (
    AdamParams,
    LearningParams,
    Moments,
    SgdParams,
    adam_step,
    as_weights,
    average_weights,
    likelihood_gradient,
    parameters,
    rate_factor,
    sgd_step,
    wrap_image,
)
from gcn_cli.core.network import ConvNet, LayerSpec, LayerWeights, margins


def _oracle(net, weights, images, boundary):
    """Mean over images of the gradient of the tilt per top unit, one image at a time."""
    total = [torch.zeros_like(p) for p in parameters(weights)]
    for image in images:
        leaves = [p.clone().requires_grad_(True) for p in parameters(weights)]
        f = net.tilt(image[None], as_weights(leaves), boundary).sum()
        h, w = net.map_sizes(tuple(image.shape[-2:]), boundary)[-1]
        grads = torch.autograd.grad(f / (h * w), leaves)
        total = [t + g / len(images) for t, g in zip(total, grads, strict=True)]
    return total


def _two_sets(case, draw_images):
    """Observed and synthesized images, unlike in number and, where it can be, in size."""
    net, (h, w) = case.net, case.size
    fixed = any(not spec.relu for spec in net.layers)  # a full-map filter knows one size
    other = (h, w) if fixed else (h + 3, w + 5)
    return draw_images(3, net.channels, h, w), draw_images(2, net.channels, *other, seed=7)


def _unrolled(case):
    """The boundary under which learning sees a case."""
    return "bounded" if case.boundary == "bounded" else "valid"


@pytest.fixture
def roomy(case):
    """The case on a canvas that holds whole windows without wrapping."""
    if case.boundary == "torus":
        return case._replace(size=(case.net.receptive_field + 4, case.net.receptive_field + 3))
    return case


def test_gradient_equals_a_loop_over_examples(roomy, draw_weights, draw_images):
    net, boundary = roomy.net, _unrolled(roomy)
    weights = draw_weights(net)
    observed, synthesized = _two_sets(roomy, draw_images)
    found = likelihood_gradient(net, weights, observed, synthesized, boundary, torch.float64)
    seen = _oracle(net, weights, observed, boundary)
    made = _oracle(net, weights, synthesized, boundary)
    for g, a, b in zip(found.weights, seen, made, strict=True):
        torch.testing.assert_close(g, a - b, rtol=1e-10, atol=1e-12)
    assert found.weights[0].abs().max() > 1e-3

    for tilt, images in ((found.observed, observed), (found.synthesized, synthesized)):
        h, w = net.map_sizes(tuple(images.shape[-2:]), boundary)[-1]
        # a full-map filter's only unit stands for the whole image
        area = net.total_stride**2 if h * w > 1 else images.shape[-2:].numel()
        expected = net.tilt(images, weights, boundary).mean() / (h * w * area)
        torch.testing.assert_close(tilt, expected)


def test_equal_images_give_exactly_zero(roomy, draw_weights, draw_images):
    net, boundary = roomy.net, _unrolled(roomy)
    weights, (images, other) = draw_weights(net), _two_sets(roomy, draw_images)
    same = likelihood_gradient(net, weights, images, images.clone(), boundary, torch.float64)
    assert all(not g.any() for g in same.weights)
    assert same.observed == same.synthesized
    control = likelihood_gradient(net, weights, images, other, boundary, torch.float64)
    assert all(g.any() for g in control.weights[:-1])


def test_top_bias_gradient_is_the_difference_of_active_shares(roomy, draw_weights, draw_images):
    net, boundary = roomy.net, _unrolled(roomy)
    weights, (observed, synthesized) = draw_weights(net), _two_sets(roomy, draw_images)
    found = likelihood_gradient(net, weights, observed, synthesized, boundary, torch.float64)

    def share(images):
        masks = net.pattern(net.forward(images, weights, boundary))
        return masks[-1].double().mean((0, 2, 3)), [m.double().mean() for m in masks]

    (seen, _), (made, per_layer) = share(observed), share(synthesized)
    torch.testing.assert_close(found.weights[-1], seen - made, rtol=1e-12, atol=1e-12)
    if net.layers[-1].relu:
        assert 0 < seen.mean() < 1
    torch.testing.assert_close(found.active.double(), torch.stack(per_layer), rtol=1e-6, atol=0)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_lower_precision_is_close(precision, draw_weights, draw_images):
    net = ConvNet((LayerSpec(6, 5, 2), LayerSpec(4, 3)), 2)
    observed, synthesized = draw_images(4, 2, 24, 24), draw_images(4, 2, 24, 24, seed=3) * 1.5
    exact = likelihood_gradient(
        net, draw_weights(net), observed, synthesized, "valid", torch.float64
    )
    rough = likelihood_gradient(
        net,
        draw_weights(net, dtype=torch.float32),
        observed.float(),
        synthesized.float(),
        "valid",
        precision,
    )
    limit = 1e-5 if precision is torch.float32 else 0.12
    for a, b in zip(rough.weights, exact.weights, strict=True):
        assert float((a - b).norm() / b.norm()) < limit


@pytest.mark.parametrize(
    "layers",
    [
        (LayerSpec(3, 3), LayerSpec(2, 4)),
        (LayerSpec(3, 4, 2), LayerSpec(2, 3)),
        (LayerSpec(3, 5, 2), LayerSpec(2, 3)),
        (LayerSpec(3, 5, 3), LayerSpec(2, 3, 2)),
    ],
    ids=["1x1", "even 2x1", "odd 2x1", "3x2"],
)
def test_valid_windows_of_an_unrolled_torus_are_the_torus_windows(
    layers, draw_weights, draw_images
):
    net = ConvNet(layers, 2)
    weights, images = draw_weights(net), draw_images(2, 2, 12, 18)
    lead, jump = 0, 1
    for spec in layers:  # how far before pixel 0 the first window of the torus begins
        lead += margins(spec, "torus")[0] * jump
        jump *= spec.stride
    turned = torch.roll(images, (lead, lead), (-2, -1))
    unrolled = wrap_image(turned, net.receptive_field - 1)
    torch.testing.assert_close(
        net.tilt(unrolled, weights, "valid"),
        net.tilt(images, weights, "torus"),
        rtol=1e-12,
        atol=1e-12,
    )
    short = wrap_image(turned, net.receptive_field - 1 - net.total_stride)
    gap = net.tilt(short, weights, "valid") - net.tilt(images, weights, "torus")
    assert gap.abs().min() > 1e-3  # control


def test_adam_against_the_library(draw_weights):
    net = ConvNet((LayerSpec(3, 3), LayerSpec(2, 3)), 1)
    weights, moments = draw_weights(net), Moments()
    leaves = [p.clone().requires_grad_(True) for p in parameters(weights)]
    oracle = torch.optim.Adam(leaves, lr=0.01, betas=(0.5, 0.99), eps=1e-8, maximize=True)
    params = AdamParams(0.01, 0.5, 0.99)
    for step in range(5):
        grad = parameters(draw_weights(net, seed=50 + step))
        weights, moments = adam_step(weights, grad, moments, params, 0.01, sigma=1.0)
        for leaf, g in zip(leaves, grad, strict=True):
            leaf.grad = g.clone()
        oracle.step()
    assert moments.count == 5
    for p, leaf in zip(parameters(weights), leaves, strict=True):
        torch.testing.assert_close(p, leaf.detach(), rtol=1e-12, atol=1e-12)


def test_adam_does_not_know_the_unit_of_grey_levels(draw_weights):
    """In units of 1/s the first filters are s times larger and their gradient s times smaller."""
    net, s = ConvNet((LayerSpec(3, 3), LayerSpec(2, 3)), 1), 25.0

    def scaled(tensors, factor):
        return [tensors[0] * factor, *tensors[1:]]

    one = parameters(draw_weights(net))
    other, moments, moments_other = scaled(one, s), Moments(), Moments()
    params, sigma = AdamParams(0.02), 10.0
    for step in range(4):
        grad = parameters(draw_weights(net, seed=20 + step, gain=1e-7))
        a, moments = adam_step(as_weights(one), grad, moments, params, 0.02, sigma)
        b, moments_other = adam_step(
            as_weights(other), scaled(grad, 1 / s), moments_other, params, 0.02, sigma / s
        )
        one, other = parameters(a), parameters(b)
    for p, q in zip(scaled(one, s), other, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)
    wrong, _ = adam_step(as_weights(other), scaled(grad, 1 / s), Moments(), params, 0.02, sigma)
    right, _ = adam_step(as_weights(other), scaled(grad, 1 / s), Moments(), params, 0.02, sigma / s)
    assert not torch.allclose(wrong[0].w, right[0].w)  # control


def test_sgd_step_by_hand():
    def tensor(*values):
        return torch.tensor(values, dtype=torch.float64)

    weights = (
        LayerWeights(tensor(1.0, 2.0).view(2, 1, 1, 1), tensor(0.5, 0.0)),
        LayerWeights(tensor(3.0, -4.0).view(1, 2, 1, 1), tensor(1.0)),
    )
    grad = [
        tensor(8.0, -4.0).view(2, 1, 1, 1),
        tensor(2.0, 6.0),
        tensor(100.0, -50.0).view(1, 2, 1, 1),
        tensor(-30.0),
    ]
    params = SgdParams(rate=9.0, decay=0.1, bias_factor=2.0, cap=20.0)
    moved = sgd_step(weights, grad, [40, 10], params, rate=0.5)
    # Layer 1 has 40 positions, the top 10: its gradients shrink by 10/40; the top's are capped.
    torch.testing.assert_close(
        moved[0].w.flatten(), tensor(1 + 0.5 * (2 - 0.1), 2 + 0.5 * (-1 - 0.2))
    )
    torch.testing.assert_close(moved[0].b, tensor(0.5 + 0.5 * 2 * 0.5, 0.5 * 2 * 1.5))
    torch.testing.assert_close(
        moved[1].w.flatten(), tensor(3 + 0.5 * (20 - 0.3), -4 + 0.5 * (-10 + 0.4))
    )
    torch.testing.assert_close(moved[1].b, tensor(1 + 0.5 * 2 * -20.0))


def _learning(updates, fall):
    return LearningParams(updates, 1, "data", AdamParams(1.0), fall=fall)


def test_rate_falls_along_half_a_cosine():
    params = _learning(10, 0.2)
    assert rate_factor(params, 0) == pytest.approx(1.0)
    assert rate_factor(params, 5) == pytest.approx(0.6)
    assert rate_factor(params, 10) == pytest.approx(0.2)
    course = [rate_factor(params, k) for k in range(11)]
    assert course == sorted(course, reverse=True)
    assert rate_factor(params, 1) == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 10)) / 2)
    assert all(rate_factor(_learning(10, 1.0), k) == 1 for k in range(11))


def test_rate_rises_linearly_while_warming_up():
    warm = LearningParams(100, 1, "restart", AdamParams(1e-3), warmup=4)
    course = [rate_factor(warm, k) for k in range(6)]
    assert course == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_averaging_is_a_running_mean(draw_weights):
    net = ConvNet((LayerSpec(2, 3),), 1)
    a, b = draw_weights(net, 1), draw_weights(net, 2)
    old = average_weights(a, b, 0.9, 10_000)
    torch.testing.assert_close(old[0].w, 0.9 * a[0].w + 0.1 * b[0].w)
    torch.testing.assert_close(average_weights(a, b, 0.9, 0)[0].w, b[0].w)
    young = average_weights(a, b, 0.9, 5)
    torch.testing.assert_close(young[0].b, 0.5 * a[0].b + 0.5 * b[0].b)
    mean = a
    for count in range(300):
        mean = average_weights(mean, b, 0.9, count)
    torch.testing.assert_close(mean[0].w, b[0].w)
