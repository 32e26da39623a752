"""A classifying ConvNet is the ratio of the generative ones' densities.

Images of two pixels: Z is a sum over a fine grid, so every law is known.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gcn_cli.field.convnet import ConvNet, LayerSpec
from gcn_cli.field.energy import energy, reference_energy
from gcn_cli.field.likelihood import as_weights, parameters

NET = ConvNet((LayerSpec(5, 1), LayerSpec(3, 1)), 2)
SIGMA, SHARES = 1.3, torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)


def _grid() -> Tensor:
    """Images (N, 2, 1, 1) all over the plane."""
    axis = torch.arange(-16, 16.01, 0.08, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis)[:, :, None, None]


def _log_densities(images: Tensor, classes: list) -> Tensor:
    """log of probability per grid point: white noise first, then each class."""
    energies = [reference_energy(images, SIGMA)]
    energies += [energy(NET, images, w, "bounded", SIGMA) for w in classes]
    return torch.stack([-u - torch.logsumexp(-u, 0) for u in energies])


def _classes(draw_weights) -> list:
    return [draw_weights(NET, seed, gain=0.5) for seed in (0, 1)]


def test_the_posterior_is_a_softmax_of_tilts_with_white_noise_as_the_base_class(draw_weights):
    images, classes = _grid(), _classes(draw_weights)
    logs = _log_densities(images, classes)
    bayes = torch.softmax(logs + SHARES.log()[:, None], 0)
    tilts = torch.stack([NET.tilt(images, w, "bounded") for w in classes])
    centre = len(images) // 2
    biases = (logs[1:] - logs[:1] - tilts)[:, centre] + (SHARES[1:] / SHARES[0]).log()
    scores = torch.cat([torch.zeros_like(tilts[:1]), tilts + biases[:, None]])
    torch.testing.assert_close(torch.softmax(scores, 0), bayes, rtol=1e-9, atol=1e-12)
    assert bayes.amax(1).min() > 0.5  # each class wins somewhere
    other = torch.softmax(torch.cat([scores[:1], scores[1:] * 0.5]), 0)
    assert (other - bayes).abs().max() > 0.1  # control


def _discriminative_gradient(images, joint, classes, biases) -> list[Tensor]:
    """Gradient of the mean log posterior in the first class' weights."""
    leaves = [p.clone().requires_grad_(True) for p in parameters(classes[0])]
    tilts = [NET.tilt(images, w, "bounded") for w in (as_weights(leaves), classes[1])]
    scores = torch.stack(
        [torch.zeros_like(tilts[0]), *(t + b for t, b in zip(tilts, biases, strict=True))]
    )
    mean = (joint * torch.log_softmax(scores, 0)).sum()
    return list(torch.autograd.grad(mean, leaves))


def test_classifying_has_nothing_to_learn_where_the_densities_are_true(draw_weights):
    """And something where they are not: the discriminative gradient knows the generative net."""
    images, classes = _grid(), _classes(draw_weights)
    logs = _log_densities(images, classes)
    joint = SHARES[:, None] * logs.exp()
    tilts = torch.stack([NET.tilt(images, w, "bounded") for w in classes])
    biases = (logs[1:] - logs[:1] - tilts)[:, 0] + (SHARES[1:] / SHARES[0]).log()
    still = _discriminative_gradient(images, joint, classes, biases)
    shifted = [as_weights([p * 1.2 for p in parameters(classes[0])]), classes[1]]
    moving = _discriminative_gradient(images, joint, shifted, biases)
    assert max(float(g.abs().max()) for g in still) < 1e-9
    assert max(float(g.abs().max()) for g in moving) > 1e-2
