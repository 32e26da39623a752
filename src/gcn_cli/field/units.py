"""Single units: what one of them paints, and how strongly the decoder plays it.

The top-down pass sends every unit that is on a message, and the unit paints as much of its own
basis, decoded through the filters below it under the gates of the image (Xie et al. 2016, section
4). The units of the first layer together paint all of grad h.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gcn_cli.field.network import Boundary, NoiseNet, Pattern, Weights, decode


def unit_window(net: NoiseNet, layer: int) -> tuple[int, int, int]:
    """(side, step, before) of the windows that the units of a layer see, px.

    Unit i sees pixels from ``i step - before`` on, ``side`` of them.
    """
    side, step, before = 1, 1, 0
    for spec in net.layers[: layer + 1]:
        side += (spec.size - 1) * step
        before += spec.margin * step
        step *= spec.stride
    return side, step, before


def messages(
    net: NoiseNet, z: Tensor, s: Tensor, weights: Weights, boundary: Boundary
) -> list[Tensor]:
    """``dh/da`` of the pre-activations of every layer (N, K, h, w): 0 for units that are off."""
    with torch.enable_grad():
        lit = z.detach().requires_grad_(True)
        responses = net.forward(lit, s, weights, boundary)
        return list(torch.autograd.grad(net.output(responses, weights).sum(), responses.layers))


def unit_basis(
    net: NoiseNet,
    pattern: Pattern,
    weights: Weights,
    layer: int,
    units: Sequence[tuple[int, int, int]],
    boundary: Boundary,
) -> Tensor:
    """``da/dz`` (N, C, H, W) of one unit (k, i, j) of a layer in each of N images' patterns.

    Decoded as the basis is, from a map in which that unit alone is 1.
    """
    g = torch.zeros_like(pattern.layers[layer], dtype=weights.filters[0].dtype)
    for row, (k, i, j) in enumerate(units):
        g[row, k, i, j] = 1
    for index in range(layer, -1, -1):
        w = weights.filters[index] if index else weights.filters[0][:, : net.channels]
        g = decode(
            g if index == layer else g * pattern.layers[index], w, net.layers[index], boundary
        )
    return g
