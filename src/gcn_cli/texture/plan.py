"""From a recipe and the pictures at hand to what is done at every size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from gcn_cli.errors import ImageError
from gcn_cli.field.network import NoiseNet
from gcn_cli.statistics.motif import coarsest_reduction, motif
from gcn_cli.texture.known import eroded, reduced_known
from gcn_cli.texture.pyramid import shrink
from gcn_cli.texture.recipe import Recipe

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
    sides: tuple[int, int] = (0, 0)
    """Height and width, px, of the pictures."""

    @property
    def total_updates(self) -> int:
        """Updates over all sizes and both acts."""
        return sum(sum(size.updates) for size in self.sizes)


def at_size(images: Tensor, reduction: int) -> Tensor:
    """Images (N, C, H, W) reduced, without aliasing."""
    return shrink(images, 1 / reduction)


def make_plan(recipe: Recipe, observed: Tensor, seed: int = 0, known: Tensor | None = None) -> Plan:
    """What the recipe comes to for images (N, C, H, W) in units of contrast.

    Of images of which pixels are unknown (``known`` (N, 1, H, W)), the coarsest size is the one at
    which a field of view of counting pixels is left.

    Raises:
        ImageError: images in which the network has no unit that sees no frame, at some size, or too
            little of which is known.
    """
    net = recipe.net(observed.shape[1])
    height, width = observed.shape[-2:]
    least = net.total_stride if recipe.place else _least_side(net)  # a torus has no frame
    if recipe.place and known is not None:
        raise ImageError("objects are learned whole; some pixels are transparent or masked")
    if recipe.place and (height % least or width % least):
        raise ImageError(
            f"objects of {width}x{height} px: both sides must be multiples of {least} px; set "
            "images.size"
        )
    chosen = recipe.sizes.coarsest
    if chosen is None:
        views = max(least, LEAST_VIEWS * net.receptive_field)
        chosen = coarsest_reduction(observed, net.receptive_field, views, known)
        while known is not None and chosen > 1 and _too_little(recipe, net, known, chosen):
            chosen //= 2
    if min(height, width) // chosen < least:
        at = f" reduced {chosen} times" if chosen > 1 else ""
        raise ImageError(
            f"the image is {width}x{height} px; the network sees windows of "
            f"{net.receptive_field} px, so both sides{at} must be at least {least} px"
        )
    if known is not None and _too_little(recipe, net, known, chosen):
        raise ImageError(_usable_text(recipe, net, known, chosen))
    reductions = [2**k for k in range(int(math.log2(chosen)), -1, -1)]
    sizes = [_size(recipe, net, min(height, width), chosen, r) for r in reductions]
    return Plan(recipe, net, tuple(sizes), motif(observed, known), seed, (height, width))


def known_at(known: Tensor, reduction: int) -> Tensor:
    """Known pixels (N, 1, h, w) of images that `at_size` reduced."""
    h, w = (max(1, round(n / reduction)) for n in known.shape[-2:])
    return reduced_known(known, (h, w))


def _surroundings(recipe: Recipe, net: NoiseNet) -> int:
    """How far around a pixel, px, all must be known for it to count in both acts."""
    return max(recipe.reconstruction.margin, net.receptive_field // 2 + net.total_stride)


def _usable(recipe: Recipe, net: NoiseNet, known: Tensor, reduction: int) -> Tensor:
    """Pixels (N, 1, h, w) of a size that both acts can learn from."""
    return eroded(known_at(known, reduction), _surroundings(recipe, net))


def _too_little(recipe: Recipe, net: NoiseNet, known: Tensor, reduction: int) -> bool:
    """Whether less is left than one field of view, or nothing that sees no frame."""
    usable, rim = _usable(recipe, net, known, reduction), net.receptive_field // 2
    inside = usable[..., rim : usable.shape[-2] - rim, rim : usable.shape[-1] - rim]
    return int(usable.sum()) < net.receptive_field**2 or not bool(inside.any())


def _usable_text(recipe: Recipe, net: NoiseNet, known: Tensor, reduction: int) -> str:
    share = float(_usable(recipe, net, known, reduction).double().mean())
    least = net.receptive_field**2 * reduction**2
    return (
        f"{share:.1%} of the picture can be learned from, pixels with "
        f"{reduction * _surroundings(recipe, net)} px of known ones all around them; at least "
        f"{least} px are needed"
    )


def _least_side(net: NoiseNet) -> int:
    """Side, px, of the smallest image with a unit of every vote that sees no frame."""
    margin, stride, least = net.receptive_field // 2, 1, net.receptive_field
    for spec in net.layers:
        stride *= spec.stride
        if spec.vote:
            least = max(least, (2 * -(-margin // stride) + 1) * stride)
    return -(-least // net.total_stride) * net.total_stride


def _size(recipe: Recipe, net: NoiseNet, side: int, coarsest: int, reduction: int) -> SizePlan:
    first, second, stride = recipe.reconstruction, recipe.likelihood, net.total_stride
    seen = side // reduction
    crop = min(first.crop, seen + 2 * min(first.margin, seen - 1)) // stride * stride
    if crop <= 2 * first.margin:
        raise ImageError(
            f"crops of {crop} px are all that {seen} px allow; a margin of {first.margin} px "
            "leaves nothing of them: lower reconstruction.margin"
        )
    # Its coarser samples, from which a finer size's chains start, are whole strides, too.
    step = stride * coarsest // reduction
    canvas = -(-max(second.canvas, net.receptive_field) // step) * step
    finer = reduction < coarsest
    levels = recipe.levels(1 if finer else 0)
    climbs = second.finer_updates if finer else second.updates
    updates = (first.finer_updates if finer else first.updates, climbs if len(levels) > 1 else 0)
    return SizePlan(reduction, levels, updates, crop, canvas)
