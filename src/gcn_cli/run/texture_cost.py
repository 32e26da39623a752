"""What a texture recipe costs: seconds by trying, memory and work by arithmetic."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import torch
from torch import Tensor

from gcn_cli.engine import Machine
from gcn_cli.field.network import NoiseNet
from gcn_cli.texture.denoise import WINDOW
from gcn_cli.texture.draw import Model
from gcn_cli.texture.learn import ACTS, Act, begin, learn
from gcn_cli.texture.plan import Plan, SizePlan

_TRIED = 6  # updates of reconstruction that are timed
_LONG = 2.0  # seconds of an update, from which on one must do
_LEVELS = 5  # levels of a chain, at least, that are timed
_KEPT_MAPS = 6  # maps of every layer that an update holds at once, with their gradients
_CHAIN_MAPS = 4  # the same of a chain's step


def update_work(plan: Plan, size: SizePlan, act: Act) -> float:
    """Multiply-adds of one update: passes up and down, and three times that with gradients."""
    recipe, net = plan.recipe, plan.net
    if size.reduction == plan.sizes[0].reduction and not recipe.place:
        net = replace(net, given=0)  # the coarsest size comes alone
    per_pixel = net.multiply_adds()
    if act == ACTS[0]:
        return 6 * per_pixel * recipe.reconstruction.batch * size.crop**2
    given, area = recipe.likelihood, size.canvas**2
    langevin = recipe.sampler.langevin if size.reduction > 1 else 0
    steps = 2 * (1 + langevin) * len(size.levels) * given.chains
    gradients = 3 * min(given.levels, len(size.levels)) * (given.chains + 1)
    return per_pixel * area * (steps + gradients)


def update_seconds(
    plan: Plan, observed: Tensor, machine: Machine, known: Tensor | None = None
) -> list[tuple[float, float]]:
    """Seconds of an update of either act, size by size, by a few updates at the planned sizes."""
    return [_tried(plan, size, observed, machine, known) for size in plan.sizes]


def total_seconds(plan: Plan, each: list[tuple[float, float]]) -> float:
    """Seconds of the whole plan, from those of each update."""
    return sum(
        updates * seconds
        for size, pair in zip(plan.sizes, each, strict=True)
        for updates, seconds in zip(size.updates, pair, strict=True)
    )


def _tried(
    plan: Plan, size: SizePlan, observed: Tensor, machine: Machine, known: Tensor | None
) -> tuple[float, float]:
    """Times on the size alone, its chain thinned out; a first round warms caches up."""
    thin = max(1, len(size.levels) // _LEVELS)
    given = plan.recipe.likelihood
    levels = max(1, round(given.levels / thin))
    likelihood = given.model_copy(update={"levels": levels})
    recipe = plan.recipe.model_copy(update={"likelihood": likelihood})
    climbs = min(1, size.updates[1])
    seconds = [0.0, 0.0]
    for updates in (1, _TRIED):
        trial = replace(size, levels=size.levels[::thin], updates=(updates, climbs))
        alone = replace(plan, recipe=recipe, sizes=(trial,))
        course = learn(alone, observed, begin(alone, machine.device), machine, known)
        for act in range(1 + climbs):
            started = time.perf_counter()
            next(course)
            seconds[act] = time.perf_counter() - started
        if machine.ranks.agreed(seconds[0]) > _LONG * updates:  # all go on, or none
            break
    return seconds[0] / updates, seconds[1] * len(size.levels) / len(size.levels[::thin])


def _maps(net: NoiseNet, area: float) -> float:
    """Numbers in all maps of one image of ``area`` px, votes included."""
    total = float(net.channels * area)
    for spec in net.layers:
        area /= spec.stride**2
        total += spec.filters * area * (2 if spec.vote else 1)
    return total


def learning_bytes(plan: Plan, dtype: torch.dtype) -> int:
    """Memory that an update holds, of the act that needs more."""
    recipe = plan.recipe
    crops = max(recipe.reconstruction.batch * size.crop**2 for size in plan.sizes)
    canvases = max((recipe.likelihood.chains + 1) * size.canvas**2 for size in plan.sizes)
    maps = _maps(plan.net, max(crops, canvases))
    weights = 4 * plan.net.n_parameters() * (8 + len(plan.sizes))
    return int(_KEPT_MAPS * maps * dtype.itemsize) + weights


def chain_bytes(model: Model, canvas: tuple[int, int], dtype: torch.dtype) -> int:
    """Memory of one chain on a canvas (H, W), px, while it takes a step."""
    area = math.prod(canvas)
    maps = _maps(model.net, min(area, WINDOW**2))
    return int(_CHAIN_MAPS * maps * dtype.itemsize) + 5 * model.net.channels * area * 4
