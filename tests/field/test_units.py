"""What one unit paints is the derivative of its response; all of them together paint the basis."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.field.network import LayerSpec, NoiseNet, initial_weights
from gcn_cli.field.units import messages, unit_basis, unit_window

NET = NoiseNet(
    (LayerSpec(5, 3), LayerSpec(6, 4, 2, vote=True), LayerSpec(4, 4, 2, vote=True)), 2, 1
)
LEVELS = torch.tensor([0.7, 0.3], dtype=torch.float64)


@pytest.fixture(scope="module")
def weights():
    told = initial_weights(NET, torch.Generator().manual_seed(0))
    rest = torch.randn(NET.n_biases, generator=torch.Generator().manual_seed(1)) / 4
    return told._replace(rest=rest).map(torch.Tensor.double)


@pytest.fixture(scope="module")
def images():
    rng = torch.Generator().manual_seed(2)
    return torch.randn(2, 3, 24, 24, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("boundary", ["frame", "torus"])
def test_a_units_basis_is_the_derivative_of_its_response(weights, images, layer, boundary):
    units = [(1, 2, 3), (3, 4, 1)]
    lit = images.clone().requires_grad_(True)
    responses = NET.forward(lit, LEVELS, weights, boundary)
    told = unit_basis(NET, NET.pattern(responses), weights, layer, units, boundary)
    total = sum(responses.layers[layer][row][unit] for row, unit in enumerate(units))
    (wanted,) = torch.autograd.grad(total, lit)
    torch.testing.assert_close(told, wanted[:, :2], rtol=1e-10, atol=1e-12)
    side, step, before = unit_window(NET, layer)
    for row, (_, i, j) in enumerate(units):  # nothing outside the window that the unit sees
        inside = torch.zeros(24, 24, dtype=torch.bool)
        top, left = (max(0, k * step - before) for k in (i, j))
        inside[top : i * step - before + side, left : j * step - before + side] = True
        if boundary == "frame":
            assert float(told[row, :, ~inside].abs().max()) == 0
            assert float(told[row, :, inside].abs().min()) >= 0


def test_the_windows_are_those_of_the_top_unit():
    assert unit_window(NET, 2) == (NET.receptive_field, NET.total_stride, 1 + 1 + 2)
    assert unit_window(NET, 0) == (3, 1, 1)


def test_the_units_of_the_first_layer_paint_the_basis(weights, images):
    told = messages(NET, images, LEVELS, weights, "torus")
    pattern = NET.pattern(NET.forward(images, LEVELS, weights, "torus"))
    assert all(bool((m[~on] == 0).all()) for m, on in zip(told, pattern.layers, strict=True))
    total = torch.zeros(2, 2, 24, 24, dtype=torch.float64)
    for k in range(5):
        for i in range(24):
            for j in range(24):
                painted = unit_basis(NET, pattern, weights, 0, [(k, i, j)] * 2, "torus")
                total += told[0][:, k, i, j, None, None, None] * painted
    wanted = NET.gradient(images, LEVELS, weights, "torus")
    torch.testing.assert_close(total, wanted, rtol=1e-9, atol=1e-12)
