"""What is learned in which order: layers grown stage by stage, and how each stage learns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from gcn_cli.field.ascent import AdamParams, SgdParams
from gcn_cli.field.convnet import Boundary, ConvNet
from gcn_cli.field.langevin import LangevinParams
from gcn_cli.field.values import key
from gcn_cli.texture.paper.guard import GuardParams
from gcn_cli.texture.paper.model import SamplerParams
from gcn_cli.texture.recipe import MOST_UPDATES

ChainKind = Literal["persistent", "restart", "data"]
"""Where the chains of an update start; see `gcn_cli.field.likelihood`."""


@dataclass(frozen=True)
class LearningParams:
    """How a field learns, at every stage of it; each stage has an optimiser's rate of its own."""

    updates: int = key("updates; where layers grow, of each stage", ge=1, le=MOST_UPDATES)
    steps: int = key("Langevin steps an update", ge=1, le=100_000)
    chains: ChainKind = key(
        "start: persistent, restart from noise, or data (contrastive divergence)"
    )
    count: int | None = key(
        "parallel chains; those at the data: one an image", None, kw_only=True, ge=1, le=4096
    )
    optimiser: Annotated[AdamParams | SgdParams, Field(discriminator="name")] = key(
        "how weights follow the gradient"
    )
    fall: float = key("last rate over the first", 1.0, gt=0, le=1)
    grow: bool = key("whether layers are added one by one", False, kw_only=True)
    grow_fall: float = key(
        "factor on the rate for every layer added", 0.5, kw_only=True, gt=0, le=1
    )
    data_noise: float = key("noise on observed images, in sigmas", 0.0, ge=0, le=1000)
    averaging: float = key(
        "decay an update of the mean of weights that draws; 0: the last ones", 0.0, ge=0, lt=1
    )
    warmup: int = key("updates over which the rate rises", 0, ge=0, le=MOST_UPDATES)
    observed_copies: int = key(
        "copies of the observed images, each with noise of its own", 1, kw_only=True, ge=1, le=256
    )
    path_every: int = key(
        "updates between snapshots that fresh chains pass; 0: none",
        0,
        kw_only=True,
        ge=0,
        le=MOST_UPDATES,
    )


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
