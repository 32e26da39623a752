"""Noise-free descents to the local modes of a density, and how many of them are found.

A local mode reconstructs itself: ``y = R(y)`` (Xie et al. 2016, section 4), R being ``sigma^2 B``
of the paper's field and ``D(., s)`` of a field at all noise levels. Descending is Langevin dynamics
without noise, ``y <- y + share (R(y) - y)``; of what is spoiled it is recall, as in a Hopfield
memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Moment(NamedTuple):
    """A descent after ``step`` steps: images (N, C, H, W) and their reconstructions R(y)."""

    step: int
    images: Tensor
    reconstructions: Tensor


@torch.no_grad()
def descend(
    reconstruct: Callable[[Tensor], Tensor], images: Tensor, steps: int, share: float = 1.0
) -> Iterator[Moment]:
    """Steps 0, 1, 2, 5, 10, 20, 50 ... of a descent and its last one, ``steps``."""
    told = {m * 10**k for k in range(7) for m in (1, 2, 5)} | {0, steps}
    for step in range(steps + 1):
        reconstructions = reconstruct(images)
        if step in told:
            yield Moment(step, images, reconstructions)
        images = torch.lerp(images, reconstructions, share)


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square differences (N,) of images (N, C, H, W)."""
    return (a - b).square().flatten(1).mean(1).sqrt()


def distinct(modes: Tensor, within: float) -> int:
    """How many of ``modes`` (N, C, H, W) lie ``within`` that RMS difference of none before them."""
    found: list[Tensor] = []
    for mode in modes:
        if all(float((mode - known).square().mean().sqrt()) > within for known in found):
            found.append(mode)
    return len(found)


def spoil(images: Tensor, how: str, generator: torch.Generator, noise: float = 0.5) -> Tensor:
    """Images (N, C, H, W) as they are (``whole``), or spoiled.

    ``noise``: white noise of ``noise`` times their deviation is added; ``hole``: the middle ninth
    is blank, at 0, their mean.
    """
    if how == "noise":
        z = torch.randn(images.shape, generator=generator).to(images)
        return images + noise * images.std() * z
    if how == "hole":
        h, w = images.shape[-2:]
        images = images.clone()
        images[..., h // 3 : 2 * h // 3, w // 3 : 2 * w // 3] = 0
    return images
