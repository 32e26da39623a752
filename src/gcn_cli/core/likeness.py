"""How like the observed images a sample's patches are: what candidates are chosen by.

A canvas of a few motifs shows, by chance, more of one kind and less of another than the exemplar
does, and that chance is the larger part of a sample's distance from it. Where several candidates
are drawn at a level, the nearest in these statistics is kept: the law of the samples becomes the
field's, conditioned on being the nearest of so many independent draws.

Statistics are those that see shapes: the distribution of correlations between patches and a few of
the exemplar's own, that of the patches' contrast, and the second moments of rectified random
filters. All are counted in units of what the exemplar's own halves differ by.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.core.matching import halve
from gcn_cli.core.noise import generator
from gcn_cli.core.patches import count_patches, quantiles, take_patches

_SIDE = 7  # px of a patch
_TEMPLATES, _FILTERS, _QUANTILES = 64, 48, 64
_PATCHES = 16384  # looked at in one image, at most
_OCTAVES, _LEAST = 3, 48  # at most so many, of which each shows so many px of the exemplar or more
_FADE = 0.1  # of the patches' rms contrast, below which their direction is noise
_SEED = 20160619


class Octave(NamedTuple):
    """What is known of the exemplar at one octave; D = C * side^2."""

    templates: Tensor  # (K, D), free of their mean colour, unit norm
    filters: Tensor  # (F, D), scaled to unit rms of responses
    fade: Tensor  # (), grey levels times sqrt(D)
    seen: tuple[Tensor, ...]  # quantiles (K, Q), (1, Q) and moments (F, F)
    floor: tuple[Tensor, ...]  # distances between the exemplar's halves, one for each of ``seen``

    def to(self, device: torch.device) -> Octave:
        """The same on another device."""
        return Octave(
            self.templates.to(device),
            self.filters.to(device),
            self.fade.to(device),
            tuple(part.to(device) for part in self.seen),
            tuple(part.to(device) for part in self.floor),
        )


class Likeness(NamedTuple):
    """Statistics of observed images, fine octave first.

    ``side`` px of a patch; ``area`` px of one image.
    """

    side: int
    area: int
    octaves: tuple[Octave, ...]


@torch.no_grad()
def measure(observed: Tensor) -> Likeness:
    """Statistics of observed images (N, C, H, W), grey levels."""
    side, area = min(_SIDE, *observed.shape[-2:]), observed.shape[-2] * observed.shape[-1]
    octaves = [_octave(observed, side, 0)]
    while len(octaves) < _OCTAVES and min(observed.shape[-2:]) >= 2 * _LEAST:
        observed = halve(observed, wrap=False)
        octaves.append(_octave(observed, side, len(octaves)))
    return Likeness(side, area, tuple(octaves))


def draws(likeness: Likeness | None, candidates: int, size: tuple[int, int]) -> int:
    """How many candidates a canvas of ``size`` (H, W) is worth.

    All of them up to twice the exemplar's area; on larger canvases, where chance averages out,
    as many as cover the same area.

    Raises:
        ValueError: there are candidates, and nothing to choose them by.
    """
    if candidates == 1:
        return 1
    if likeness is None:
        raise ValueError("there are candidates, and nothing to choose them by")
    return max(1, min(candidates, round(candidates * 2 * likeness.area / (size[0] * size[1]))))


@torch.no_grad()
def unlikeness(likeness: Likeness, images: Tensor) -> Tensor:
    """Distance (N,) of every torus (N, C, H, W) from the observed images.

    0 is equality; the exemplar's own halves are at 1 from each other.
    """
    return torch.stack([_distance(likeness, image[None]) for image in images])


def _distance(likeness: Likeness, image: Tensor) -> Tensor:
    parts: list[Tensor] = []
    for number, octave in enumerate(likeness.octaves):
        if number:
            image = halve(image, wrap=True)
        here = octave.to(image.device)
        found = _describe(here, _patches(image, likeness.side, wrap=True))
        apart = _apart(found, here.seen)
        parts += [d / f for d, f in zip(apart, here.floor, strict=True)]
    return torch.stack(parts).mean()


def _octave(observed: Tensor, side: int, number: int) -> Octave:
    patches = _patches(observed, side, wrap=False)
    rng = generator(_SEED, "likeness", number)
    pick = torch.randperm(len(patches), generator=rng)[:_TEMPLATES].to(patches.device)
    filters = torch.randn(_FILTERS, patches.shape[1], generator=rng).to(patches)
    spread = (filters @ patches.T).square().mean(1, keepdim=True).sqrt()
    octave = Octave(
        F.normalize(patches[pick], dim=1),
        filters / (spread + 1e-3),
        _FADE * patches.square().sum(1).mean().sqrt() + 1e-3,
        (),
        (),
    )
    return octave._replace(seen=_describe(octave, patches), floor=_floor(octave, observed, side))


def _floor(octave: Octave, observed: Tensor, side: int) -> tuple[Tensor, ...]:
    """What left and right, upper and lower half differ by; 1 where a half holds no patch."""
    found = []
    for dim in (-2, -1):
        half = observed.shape[dim] // 2
        if half < side:
            return (torch.ones((), device=observed.device),) * 3
        pair = [observed.narrow(dim, at, half) for at in (0, observed.shape[dim] - half)]
        one, other = (_describe(octave, _patches(part, side, wrap=False)) for part in pair)
        found.append(_apart(one, other))
    return tuple(torch.stack(both).mean().clamp_min(1e-4) for both in zip(*found, strict=True))


def _describe(octave: Octave, patches: Tensor) -> tuple[Tensor, ...]:
    """Quantiles of correlations (K, Q) and contrast (1, Q), moments (F, F) of patches (P, D)."""
    contrast = patches.norm(dim=1, keepdim=True)
    alike = octave.templates @ (patches / (contrast + octave.fade)).T
    responses = (octave.filters @ patches.T).relu()
    moments = responses @ responses.T / len(patches)
    return quantiles(alike, _QUANTILES), quantiles(contrast.T, _QUANTILES), moments


def _apart(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    alike, contrast, moments = zip(one, other, strict=True)
    return (
        (alike[0] - alike[1]).abs().mean(),
        (contrast[0] - contrast[1]).abs().mean(),
        (moments[0] - moments[1]).norm() / moments[1].norm().clamp_min(1e-6),
    )


def _patches(images: Tensor, side: int, wrap: bool) -> Tensor:
    """Patches (P, C * side^2) of images (N, C, H, W), each less its mean colour."""
    total = count_patches(images, side, wrap)
    pick = torch.arange(total)
    if total > _PATCHES:
        pick = torch.randint(total, (_PATCHES,), generator=generator(_SEED, "patches", total))
    patches = take_patches(images, side, pick, wrap)
    return (patches - patches.mean((2, 3), keepdim=True)).flatten(1)
