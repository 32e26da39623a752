"""What a plan will cost, before it is run: parameters, memory, time.

Time is measured, not guessed: every level takes a few steps and a few updates on the machine at
hand, and the rest is multiplication. Memory counts the maps that a step
and a gradient hold at once, and forgets the few hundred megabytes that PyTorch itself takes.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import TypeVar

import torch
from torch import Tensor

from gcn_cli.clock import drawn_stages, drawn_steps, update_cost
from gcn_cli.config import Config
from gcn_cli.core.fused import FusedBasis
from gcn_cli.core.langevin import ChainState, run_langevin
from gcn_cli.core.level import LevelPlan, Machine, Plan
from gcn_cli.core.matching import MatchingParams, learn_stage, push
from gcn_cli.core.network import Boundary, ConvNet, initial_weights, map_weights
from gcn_cli.core.noise import NoiseSource
from gcn_cli.core.schedule import begin, learn
from gcn_cli.machine import free_memory

_BATCH_SHARE = 0.25  # of the free memory that one batch of fresh chains may take
_BATCH_BYTES = 2 * 2**30
_BATCH_MOST = 16
_CALIBRATION = 4  # timed steps, and updates; the first one warms caches up
_KINDS = 4  # of a matching path's stages; they take turns
_LEAST_PACE = 0.1  # below it nothing is learned, whatever the budget


T = TypeVar("T")


@dataclass(frozen=True)
class Estimate:
    """Whole-run figures; ``memory`` in bytes."""

    parameters: int
    memory: int
    seconds: float


def estimate(plans: Sequence[Plan], observed: Tensor, machine: Machine) -> Estimate:
    """What learning under all plans, one after the other, will take on this machine.

    ``parameters`` are those of the first plan; images are (N, C, H, W).
    """
    speeds = _speeds(plans, observed, machine)
    memory = max(_level_bytes(level, observed, machine.dtype) for level in speeds)
    parameters = sum(level.net.n_parameters() for level in plans[0].levels)
    return Estimate(parameters, memory, sum(_plan_seconds(plan, speeds) for plan in plans))


def chain_bytes(net: ConvNet, size: tuple[int, int], boundary: Boundary, dtype: torch.dtype) -> int:
    """Memory of one chain while it takes a step: its maps up and down, and the image itself."""
    maps = net.map_sizes(size, boundary)
    inputs = sum(c * h * w for c, (h, w) in zip(net.in_channels(), maps[:-1], strict=True))
    outputs = sum(s.filters * h * w for s, (h, w) in zip(net.layers, maps[1:], strict=True))
    image = net.channels * size[0] * size[1]
    # a padded buffer and a plain map of everything, each way; chain, noise and basis are float32
    return 2 * (inputs + outputs) * dtype.itemsize + 5 * image * 4


def fitting_batch(levels: list[tuple[ConvNet, tuple[int, int], Boundary]], machine: Machine) -> int:
    """How many fresh chains to run at once so that memory stays moderate."""
    most = max(chain_bytes(net, size, boundary, machine.dtype) for net, size, boundary in levels)
    allowed = min(_BATCH_SHARE * free_memory(machine.device), _BATCH_BYTES)
    return int(min(_BATCH_MOST, max(1, allowed // most)))


def fit_budget(config: Config, plans: Sequence[Plan], observed: Tensor, machine: Machine) -> Config:
    """The config with which this machine keeps ``config.budget``.

    Optional levels are left out one by one while the rest would take too long; where that is not
    enough, the pace falls. Of several trials only the pace falls: they differ in these levels. The
    time is measured before learning begins, so that the course of learning is a function of
    the config alone, also after a resume.
    """
    if not config.budget:
        return config
    speeds = _speeds(plans, observed, machine)
    expected = sum(_plan_seconds(plan, speeds) for plan in plans)
    if config.trials == 1:
        (plan,) = plans
        first = len(config.levels) - len(plan.levels)  # small images have no coarse levels
        while expected > config.budget:
            index = _least_missed(config, first)
            if index is None:
                break
            config = config.model_copy(update={"levels": _without(config.levels, index)})
            plan = replace(plan, levels=_without(plan.levels, index - first))
            expected = _plan_seconds(plan, speeds)
    if expected <= config.budget:
        return config
    pace = float(f"{config.pace * config.budget / expected:.2g}")
    return config.model_copy(update={"pace": max(pace, _LEAST_PACE * config.pace)})


def _least_missed(config: Config, first: int) -> int | None:
    """Which optional level to leave out: the last one of the scale that has the most of them.

    Of scales with as many, the coarser one's: what is missing at the full size shows most.
    Level ``first``, the coarsest of the plan, stays: it makes images of noise.
    """
    optional = [k for k, level in enumerate(config.levels) if level.optional and k > first]
    if not optional:
        return None
    alike = Counter(config.levels[k].reduce for k in optional)
    reduce = [level.reduce for level in config.levels]
    return max(optional, key=lambda k: (alike[reduce[k]], reduce[k], k))


def _without(levels: tuple[T, ...], index: int) -> tuple[T, ...]:
    return (*levels[:index], *levels[index + 1 :])


def _speeds(plans: Sequence[Plan], observed: Tensor, machine: Machine) -> dict[LevelPlan, Speed]:
    """Every distinct level; what costs the same is timed once."""
    levels = {level: None for plan in plans for level in plan.levels}
    tried = Tried(observed, machine)
    return {level: _speed(level, tried) for level in levels}


class Tried:
    """Times measured on a machine, kept for all that costs the same."""

    def __init__(self, observed: Tensor, machine: Machine) -> None:
        self.observed, self.machine = observed, machine
        self._updates: dict[tuple[object, ...], tuple[float, float]] = {}
        self._stages: dict[tuple[MatchingParams, int], tuple[float, float]] = {}

    def update(self, level: LevelPlan) -> tuple[float, float]:
        """Seconds of one Langevin step of the whole net, and of one update of one step."""
        learning = level.stages[-1].learning
        maps = (level.net, level.scale, level.boundary, level.chains, level.canvas)
        work = (level.observed_copies, level.glimpse, learning.chains, type(learning.optimiser))
        key = (*maps, *work)
        if key not in self._updates:
            self._updates[key] = _update_seconds(level, self.observed, self.machine)
        return self._updates[key]

    def stage(self, params: MatchingParams, channels: int) -> tuple[float, float]:
        """Seconds of learning one stage of a matching path, and of one step per pixel."""
        if params.stages > _KINDS:
            params = replace(params, stages=_KINDS + 1, spectrum=0, start_noise=0.0)
        key = (params, channels)
        if key not in self._stages:
            self._stages[key] = _stage_seconds(params, channels, self.machine)
        return self._stages[key]


@dataclass(frozen=True)
class Speed:
    """Measured seconds of one level."""

    learning: float
    """of all its updates"""
    step: float = 0.0
    """of one Langevin step, per pixel of its chains"""
    stage: float = 0.0
    """of learning one stage of its matching path"""
    push: float = 0.0
    """of one step along that path, per pixel"""


def _plan_seconds(plan: Plan, speeds: dict[LevelPlan, Speed]) -> float:
    """Learning, matching, and drawing the samples that both start from."""
    first, drafts = plan.levels[:1], plan.levels[0].drafts
    candidates = plan.levels[0].sampler.candidates
    total = sum(
        _draw_seconds(first, speeds, drafts, size, 1.0, candidates) for size in plan.draft_sizes
    )
    for index, level in enumerate(plan.levels):
        speed, before = speeds[level], plan.drawn_before(index)
        total += speed.learning
        total += _draw_seconds(before, speeds, level.pool, level.canvas, level.scale)
        params = level.matching
        if params is not None:
            pixels = params.chains * math.prod(params.canvas)
            total += params.stages * (speed.stage + pixels * speed.push)
            total += pixels * drawn_steps(level) * speed.step
            total += _draw_seconds(before, speeds, params.chains, params.canvas, level.scale)
    return total


def _draw_seconds(
    levels: Sequence[LevelPlan],
    speeds: dict[LevelPlan, Speed],
    chains: int,
    canvas: tuple[int, int],
    scale: float,
    candidates: int = 1,
) -> float:
    """Seconds for samples through some levels; ``canvas`` (H, W) is theirs at ``scale``."""
    total = 0.0
    for level in levels:
        pixels = chains * math.prod(canvas) * (level.scale / scale) ** 2
        speed = speeds[level]
        steps, stages = drawn_steps(level, candidates), drawn_stages(level, candidates)
        total += pixels * (steps * speed.step + stages * speed.push)
    return total


def _speed(level: LevelPlan, tried: Tried) -> Speed:
    full, shape = len(level.stages) - 1, tried.observed.shape
    whole = update_cost(level, full, shape)
    step, update = tried.update(level)
    per_unit = ((level.stages[-1].learning.steps - 1) * step + update) / whole
    learning = sum(
        stage.learning.updates * update_cost(level, number, shape) * per_unit
        for number, stage in enumerate(level.stages)
    )
    stage, push = 0.0, 0.0
    if level.matching is not None:
        stage, push = tried.stage(level.matching, level.net.channels)
    per_pixel = step / (level.chains * math.prod(level.canvas))
    return Speed(learning, per_pixel, stage, push)


def _stage_seconds(params: MatchingParams, channels: int, machine: Machine) -> tuple[float, float]:
    """Seconds of learning one stage, and of one step per pixel, by trying a round of the kinds."""
    chains = torch.zeros(params.chains, channels, *params.canvas, device=machine.device)
    stages = {params.turn(stage).kind: stage for stage in range(min(_KINDS, params.stages))}
    paths = [learn_stage(params, stage, chains[:1], chains, 0)[0] for stage in stages.values()]
    push(paths[0], chains, machine.dtype)  # the first call is slower
    learning = fmean(_timed(partial(_mismatch, params, n, chains)) for n in stages.values())
    pushing = fmean(_timed(partial(push, path, chains, machine.dtype)) for path in paths)
    return learning, pushing / (params.chains * math.prod(params.canvas))


def _mismatch(params: MatchingParams, stage: int, chains: Tensor) -> Tensor:
    return learn_stage(params, stage, chains[:1], chains, 0)[1]


def _update_seconds(level: LevelPlan, observed: Tensor, machine: Machine) -> tuple[float, float]:
    """Seconds of one Langevin step of the whole net, and of one update of one step, by trying."""
    shape = (level.chains, level.net.channels, *level.canvas)
    weights = map_weights(
        lambda t: t.to(machine.device),
        initial_weights(level.net, torch.Generator().manual_seed(0)),
    )
    basis = FusedBasis(level.net, shape, level.boundary, machine.dtype, machine.device)
    state = ChainState(torch.zeros(shape, device=machine.device))
    noise = NoiseSource(0, range(level.chains), machine.device)
    basis.load(weights)
    step = min(
        _timed(lambda: run_langevin(state, basis, level.langevin, 1, noise)[0].images)
        for _ in range(_CALIBRATION)
    )
    mean = observed.mean((0, 2, 3))[:, None, None]
    course = learn(_trial(level), observed, mean, begin(), machine)
    return step, min(_timed(lambda: next(course)[0].chains.images) for _ in range(_CALIBRATION))


def _trial(level: LevelPlan) -> Plan:
    """A few updates of one step of the whole net, from noise."""
    settings = replace(level.stages[-1].learning, steps=1, updates=_CALIBRATION + 1)
    stage = replace(level.stages[-1], learning=settings)
    return Plan((replace(level, stages=(stage,), path_every=0, drafts=0, matching=None),))


def _timed(work: Callable[[], Tensor]) -> float:
    started = time.perf_counter()
    work().sum().item()  # a value read back waits for the device
    return time.perf_counter() - started


def _level_bytes(level: LevelPlan, observed: Tensor, dtype: torch.dtype) -> int:
    chains = level.chains * chain_bytes(level.net, level.canvas, level.boundary, dtype)
    h, w = (max(1, round(n * level.scale)) for n in observed.shape[-2:])
    boundary: Boundary = "bounded" if level.boundary == "bounded" else "valid"
    maps = level.net.map_sizes((h, w), boundary)[1:]
    seen = sum(s.filters * a * b for s, (a, b) in zip(level.net.layers, maps, strict=True))
    # for the gradient autograd keeps every layer's map before and after its ReLU
    kept = 2 * seen * len(observed) * level.observed_copies * dtype.itemsize
    return chains * 2 + kept
