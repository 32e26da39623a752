"""Patches of images and their distributions: what matching paths and candidates look at."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def count_patches(images: Tensor, side: int, wrap: bool) -> int:
    """How many patches of ``side`` px images (N, C, H, W) hold; tori with ``wrap``."""
    n, _, height, width = images.shape
    edge = 0 if wrap else side - 1
    return int(n * (height - edge) * (width - edge))


def take_patches(images: Tensor, side: int, pick: Tensor, wrap: bool) -> Tensor:
    """Patches number ``pick`` (P,) of images (N, C, H, W), as (P, C, side, side)."""
    _, _, height, width = images.shape
    edge = 0 if wrap else side - 1
    pick = pick.to(images.device)
    x, rest = pick % (width - edge), pick // (width - edge)
    y, which = rest % (height - edge), rest // (height - edge)
    offset = torch.arange(side, device=images.device)
    y, x = (y[:, None] + offset) % height, (x[:, None] + offset) % width
    cut: Tensor = images[which[:, None, None], :, y[:, :, None], x[:, None, :]]  # (P, p, p, C)
    return cut.permute(0, 3, 1, 2)


def random_patches(
    images: Tensor, side: int, count: int, rng: torch.Generator, wrap: bool
) -> Tensor:
    """``count`` random patches (P, C * side^2) of images (N, C, H, W), tori with ``wrap``."""
    pick = torch.randint(count_patches(images, side, wrap), (count,), generator=rng)
    return take_patches(images, side, pick, wrap).flatten(1)


def quantiles(values: Tensor, number: int) -> Tensor:
    """Evenly spaced quantiles (K, number) of the rows of ``values`` (K, P)."""
    ordered = _ordered(values)
    count = values.shape[1]
    place = (torch.arange(number, device=values.device) + 0.5) * (count / number)
    return ordered[:, place.long().clamp_max(count - 1)]


def _ordered(values: Tensor) -> Tensor:
    """The rows of ``values`` (K, P), each in order."""
    if values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64):
        # Without the places that PyTorch's sort keeps beside the values: four times as fast.
        return torch.from_numpy(np.sort(values.detach().numpy(), axis=1))
    return values.sort(1).values
