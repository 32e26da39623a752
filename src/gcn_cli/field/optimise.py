"""What moves the weights, laid out in one vector: Adam, and Muon for filters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gcn_cli.field.network import Weights

_EPSILON = 1e-8
_ROUNDS = 5
_QUINTIC = (3.4445, -4.7750, 2.0315)  # steepest at 0 of those that keep (0, 1] near 1
_LENGTH = 0.2  # root mean square of a weight's step at rate 1: about that of Adam's


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


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix (m, n) with its singular values brought near 1.

    Newton-Schulz rounds ``p(X X^T) X``, p a quadratic (Jordan et al. 2024), taken on the Gram
    matrix of the shorter side, so that no round but the last touches the longer one.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    a, b, c = _QUINTIC
    x = matrix / torch.linalg.matrix_norm(matrix).clamp_min(_EPSILON)
    gram, one = x @ x.T, torch.eye(len(x), dtype=x.dtype, device=x.device)
    total = one
    for _ in range(_ROUNDS):
        p = a * one + b * gram + c * gram @ gram
        total, gram = p @ total, p @ gram @ p
    step: Tensor = total @ x
    return step


def muon(
    vector: Tensor,
    gradient: Tensor,
    moments: Moments,
    like: Weights,
    rate: float,
    beta1: float,
    beta2: float,
) -> tuple[Tensor, Moments]:
    """One descent of filters and mixers by Muon (Jordan et al. 2024), of all else by `adam`.

    Every filter bank, as a matrix of one row a filter, steps along its averaged gradient made
    `orthogonal`: all directions that the gradient knows count alike, however faint. ``like`` gives
    the shapes of ``vector`` (n,), filters and mixers first.
    """
    banks = [*like.filters, *like.mixers]
    sizes = [t.numel() for t in banks]
    n = sum(sizes)
    rest = Moments(moments.first[n:], moments.second[n:], moments.count)
    moved, rest = adam(vector[n:], gradient[n:], rest, rate, beta1, beta2)
    first = torch.lerp(moments.first[:n], gradient[:n], 1 - beta1)
    ahead = torch.lerp(gradient[:n], first, beta1)  # Nesterov's look ahead
    steps = []
    for bank, g in zip(banks, torch.split(ahead, sizes), strict=True):
        step = orthogonal(g.view(len(bank), -1))
        steps.append(step.flatten() * (_LENGTH * math.sqrt(max(step.shape))))
    vector = torch.cat([vector[:n] - rate * torch.cat(steps), moved])
    first, second = torch.cat([first, rest.first]), torch.cat([moments.second[:n], rest.second])
    return vector, Moments(first, second, rest.count)


def averaged(average: Tensor, vector: Tensor, decay: float, count: int) -> Tensor:
    """The running mean (n,) after update ``count`` (from 1): short at first, then ``decay``."""
    return torch.lerp(average, vector, 1 - min(decay, count / (count + 10)))
