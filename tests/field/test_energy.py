"""Energy, score and the linear pieces of the field."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.field.convnet import ConvNet, LayerSpec
from gcn_cli.field.energy import energy, linear_piece, reconstruction, score

NET = ConvNet((LayerSpec(4, 4, 2, 1), LayerSpec(3, 3, 1, 1)), 2)
SIZE = (8, 9)


@pytest.mark.parametrize("centred", [False, True], ids=["c = 0", "c"])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_score_is_basis_minus_reference_and_minus_the_energys_slope(
    sigma, centred, draw_weights, draw_images
):
    weights, images = draw_weights(NET), draw_images(2, 2, *SIZE)
    centre = draw_images(2, 2, *SIZE, seed=5) if centred else 0.0
    basis = NET.basis(images, weights, "bounded")
    found = score(basis, images, sigma, centre)
    torch.testing.assert_close(found, basis - (images - centre) / sigma**2, rtol=0, atol=1e-13)

    leaf = images.clone().requires_grad_(True)
    total = energy(NET, leaf, weights, "bounded", sigma, centre).sum()
    (slope,) = torch.autograd.grad(total, leaf)
    torch.testing.assert_close(found, -slope, rtol=1e-12, atol=1e-12)

    wrong = (reconstruction(basis, 1.0, centre) - images) / sigma**2  # (B - I) / sigma^2
    same = torch.allclose(wrong, -slope, rtol=1e-6, atol=1e-6)
    assert same == (sigma == 1.0)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_score_agrees_with_central_differences(sigma, draw_weights, draw_images):
    weights, image = draw_weights(NET), draw_images(1, 2, *SIZE)
    found = score(NET.basis(image, weights, "bounded"), image, sigma).flatten()
    h = 1e-6
    steps = h * torch.eye(image.numel(), dtype=torch.float64).view(-1, *image.shape[1:])
    up = energy(NET, image + steps, weights, "bounded", sigma)
    down = energy(NET, image - steps, weights, "bounded", sigma)
    torch.testing.assert_close(found, -(up - down) / (2 * h), rtol=1e-6, atol=1e-6)


def test_f_is_linear_on_a_piece_and_not_beyond(case, draw_weights, draw_images):
    net, boundary, size = case
    weights, images = draw_weights(net), draw_images(3, net.channels, *size)
    piece = linear_piece(net, images, weights, boundary)

    def pattern(x):
        return torch.cat(
            [m.flatten(1) for m in net.pattern(net.forward(x, weights, boundary))], dim=1
        )

    def prediction(x):
        return piece.alpha + (piece.basis * x).flatten(1).sum(1)

    torch.testing.assert_close(
        prediction(images), net.tilt(images, weights, boundary), rtol=1e-12, atol=1e-12
    )
    direction, length = draw_images(3, net.channels, *size, seed=9), 1.0
    while not torch.equal(pattern(images + length * direction), pattern(images)):
        length /= 2
    assert length > 1e-4, "the step is too small to mean anything"
    near = images + length * direction
    change = net.tilt(near, weights, boundary) - net.tilt(images, weights, boundary)
    assert (change.abs() > 1e-6).all()
    torch.testing.assert_close(
        prediction(near), net.tilt(near, weights, boundary), rtol=1e-12, atol=1e-12
    )
    far = -2 * images
    assert (pattern(far) != pattern(images)).any(1).all()
    assert ((prediction(far) - net.tilt(far, weights, boundary)).abs() > 1e-2).all()


def test_a_piece_is_a_gaussian_around_its_reconstruction(draw_weights, draw_images):
    """U(I') = |I' - c - sigma^2 B|^2 / (2 sigma^2) + constant on one piece."""
    sigma, weights, image = 1.7, draw_weights(NET), draw_images(1, 2, *SIZE)
    centre = draw_images(1, 2, *SIZE, seed=4)
    basis = linear_piece(NET, image, weights, "bounded").basis
    mean = reconstruction(basis, sigma, centre)
    near = image + 1e-5 * draw_images(1, 2, *SIZE, seed=3)
    assert torch.equal(NET.basis(near, weights, "bounded"), basis)

    def remainder(x):
        quadratic = (x - mean).square().sum() / (2 * sigma**2)
        return energy(NET, x, weights, "bounded", sigma, centre) - quadratic

    torch.testing.assert_close(remainder(near), remainder(image), rtol=1e-12, atol=1e-12)
