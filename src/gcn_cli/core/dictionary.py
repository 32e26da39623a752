"""First layers that start as a dictionary of the exemplar's patches, with thresholds.

Where filters start as white noise and biases as zero, half of all units are active in noise, and
what a few Langevin steps make of it is curls and dots. Centroids of whitened patches are what the
exemplar is composed of (blades, contours, grains), and behind thresholds they are silent where it
is not there. Spherical k-means on whitened patches: Coates & Ng 2012; sparse units in random
fields: Xie, Hu, Zhu & Wu 2015. They are weights like any others: learning moves them and their
biases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gcn_cli.core.patches import count_patches, random_patches, take_patches

_PATCHES = 50_000  # looked at, at most
_ROUNDS = 40
_JITTER = 1e-3  # of the first centroids, in standard deviations: no two stay alike, none is zero


@dataclass(frozen=True)
class DictionaryStart:
    """How a first layer starts.

    ``threshold``: its biases, below zero by so many standard deviations of the filters' responses
    to the exemplar under the Langevin noise.
    """

    threshold: float = 1.0


def draw_patches(images: Tensor, side: int, rng: torch.Generator) -> Tensor:
    """Patches (P, C * side^2) of images (N, C, H, W): all of them, or 50 000 drawn by lot.

    Images smaller than ``side`` are taken for tori.
    """
    wrap = min(images.shape[-2:]) < side
    count = count_patches(images, side, wrap)
    if count > _PATCHES:
        return random_patches(images, side, _PATCHES, rng, wrap)
    return take_patches(images, side, torch.arange(count), wrap).flatten(1)


def patch_filters(patches: Tensor, count: int, noise_sd: float, rng: torch.Generator) -> Tensor:
    """Filters (count, D) that answer to one cluster of patches each.

    Clusters are found by spherical k-means of whitened patches C^(-1/2) p, which count by their
    whitened norm: flat places do not make clusters of their noise. A filter is C^(-1/4) times the
    centroid, halfway between that, whose strokes are wide, and C^(-1/2) times it, which tells the
    cluster from all other patches (Fisher 1936), but makes grain of smooth places.

    Args:
        patches: (P, D), in any unit.
        count: of clusters; more than patches make copies.
        noise_sd: standard deviation of the noise whose covariance is added to C, same unit:
            what is weaker is not whitened.
        rng: on the CPU.
    """
    seen = patches.double()
    seen = seen - seen.mean(0)
    values, vectors = torch.linalg.eigh(seen.mT @ seen / len(seen))
    variances = values.clamp_min(0) + noise_sd**2
    white = (seen @ (vectors * variances.pow(-0.5) @ vectors.mT)).float()
    first = white[torch.randint(len(white), (count,), generator=rng)]
    centroids = _unit(first + _JITTER * torch.randn(first.shape, generator=rng))
    for _ in range(_ROUNDS):
        near = (white @ centroids.mT).argmax(1)  # a patch's length does not change which is nearest
        sums = torch.zeros_like(centroids).index_add_(0, near, white)
        centroids = torch.where(sums.norm(dim=1, keepdim=True) > 0, _unit(sums), centroids)
    filters: Tensor = centroids @ (vectors * variances.pow(-0.25) @ vectors.mT).float()
    return filters


def _unit(rows: Tensor) -> Tensor:
    unit: Tensor = rows / rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    return unit


def dictionary_layer(
    images: Tensor,
    shape: Sequence[int],
    *,
    sigma: float,
    threshold: float,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Filters (K, C, k, k) of ``shape`` and biases (K,) of a first layer, on the CPU.

    Filters have zero mean and answer to white noise of ``sigma`` with a standard deviation of
    sqrt(2), as in `initial_weights`.

    Args:
        images: observed (N, C, H, W), grey levels.
        shape: (K, C, k, k).
        sigma: Langevin's, grey levels.
        threshold: see `DictionaryStart`.
        rng: on the CPU.
    """
    count, _, side, _ = shape
    patches = draw_patches(images.detach().cpu().float(), side, rng)
    bank = patch_filters(patches, count, sigma, rng)
    bank = _unit(bank - bank.mean(1, keepdim=True)) * (2**0.5 / sigma)
    spread = (patches @ bank.mT).var(0, correction=0) + 2.0  # of the exemplar, of the noise
    return bank.reshape(shape), -threshold * spread.sqrt()
