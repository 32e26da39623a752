"""Time: what an update costs, and how long a run will still take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gcn_cli.core.field import Plan
from gcn_cli.core.guard import StepInfo
from gcn_cli.core.schedule import LearningState

_FIXED = 1e8  # per pass and layer: small maps keep the machine less busy


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

    def add(self, plan: Plan, info: StepInfo) -> None:
        """Count the update that ``info`` tells of as done."""
        self.work += update_cost(plan, info.stage, self.shape)

    def left(self, plan: Plan, state: LearningState) -> float:
        """Seconds until the plan is fulfilled."""
        ahead = 0.0
        for number in range(state.stage, len(plan.stages)):
            done = state.update if number == state.stage else 0
            todo = plan.stages[number].learning.updates - done
            ahead += todo * update_cost(plan, number, self.shape)
        return self.elapsed * ahead / max(self.work, 1e-9)


def update_cost(plan: Plan, stage: int, shape: Sequence[int]) -> float:
    """Multiply-adds of one update: its Langevin steps and the gradient.

    Args:
        plan: the whole of learning.
        stage: the stage of it.
        shape: of the observed images (N, C, H, W).
    """
    learning, depth = plan.stages[stage].learning, plan.stages[stage].depth
    per_pass = _pass_cost(plan, depth)
    canvases = shape[0] * math.prod(shape[-2:]) / math.prod(plan.canvas)
    seen = plan.chains + canvases * plan.observed_copies
    fixed = _FIXED * depth
    steps = 2 * (per_pass * plan.chains + fixed) * learning.steps
    return float(steps + 3 * (per_pass * seen + fixed))


def _pass_cost(plan: Plan, depth: int) -> int:
    """Multiply-adds of one way through the first ``depth`` layers, on one canvas."""
    net = plan.net.head(depth)
    sizes = net.map_sizes(plan.canvas, plan.boundary)[1:]
    return sum(
        spec.filters * c * spec.size**2 * h * w
        for spec, c, (h, w) in zip(net.layers, net.in_channels(), sizes, strict=True)
    )


def clock_text(seconds: float) -> str:
    """Seconds as 1h02m, 3m20s or 45s."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{secs:02d}s" if minutes else f"{secs}s"
