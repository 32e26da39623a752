"""What learning leaves behind: one field, or a pyramid of fields, ready to be sampled."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from gcn_cli.core.langevin import LangevinParams
from gcn_cli.core.likeness import Likeness, measure
from gcn_cli.core.matching import Stage
from gcn_cli.core.network import Boundary, ConvNet, Weights
from gcn_cli.core.pyramid import shrink


@dataclass(frozen=True)
class SamplerParams:
    """How a fresh chain of one level runs.

    It starts at the reference's centre plus ``start_noise`` grey levels of white noise. Where a
    learning path was kept, the chain takes ``steps`` steps under each of its snapshots, oldest
    first; then ``steps`` steps under the final weights, and ``polish`` steps at temperature 0,
    which end near the mean of the Gaussian piece that the chain reached. Of ``candidates`` such
    chains, fewer on large canvases, the one is kept that comes nearest to the observed images
    (`core.likeness`).
    """

    steps: int
    start_noise: float = 0.0
    polish: int = 0
    candidates: int = 1


@dataclass(frozen=True)
class LevelModel:
    """The random field of one pyramid level.

    ``scale`` is the side of this level's images over that of the full size; ``path`` holds
    snapshots of the weights taken while learning, shallower nets first where layers were grown.
    The reference is centred at ``centre_gain`` times the enlarged sample of the level below. A
    chain ends with one step under each stage of ``matching``.
    """

    net: ConvNet
    weights: Weights
    langevin: LangevinParams
    sampler: SamplerParams
    boundary: Boundary
    scale: float = 1.0
    path: tuple[Weights, ...] = ()
    centre_gain: float = 1.0
    matching: tuple[Stage, ...] = ()
    matching_noise: float = 0.0
    """Grey levels of white noise with which the matching path begins."""
    likeness: Likeness | None = None
    """What candidates are chosen by; needed where there are several."""

    def segments(self) -> list[tuple[Weights, int, bool]]:
        """(weights, steps, hot) in the order that a fresh chain meets them."""
        runs = [(w, self.sampler.steps, True) for w in self.path]
        runs.append((self.weights, self.sampler.steps, True))
        if self.sampler.polish:
            runs.append((self.weights, self.sampler.polish, False))
        return runs

    def total_steps(self) -> int:
        """Langevin steps of one candidate, those of the matching path included."""
        return sum(steps for _, steps, _ in self.segments()) + len(self.matching)


def with_likeness(level: LevelModel, observed: Tensor) -> LevelModel:
    """The level with what it chooses candidates by, where it has several.

    Args:
        level: with or without it.
        observed: images (N, C, H, W) at full size, mean colour subtracted.
    """
    if level.sampler.candidates == 1 or level.likeness is not None:
        return level
    return replace(level, likeness=measure(shrink(observed, level.scale)))


@dataclass(frozen=True)
class Model:
    """Levels from coarse to fine, and ``mean`` (C, 1, 1), the mean colour that was subtracted."""

    levels: tuple[LevelModel, ...]
    mean: Tensor

    @property
    def channels(self) -> int:
        """Colours of the images."""
        return self.levels[0].net.channels

    @property
    def multiple(self) -> int:
        """Sides of a torus must be multiples of this many px, on account of strides and levels."""
        return math.lcm(*(_multiple(level) for level in self.levels))

    @property
    def receptive_field(self) -> int:
        """Largest receptive field of any level, in px of the full size."""
        return max(math.ceil(lv.net.receptive_field / lv.scale) for lv in self.levels)


def every_draw(model: Model) -> Model:
    """The model without any choice among candidates."""
    return replace(
        model,
        levels=tuple(
            replace(level, sampler=replace(level.sampler, candidates=1)) for level in model.levels
        ),
    )


def _multiple(level: LevelModel) -> int:
    halved = 2 ** max((stage.octave for stage in level.matching), default=0)
    return math.lcm(level.net.total_stride, halved) * round(1 / level.scale)
