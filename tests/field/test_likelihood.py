"""The gradient of learning against loops and counts."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.field.convnet import ConvNet, LayerSpec, margins
from gcn_cli.field.likelihood import as_weights, likelihood_gradient, parameters, wrap_image


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
    found = likelihood_gradient(net, weights, observed, synthesized, boundary)
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
    same = likelihood_gradient(net, weights, images, images.clone(), boundary)
    assert all(not g.any() for g in same.weights)
    assert same.observed == same.synthesized
    control = likelihood_gradient(net, weights, images, other, boundary)
    assert all(g.any() for g in control.weights[:-1])


def test_top_bias_gradient_is_the_difference_of_active_shares(roomy, draw_weights, draw_images):
    net, boundary = roomy.net, _unrolled(roomy)
    weights, (observed, synthesized) = draw_weights(net), _two_sets(roomy, draw_images)
    found = likelihood_gradient(net, weights, observed, synthesized, boundary)

    def share(images):
        masks = net.pattern(net.forward(images, weights, boundary))
        return masks[-1].double().mean((0, 2, 3)), [m.double().mean() for m in masks]

    (seen, _), (made, per_layer) = share(observed), share(synthesized)
    torch.testing.assert_close(found.weights[-1], seen - made, rtol=1e-12, atol=1e-12)
    if net.layers[-1].relu:
        assert 0 < seen.mean() < 1
    torch.testing.assert_close(found.active.double(), torch.stack(per_layer), rtol=1e-6, atol=0)


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
