"""The random field ``p(I; w) = exp[f(I; w)] q(I) / Z(w)`` around its Gaussian reference.

``q = N(c, sigma^2 1)`` is white noise, centred at c = 0 in the paper.
All images are grey levels minus the exemplar's mean colour.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from gcn_cli.field.convnet import Boundary, ConvNet, Weights


def reference_energy(images: Tensor, sigma: float, centre: Tensor | float = 0.0) -> Tensor:
    """``|I - c|^2 / (2 sigma^2)`` in nats for images (N, C, H, W): a tensor (N,)."""
    return (images - centre).square().flatten(1).sum(1) / (2 * sigma**2)


def energy(
    net: ConvNet,
    images: Tensor,
    weights: Weights,
    boundary: Boundary,
    sigma: float,
    centre: Tensor | float = 0.0,
) -> Tensor:
    """``U(I; w) = |I - c|^2 / (2 sigma^2) - f(I; w)`` in nats, so that ``p ∝ exp(-U)``."""
    return reference_energy(images, sigma, centre) - net.tilt(images, weights, boundary)


def score(basis: Tensor, images: Tensor, sigma: float, centre: Tensor | float = 0.0) -> Tensor:
    """``d log p / dI = B(I) - (I - c) / sigma^2`` from the basis of the same images."""
    return basis - (images - centre) / sigma**2


def reconstruction(basis: Tensor, sigma: float, centre: Tensor | float = 0.0) -> Tensor:
    """The auto-encoder's output ``c + sigma^2 B(I)``: the mean of I's Gaussian piece."""
    return centre + sigma**2 * basis


class LinearPiece(NamedTuple):
    """``f(I') = alpha + <B, I'>`` for every I' with the same activation pattern.

    On that region p is ``N(c + sigma^2 B, sigma^2 1)``, restricted (Xie et al. 2016, theorem 1).
    """

    alpha: Tensor  # (N,) nats
    basis: Tensor  # (N, C, H, W) nats per grey level


def linear_piece(net: ConvNet, images: Tensor, weights: Weights, boundary: Boundary) -> LinearPiece:
    """The piece that images (N, C, H, W) lie in."""
    responses = net.forward(images, weights, boundary)
    size = (images.shape[-2], images.shape[-1])
    basis = net.decode(net.pattern(responses), weights, boundary, size)
    tilt = net.top(responses).flatten(1).sum(1)
    return LinearPiece(tilt - (basis * images).flatten(1).sum(1), basis)
