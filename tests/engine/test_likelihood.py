"""The engine's gradient of learning is the field's."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.engine.likelihood import likelihood_gradient
from gcn_cli.field import likelihood
from gcn_cli.field.convnet import ConvNet, LayerSpec


def _two_sets(case, draw_images):
    """Observed and synthesized images that hold whole windows, unlike in number."""
    net, (h, w) = case.net, case.size
    if case.boundary == "torus":
        h = w = net.receptive_field + 4
    return draw_images(3, net.channels, h, w), draw_images(2, net.channels, h, w, seed=7)


def test_the_gradient_is_the_fields(case, draw_weights, draw_images):
    net, boundary = case.net, "bounded" if case.boundary == "bounded" else "valid"
    weights, (observed, synthesized) = draw_weights(net), _two_sets(case, draw_images)
    want = likelihood.likelihood_gradient(net, weights, observed, synthesized, boundary)
    found = likelihood_gradient(net, weights, observed, synthesized, boundary, torch.float64)
    for a, b in zip(found.weights, want.weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert want.weights[0].abs().max() > 1e-3
    for a, b in zip(found[1:], want[1:], strict=True):
        torch.testing.assert_close(a, b)


def test_windows_within_the_image_know_no_padding(draw_weights, draw_images):
    net = ConvNet((LayerSpec(3, 4, 2, 1), LayerSpec(2, 3, 1, 2)), 2)
    weights, images = (
        draw_weights(net),
        (draw_images(2, 2, 12, 13), draw_images(2, 2, 12, 13, seed=4)),
    )
    want = likelihood.likelihood_gradient(net, weights, *images, "valid")
    found = likelihood_gradient(net, weights, *images, "valid", torch.float64)
    for a, b in zip(found.weights, want.weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_equal_images_give_exactly_zero(case, draw_weights, draw_images):
    net, boundary = case.net, "bounded" if case.boundary == "bounded" else "valid"
    weights, (images, _) = draw_weights(net), _two_sets(case, draw_images)
    same = likelihood_gradient(net, weights, images, images.clone(), boundary, torch.float64)
    assert all(not g.any() for g in same.weights)
    assert same.observed == same.synthesized


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
