"""Steps of ascent: Adam against the library, the authors' own by hand, the running mean."""

from __future__ import annotations

import torch

from gcn_cli.field.ascent import (
    AdamParams,
    Moments,
    SgdParams,
    adam_step,
    average_weights,
    sgd_step,
)
from gcn_cli.field.convnet import ConvNet, LayerSpec, LayerWeights
from gcn_cli.field.likelihood import as_weights, parameters


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


def test_adam_against_the_librarys_decoupled_decay_of_filters_alone(draw_weights):
    net = ConvNet((LayerSpec(3, 3), LayerSpec(2, 3)), 1)
    weights, moments = draw_weights(net), Moments()
    leaves = [p.clone().requires_grad_(True) for p in parameters(weights)]
    settings = {"lr": 0.01, "betas": (0.5, 0.99), "eps": 1e-8, "maximize": True}
    filters = torch.optim.AdamW(leaves[::2], weight_decay=0.3, **settings)
    biases = torch.optim.AdamW(leaves[1::2], weight_decay=0.0, **settings)
    params = AdamParams(0.01, 0.5, 0.99, decay=0.3)
    for step in range(3):
        grad = parameters(draw_weights(net, seed=50 + step))
        weights, moments = adam_step(weights, grad, moments, params, 0.01, sigma=1.0)
        for leaf, g in zip(leaves, grad, strict=True):
            leaf.grad = g.clone()
        filters.step()
        biases.step()
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
