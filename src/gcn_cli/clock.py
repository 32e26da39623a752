"""Time: what an update costs, how long a run will still take, and what to leave out when late."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from gcn_cli.config import AdamConfig, Config, LevelConfig
from gcn_cli.core.guard import StepInfo
from gcn_cli.core.level import LevelPlan, Plan, glimpse_size
from gcn_cli.core.matching import MatchInfo
from gcn_cli.core.schedule import LearningState
from gcn_cli.plan import haste

_LATE = 1.05  # expected time over the budget from which on updates are left out
_LOOK_UP = 700  # multiply-adds that take as long as reading a slope off its table, as measured
_PATCH_RESPONSES = 340_000  # chain pixels that take as long as what else a stage is learned from
_FIXED = 1e8  # per pass and layer: small maps keep the machine less busy
_FEWEST = 0.25  # share of a level's updates that is kept, however late


@dataclass
class Clock:
    """Estimates the time left from the work done since it was made.

    Args:
        shape: of the observed images (N, C, H, W).
        read: seconds that only grow.
    """

    shape: Sequence[int]
    read: Callable[[], float] = time.monotonic
    started: float = field(init=False)
    work: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.started = self.read()

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self.read() - self.started

    def add(self, plan: Plan, info: StepInfo | MatchInfo) -> None:
        """Count the update that ``info`` tells of as done."""
        level = plan.levels[info.level]
        if isinstance(info, MatchInfo):
            self.work += matching_cost(level)
            self.work += matching_draw_cost(plan, info.level) if info.update == 0 else 0
        else:
            self.work += update_cost(level, info.stage, self.shape)
            self.work += pool_cost(plan, info.level) if info.update == info.stage == 0 else 0

    def left(self, plan: Plan, state: LearningState) -> float:
        """Seconds until the plan is fulfilled."""
        ahead = 0.0
        for index, level in enumerate(plan.levels[state.level :], state.level):
            for number, stage in enumerate(level.stages):
                if index == state.level and number < state.stage:
                    continue
                current = index == state.level and number == state.stage
                todo = stage.learning.updates - (state.update if current else 0)
                ahead += todo * update_cost(level, number, self.shape)
            matched = len(state.matching) if index == state.level else 0
            ahead += (level.matching_stages - matched) * matching_cost(level)
            if not matched:
                ahead += matching_draw_cost(plan, index)
            if index > state.level or not state.weights:
                ahead += pool_cost(plan, index)
        return self.elapsed * ahead / max(self.work, 1e-9)

    def shortened(self, config: Config, plan: Plan, state: LearningState) -> Config | None:
        """The config with fewer updates ahead if, between two levels, the budget would not hold.

        Finished levels stay as they were, so that the state means the same under the new config.
        """
        if not config.budget or state.weights or state.complete(plan):
            return None
        left = self.left(plan, state)
        if self.elapsed + left <= _LATE * config.budget:
            return None
        keep = min(1.0, max(_FEWEST, (config.budget - self.elapsed) / left))
        first = len(config.levels) - len(plan.levels) + state.level  # small images drop levels
        ahead = [_with_fewer(level, keep, config.pace) for level in config.levels[first:]]
        return config.model_copy(update={"levels": (*config.levels[:first], *ahead)})


def _with_fewer(level: LevelConfig, keep: float, pace: float) -> LevelConfig:
    updates = max(1, round(level.learning.updates * keep))
    optimiser = level.learning.optimiser
    if isinstance(optimiser, AdamConfig):  # as at the lower pace that it comes to
        rate = optimiser.rate * haste(pace * keep) / haste(pace)
        optimiser = optimiser.model_copy(update={"rate": rate})
    learning = level.learning.model_copy(update={"updates": updates, "optimiser": optimiser})
    matching = level.matching
    if matching is not None:
        stages = max(1, round(matching.stages * keep))
        matching = matching.model_copy(update={"stages": stages})
    return level.model_copy(update={"learning": learning, "matching": matching})


def update_cost(level: LevelPlan, stage: int, shape: Sequence[int]) -> float:
    """Multiply-adds of one update: its Langevin steps and the gradient.

    Args:
        level: the plan of its level.
        stage: the stage of that level.
        shape: of the observed images (N, C, H, W), full size.
    """
    learning = level.stages[stage].learning
    depth = level.stages[stage].depth
    per_pass = _pass_cost(level, depth, level.canvas)
    sides = [max(1, round(n * level.scale)) for n in shape[-2:]]
    if level.boundary == "torus":
        sides = glimpse_size(level, sides)
    canvases = shape[0] * math.prod(sides) / math.prod(level.canvas)
    seen = level.chains + canvases * level.observed_copies
    fixed = _FIXED * depth
    steps = 2 * (per_pass * level.chains + fixed) * learning.steps
    return float(steps + 3 * (per_pass * seen + fixed))


def _pass_cost(level: LevelPlan, depth: int, canvas: tuple[int, int]) -> int:
    """Multiply-adds of one way through the first ``depth`` layers, on one canvas (H, W) there."""
    net = level.net.head(depth)
    sizes = net.map_sizes(canvas, level.boundary)[1:]
    return sum(
        spec.filters * c * spec.size**2 * h * w
        for spec, c, (h, w) in zip(net.layers, net.in_channels(), sizes, strict=True)
    )


def matching_cost(level: LevelPlan) -> float:
    """The work of one stage of a level's matching path, in the unit of `update_cost`."""
    params = level.matching
    if params is None:
        return 0.0
    return _stage_cost(level, params.chains * math.prod(params.canvas) + _PATCH_RESPONSES)


