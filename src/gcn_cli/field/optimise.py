"""Adam, on all weights laid out in one vector."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gcn_cli.field.network import Weights

_EPSILON = 1e-8


@dataclass(frozen=True)
class Moments:
    """Running means (n,) of the gradient and of its square, and the number of updates so far."""

    first: Tensor
    second: Tensor
    count: int

    @staticmethod
    def zero(vector: Tensor) -> Moments:
        """Before the first update of ``vector`` (n,)."""
        return Moments(torch.zeros_like(vector), torch.zeros_like(vector), 0)


def flatten(tensors: list[Tensor]) -> Tensor:
    """All tensors in one vector (n,)."""
    return torch.cat([t.reshape(-1) for t in tensors])


def unflatten(vector: Tensor, like: Weights) -> Weights:
    """Weights whose tensors are views of ``vector`` (n,), with the shapes of ``like``."""
    tensors = like.tensors()
    pieces = torch.split(vector, [t.numel() for t in tensors])
    return like.of([p.view(t.shape) for p, t in zip(pieces, tensors, strict=True)])


def clipped(gradient: Tensor, most: float) -> Tensor:
    """The gradient (n,), shortened to a length of at most ``most``, with no wait for a device."""
    length = torch.linalg.vector_norm(gradient)
    shorter: Tensor = gradient * (most / length.clamp_min(most))
    return shorter


def adam(
    vector: Tensor,
    gradient: Tensor,
    moments: Moments,
    rate: Tensor | float,
    beta1: float,
    beta2: float,
) -> tuple[Tensor, Moments]:
    """One descent of Adam (Kingma and Ba 2015): the moved vector and the new moments.

    ``rate`` may differ from weight to weight: (n,) or a number.
    """
    count = moments.count + 1
    first = torch.lerp(moments.first, gradient, 1 - beta1)
    second = torch.lerp(moments.second, gradient.square(), 1 - beta2)
    size = (second / (1 - beta2**count)).sqrt_().add_(_EPSILON)
    step = first / size * (rate / (1 - beta1**count))
    return vector - step, Moments(first, second, count)


def averaged(average: Tensor, vector: Tensor, decay: float, count: int) -> Tensor:
    """The running mean (n,) after update ``count`` (from 1): short at first, then ``decay``."""
    return torch.lerp(average, vector, 1 - min(decay, count / (count + 10)))
