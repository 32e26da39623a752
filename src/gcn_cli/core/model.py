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
from gcn_cli.core.redraw import Gauge, measure_gauge
from gcn_cli.core.spot import make_spot


@dataclass(frozen=True)
class SamplerParams:
    """How a fresh chain of one level runs.

    It starts at the reference's centre plus ``start_noise`` grey levels of white noise. Where a
    learning path was kept, the chain takes ``steps`` steps under each of its snapshots, oldest
    first; then ``steps`` steps under the final weights, and ``polish`` steps at temperature 0,
    which end near the mean of the Gaussian piece that the chain reached. Of ``candidates`` such
    chains, fewer on large canvases, the one is kept that comes nearest to the observed images
    (`core.likeness`). In up to ``redraws`` rounds its unlikely places start again (`core.redraw`).

    The start has in addition ``start_spot`` times the exemplar's contrast of noise with the
    exemplar's power spectrum (`core.spot`).
    """

    steps: int
    start_noise: float = 0.0
    polish: int = 0
    candidates: int = 1
    start_spot: float = 0.0
    redraws: int = 0


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
    spot: Tensor | None = None
    """What the spot noise is made from (`core.spot`); needed where chains start with some."""
    gauge: Gauge | None = None
    """What places are found unlikely by; needed where some are drawn anew."""

    def segments(self) -> list[tuple[Weights, int, bool]]:
        """(weights, steps, hot) in the order that a fresh chain meets them."""
        runs = [(w, self.sampler.steps, True) for w in self.path]
        runs.append((self.weights, self.sampler.steps, True))
        if self.sampler.polish:
            runs.append((self.weights, self.sampler.polish, False))
        return runs

    def run_steps(self) -> int:
        """Langevin steps of one candidate before its matching path."""
        return sum(steps for _, steps, _ in self.segments())

    def total_steps(self) -> int:
        """Langevin steps of one candidate, those of the matching path included."""
        return self.run_steps() + len(self.matching)

    def redraw_steps(self, candidates: int) -> int:
        """Langevin steps that drawing places anew adds; the path is taken again after a choice."""
        if not self.sampler.redraws:
            return 0
        again = len(self.matching) if candidates > 1 else 0
        return self.sampler.redraws * self.sampler.steps + again


def informed(level: LevelModel, observed: Tensor) -> LevelModel:
    """The level with what its sampler must know of the exemplar: likeness, spot, gauge, if any.

    Args:
        level: with or without them.
        observed: images (N, C, H, W) at full size, mean colour subtracted.
    """
    if level.sampler.candidates > 1 and level.likeness is None:
        level = replace(level, likeness=measure(shrink(observed, level.scale)))
    if level.sampler.start_spot and level.spot is None:
        level = replace(level, spot=make_spot(shrink(observed, level.scale)))
    if level.sampler.redraws and level.gauge is None:
        seen, sigma = shrink(observed, level.scale), level.langevin.sigma
        level = replace(level, gauge=measure_gauge(level.net, level.weights, sigma, seen))
    return level


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