def _stage_cost(level: LevelPlan, pixels: int) -> float:
    """The work of driving so many pixels along one stage of a matching path."""
    if level.matching is None:
        return 0.0
    window = level.net.channels * max(level.matching.sizes) ** 2
    return float(pixels * level.matching.filters * (window + _LOOK_UP))


def pool_cost(plan: Plan, index: int) -> float:
    """The work of drawing the coarser samples that a level's chains are centred at.

    Drafts, where there are any, are made for the second level.
    """
    level = plan.levels[index]
    cost = _draw_cost(plan.drawn_before(index), level.pool, level.canvas, level.scale)
    return cost + (drafts_cost(plan) if index == 1 else 0.0)


def drafts_cost(plan: Plan) -> float:
    """The work of all drafts of the coarsest level, candidates included."""
    first, candidates = plan.levels[:1], plan.levels[0].sampler.candidates
    count = plan.levels[0].drafts
    return sum(_draw_cost(first, count, size, 1.0, candidates) for size in plan.draft_sizes)


def matching_draw_cost(plan: Plan, index: int) -> float:
    """The work of drawing the samples with which a level's matching path begins."""
    level = plan.levels[index]
    if level.matching is None:
        return 0.0
    before = _draw_cost(
        plan.drawn_before(index), level.matching.chains, level.matching.canvas, level.scale
    )
    bare = replace(level, matching=None)
    return before + _draw_cost([bare], level.matching.chains, level.matching.canvas, level.scale)


def _draw_cost(
    levels: Sequence[LevelPlan],
    chains: int,
    canvas: tuple[int, int],
    scale: float,
    candidates: int = 1,
) -> float:
    """The work of samples through some levels; ``canvas`` (H, W) is theirs at ``scale``."""
    total = 0.0
    for level in levels:
        height, width = (max(1, round(n * level.scale / scale)) for n in canvas)
        depth = len(level.net.layers)
        one_pass = _pass_cost(level, depth, (height, width)) * chains + _FIXED * depth
        total += 2 * one_pass * drawn_steps(level, candidates)
        stages = drawn_stages(level, candidates)
        total += stages * _stage_cost(level, chains * height * width)
    return total


def drawn_steps(level: LevelPlan, candidates: int = 1) -> int:
    """Langevin steps behind a fresh chain at a level, its matching path not counted.

    Every round of drawing places anew counts, though some samples need none.
    """
    updates = sum(stage.learning.updates for stage in level.stages)
    snapshots = -(-updates // level.path_every) if level.path_every else 0
    one = (snapshots + 1) * level.sampler.steps + level.sampler.polish
    return candidates * one + level.sampler.redraws * level.sampler.steps


def drawn_stages(level: LevelPlan, candidates: int = 1) -> int:
    """Steps along matching paths behind a fresh chain: once more where the chosen is redrawn."""
    again = candidates > 1 and level.sampler.redraws > 0
    return level.matching_stages * (candidates + again)


def plan_cost(plan: Plan, shape: Sequence[int]) -> float:
    """The work of a whole plan, in the unit of `update_cost`."""
    learning = sum(
        stage.learning.updates * update_cost(level, number, shape)
        for level in plan.levels
        for number, stage in enumerate(level.stages)
    )
    drawing = sum(pool_cost(plan, k) + matching_draw_cost(plan, k) for k in range(len(plan.levels)))
    matching = sum(level.matching_stages * matching_cost(level) for level in plan.levels)
    return learning + drawing + matching


def clock_text(seconds: float) -> str:
    """Seconds as 1h02m, 3m20s or 45s."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{secs:02d}s" if minutes else f"{secs}s"
