"""What is learned in which order: layers grown stage by stage, and how each stage learns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from gcn_cli.field.ascent import AdamParams, SgdParams
from gcn_cli.field.convnet import Boundary, ConvNet
from gcn_cli.field.langevin import LangevinParams
from gcn_cli.texture.paper.guard import GuardParams
from gcn_cli.texture.paper.model import SamplerParams

ChainKind = Literal["persistent", "restart", "data"]
"""Where the chains of an update start; see `gcn_cli.field.likelihood`."""


@dataclass(frozen=True)
class LearningParams:
    """One stage of learning."""

    updates: int
    steps: int
    chains: ChainKind
    optimiser: AdamParams | SgdParams
    fall: float = 1.0
    """Rate at the last update over the first, along half a cosine."""
    data_noise: float = 0.0
    """Standard deviation, in grey levels, of fresh noise on the observed images."""
    averaging: float = 0.0
    """Decay of the running mean of the weights that is kept for sampling; 0 keeps the last."""
    warmup: int = 0
    """Updates over which the rate rises linearly to its full height."""


def rate_factor(params: LearningParams, update: int) -> float:
    """The learning rate's course: a linear rise, then half a cosine from 1 to ``fall``."""
    rise = min(1.0, (update + 1) / (params.warmup + 1))
    way = 0.5 * (1 + math.cos(math.pi * update / max(1, params.updates)))
    return rise * (params.fall + (1 - params.fall) * way)


@dataclass(frozen=True)
class StagePlan:
    """A run of updates of the first ``depth`` layers."""

    depth: int
    learning: LearningParams


@dataclass(frozen=True)
class Plan:
    """The whole of learning; ``canvas`` (H, W) is the chains' size."""

    net: ConvNet
    boundary: Boundary
    langevin: LangevinParams
    sampler: SamplerParams
    chains: int
    canvas: tuple[int, int]
    stages: tuple[StagePlan, ...]
    observed_copies: int = 1
    init_std: float | None = None
    top_gain: float = 1.0
    path_every: int = 0
    seed: int = 0
    guard: GuardParams = field(default_factory=GuardParams)

    @property
    def total_updates(self) -> int:
        """Updates over all stages."""
        return sum(stage.learning.updates for stage in self.stages)
