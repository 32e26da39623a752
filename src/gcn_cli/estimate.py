"""What a plan will cost, before it is run: parameters, memory, time.

Time is measured, not guessed: one chain takes one step of every level on the machine at hand, and
the rest is multiplication. Expect a factor of two either way. Memory counts the maps that a step
and a gradient hold at once, and forgets the few hundred megabytes that PyTorch itself takes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from gcn_cli.core.fused import FusedBasis
from gcn_cli.core.network import Boundary, ConvNet, initial_weights
from gcn_cli.core.schedule import LevelPlan, Machine, Plan
from gcn_cli.experiment import update_cost
from gcn_cli.machine import free_memory

_BATCH_SHARE = 0.25  # of the free memory that one batch of fresh chains may take
_BATCH_BYTES = 2 * 2**30
_BATCH_MOST = 16
_CALIBRATION = 2  # timed steps; the first one warms caches up


@dataclass(frozen=True)
class Estimate:
    """Whole-run figures; ``memory`` in bytes."""

    parameters: int
    memory: int
    seconds: float


def estimate(plan: Plan, observed: Tensor, machine: Machine) -> Estimate:
    """What learning from images (N, C, H, W) will take on this machine."""
    seconds = sum(_level_seconds(level, machine) for level in plan.levels)
    memory = max(_level_bytes(level, observed, machine.dtype) for level in plan.levels)
    return Estimate(sum(lv.net.n_parameters() for lv in plan.levels), memory, seconds)


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


def _level_seconds(level: LevelPlan, machine: Machine) -> float:
    last = len(level.stages) - 1
    steps = level.stages[last].learning.steps
    # update_cost counts two passes of every chain per step: from there to seconds
    per_step = update_cost(level, last) / (steps + 3) / level.chains
    per_unit = _step_seconds(level, machine) / per_step
    updates = sum(
        stage.learning.updates * update_cost(level, number)
        for number, stage in enumerate(level.stages)
    )
    return updates * per_unit


def _step_seconds(level: LevelPlan, machine: Machine) -> float:
    """Seconds of one chain's step, by trying."""
    shape = (1, level.net.channels, *level.canvas)
    weights = initial_weights(level.net, torch.Generator().manual_seed(0))
    on_device = tuple(
        layer._replace(w=layer.w.to(machine.device), b=layer.b.to(machine.device))
        for layer in weights
    )
    basis = FusedBasis(level.net, shape, level.boundary, machine.dtype, machine.device)
    basis.load(on_device)
    images = torch.zeros(shape, device=machine.device)
    best = float("inf")
    for _ in range(_CALIBRATION):
        started = time.perf_counter()
        basis(images).sum().item()  # a value read back waits for the device
        best = min(best, time.perf_counter() - started)
    return best


def _level_bytes(level: LevelPlan, observed: Tensor, dtype: torch.dtype) -> int:
    chains = level.chains * chain_bytes(level.net, level.canvas, level.boundary, dtype)
    h, w = (max(1, round(n * level.scale)) for n in observed.shape[-2:])
    boundary: Boundary = "bounded" if level.boundary == "bounded" else "valid"
    maps = level.net.map_sizes((h, w), boundary)[1:]
    seen = sum(s.filters * a * b for s, (a, b) in zip(level.net.layers, maps, strict=True))
    # for the gradient autograd keeps every layer's map before and after its ReLU
    kept = 2 * seen * len(observed) * level.observed_copies * dtype.itemsize
    return chains * 2 + kept
