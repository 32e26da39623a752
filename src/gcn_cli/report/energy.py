"""What the paper's density says of pictures: U, its two parts, the linear piece, the score.

By the functions of `gcn_cli.field.energy` themselves, in double precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gcn_cli.field.convnet import map_weights
from gcn_cli.field.energy import energy, linear_piece, reference_energy, score
from gcn_cli.texture.paper.model import Model


@dataclass(frozen=True)
class EnergyFacts:
    """Means over pictures, in nats per pixel.

    ``energy = reference - tilt`` and ``tilt = alpha + inner_product``, the latter being <B, I>.
    ``score`` is the root mean square of d log p / dI, in nats per grey level: 0 at a local mode.
    """

    energy: float
    reference: float
    tilt: float
    alpha: float
    inner_product: float
    score: float


@torch.no_grad()
def energy_facts(model: Model, images: Tensor) -> EnergyFacts:
    """Of pictures (N, C, H, W) in grey levels, on the model's own kind of canvas.

    A torus is cut to multiples of the stride; its opposite sides meet, which a photograph's do not.
    """
    h, w = images.shape[-2:]
    if model.boundary == "torus":
        h, w = (n // model.multiple * model.multiple for n in (h, w))
    centred = (images[..., :h, :w] - model.mean).double()
    weights = map_weights(torch.Tensor.double, model.weights)
    sigma, pixels = model.langevin.sigma, h * w
    whole = energy(model.net, centred, weights, model.boundary, sigma)
    alpha, basis = linear_piece(model.net, centred, weights, model.boundary)
    inner_product = (basis * centred).flatten(1).sum(1)

    def mean(values: Tensor) -> float:
        return float(values.mean()) / pixels

    return EnergyFacts(
        energy=mean(whole),
        reference=mean(reference_energy(centred, sigma)),
        tilt=mean(alpha + inner_product),
        alpha=mean(alpha),
        inner_product=mean(inner_product),
        score=float(score(basis, centred, sigma).square().mean().sqrt()),
    )
