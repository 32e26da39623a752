"""The likelihood equations, and what they say of a field when they do not hold.

At the maximum of likelihood (Xie et al. 2016, section 5) the mean of df/dw over what was observed
is that over the model's own images,

    E_obs[ df/dw ] = E_model[ df/dw ]

one equation a weight, at every noise level. For a vote's weight v the derivative is the mean
response of its map, so that its equations are FRAME's: marginal statistics agree.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gcn_cli.field.learning import inside_output
from gcn_cli.field.network import Boundary, NoiseNet, Weights, beside


def moments(
    net: NoiseNet,
    y: Tensor,
    s: float,
    weights: Weights,
    boundary: Boundary,
    margin: int = 0,
    given: Tensor | None = None,
) -> Weights:
    """``df_s/dw`` per pixel, mean over images y (N, C, H, W), of the shapes of the weights.

    Of a torus all units count, of a bounded canvas (``frame``) those more than ``margin`` px
    inside; ``given`` (N, G, H, W) comes beside y.
    """
    leaves = weights.map(lambda t: t.detach().requires_grad_(True))
    told = torch.full((len(y),), s, dtype=y.dtype, device=y.device)
    z = beside(y / math.sqrt(1 + s**2), given)
    with torch.enable_grad():
        tilt = inside_output(net, z, told, leaves, boundary, margin).mean() / s
        return leaves.of(list(torch.autograd.grad(tilt, leaves.tensors())))


def blocks(net: NoiseNet, told: Weights) -> dict[str, Tensor]:
    """Moments (P,) by the weights they belong to: ``layer 1`` ..., mixers, votes, biases.

    Biases are told by what is added to them at every level (`Weights.rest`).
    """
    found = {f"layer {k + 1}": told.filters[k].flatten() for k in range(len(net.layers))}
    found["mixers"] = torch.cat([m.flatten() for m in told.mixers])
    found["votes"] = torch.cat([v.flatten() for v in told.votes])
    found["biases"] = told.rest.flatten()
    return found


class Equation(NamedTuple):
    """How far a block of equations is from holding, over the norm of the data's own moment.

    ``distance`` is ``|m_obs - m_model| / |m_obs|``, ``error`` what it would be by Monte-Carlo error
    alone, root mean square: of equal laws the distance is about the error, never 0.
    """

    distance: float
    error: float

    @property
    def errors(self) -> float:
        """The distance in Monte-Carlo errors; about 1 where the equations hold."""
        return self.distance / max(self.error, 1e-30)

    @property
    def excess(self) -> float:
        """What of the distance the error does not explain: 0 where the equations hold."""
        return math.sqrt(max(0.0, self.distance**2 - self.error**2))


def equation(observed: Tensor, synthesized: Tensor) -> Equation:
    """Of independent moments (n, P) observed and (m, P) of the model's images; n and m above 1.

    ``E |m_obs - m_model|^2 = |difference|^2 + tr C_obs / n + tr C_model / m``, the traces estimated
    from the scatter of the moments themselves.
    """
    means = observed.mean(0), synthesized.mean(0)
    noise = sum(float(t.double().var(0).sum()) / len(t) for t in (observed, synthesized))
    norm = max(float(means[0].norm()), 1e-30)
    return Equation(float((means[0] - means[1]).norm()) / norm, math.sqrt(noise) / norm)
