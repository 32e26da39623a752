"""From a recipe and the pictures at hand to what is done at every size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from gcn_cli.core.pyramid import shrink
from gcn_cli.errors import ImageError
from gcn_cli.field.network import NoiseNet
from gcn_cli.texture.motif import coarsest_reduction, motif
from gcn_cli.texture.recipe import Recipe

BORDER = 48
"""Pixels of mirrored border around the exemplar, at every size."""
LEAST_VIEWS = 2
"""Fields of view that the exemplar holds side by side at its coarsest size, at least."""


@dataclass(frozen=True)
class SizePlan:
    """One size: pictures reduced ``reduction`` times; lengths in px there."""

    reduction: int
    levels: Tensor
    updates: tuple[int, int]  # of the two acts
    crop: int
    canvas: int


@dataclass(frozen=True)
class Plan:
    """The whole of learning: what is done at every size, from coarse to fine."""

    recipe: Recipe
    net: NoiseNet
    sizes: tuple[SizePlan, ...]
    motif: float
    """Diameter, px, of the exemplar's largest motifs: what the coarsest size was chosen by."""
    seed: int = 0

    @property
    def total_updates(self) -> int:
        """Updates over all sizes and both acts."""
        return sum(sum(size.updates) for size in self.sizes)


def at_size(images: Tensor, reduction: int) -> Tensor:
    """Images (N, C, H, W) reduced, without aliasing."""
    return shrink(images, 1 / reduction)


def make_plan(recipe: Recipe, observed: Tensor, seed: int = 0) -> Plan:
    """What the recipe comes to for images (N, C, H, W).

    Raises:
        ImageError: images smaller than the field of view.
    """
    net = recipe.net(observed.shape[1])
    side = min(observed.shape[-2:])
    if side < net.receptive_field:
        raise ImageError(
            f"the image is {observed.shape[-1]}x{observed.shape[-2]} px; the network sees windows "
            f"of {net.receptive_field} px, so both sides must be at least {net.receptive_field} px"
        )
    chosen = recipe.sizes.coarsest
    if chosen is None:
        chosen = coarsest_reduction(
            observed, net.receptive_field, LEAST_VIEWS * net.receptive_field
        )
    reductions = [2**k for k in range(int(math.log2(chosen)), -1, -1)]
    sizes = [_size(recipe, net, side, index, r) for index, r in enumerate(reductions)]
    return Plan(recipe, net, tuple(sizes), motif(observed), seed)


def _size(recipe: Recipe, net: NoiseNet, side: int, index: int, reduction: int) -> SizePlan:
    stride = net.total_stride
    seen = side // reduction
    crop = min(recipe.reconstruction.crop, seen + 2 * min(BORDER, seen - 1)) // stride * stride
    canvas = recipe.likelihood.canvas // (2 * stride) * (2 * stride)
    first, second = recipe.reconstruction, recipe.likelihood
    updates = (first.updates, second.updates)
    if index:
        updates = (first.finer_updates, second.finer_updates)
    return SizePlan(reduction, recipe.levels(index), updates, crop, canvas)
