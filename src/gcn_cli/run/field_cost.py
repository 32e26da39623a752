"""What a plan of kind ``field`` will cost, before it is run: parameters, memory, time.

Time is measured, not guessed: the network takes a few steps and a few updates on the machine at
hand, and the rest is multiplication. Memory counts the maps that a step
and a gradient hold at once, and forgets the few hundred megabytes that PyTorch itself takes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gcn_cli.engine import FusedBasis, Machine, NoiseSource, Ranks
from gcn_cli.field.convnet import Boundary, ConvNet, initial_weights, map_weights
from gcn_cli.field.langevin import ChainState, run_langevin
from gcn_cli.run.course import Estimate, check_memory
from gcn_cli.texture.paper.learn import begin, learn
from gcn_cli.texture.paper.plan import Plan

_FIXED = 1e8  # multiply-adds per pass and layer: small maps keep the machine less busy
_LONG = 5.0  # seconds, from which on once must do
_CALIBRATION = 4  # timed steps, and updates; the first one warms caches up


def estimate(plan: Plan, observed: Tensor, machine: Machine) -> Estimate:
    """What learning from images (N, C, H, W) will take on this machine.

    Raises:
        DeviceError: more memory than there is.
    """
    full, shape = len(plan.stages) - 1, observed.shape
    memory = _bytes(plan, observed, machine.dtype)
    check_memory(memory, machine, "learning.count (chains), canvas or learning.observed_copies")
    step, update = _update_seconds(plan, observed, machine)
    whole = (plan.stages[full].learning.steps - 1) * step + update
    per_unit = whole / update_cost(plan, full, shape)
    seconds = sum(
        stage.learning.updates * update_cost(plan, number, shape) * per_unit
        for number, stage in enumerate(plan.stages)
    )
    return Estimate(plan.net.n_parameters(), memory, seconds)


def chain_bytes(net: ConvNet, size: tuple[int, int], boundary: Boundary, dtype: torch.dtype) -> int:
    """Memory of one chain while it takes a step: its maps up and down, and the image itself."""
    maps = net.map_sizes(size, boundary)
    inputs = sum(c * h * w for c, (h, w) in zip(net.in_channels(), maps[:-1], strict=True))
    outputs = sum(s.filters * h * w for s, (h, w) in zip(net.layers, maps[1:], strict=True))
    image = net.channels * size[0] * size[1]
    # a padded buffer and a plain map of everything, each way; chain, noise and basis are float32
    return 2 * (inputs + outputs) * dtype.itemsize + 5 * image * 4


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


def _update_seconds(plan: Plan, observed: Tensor, machine: Machine) -> tuple[float, float]:
    """Seconds of one Langevin step of the whole net, and of one update of one step, by trying."""
    chains = machine.ranks.part(range(plan.chains))
    shape = (len(chains), plan.net.channels, *plan.canvas)
    weights = map_weights(
        lambda t: t.to(machine.device),
        initial_weights(plan.net, torch.Generator().manual_seed(0)),
    )
    basis = FusedBasis(plan.net, shape, plan.boundary, machine.dtype, machine.device)
    state = ChainState(torch.zeros(shape, device=machine.device))
    noise = NoiseSource(0, chains, machine.device)
    basis.load(weights)
    ranks = machine.ranks
    step = _least(lambda: run_langevin(state, basis, plan.langevin, 1, noise)[0].images, ranks)
    mean = observed.mean((0, 2, 3))[:, None, None]
    course = learn(_trial(plan), observed, mean, begin(), machine)
    return step, _least(lambda: next(course)[0].chains.images, ranks)


def _trial(plan: Plan) -> Plan:
    """A few updates of one step of the whole net, from noise."""
    settings = replace(plan.stages[-1].learning, steps=1, updates=_CALIBRATION + 1)
    stage = replace(plan.stages[-1], learning=settings)
    return replace(plan, stages=(stage,), path_every=0)


def _least(work: Callable[[], Tensor], ranks: Ranks) -> float:
    """Seconds of the quickest of a few times, in all processes as many; of one that takes long."""
    least = ranks.agreed(_timed(work))
    return least if least > _LONG else min(least, *(_timed(work) for _ in range(_CALIBRATION - 1)))


def _timed(work: Callable[[], Tensor]) -> float:
    started = time.perf_counter()
    work().sum().item()  # a value read back waits for the device
    return time.perf_counter() - started


def _bytes(plan: Plan, observed: Tensor, dtype: torch.dtype) -> int:
    chains = plan.chains * chain_bytes(plan.net, plan.canvas, plan.boundary, dtype)
    h, w = observed.shape[-2:]
    boundary: Boundary = "bounded" if plan.boundary == "bounded" else "valid"
    maps = plan.net.map_sizes((h, w), boundary)[1:]
    seen = sum(s.filters * a * b for s, (a, b) in zip(plan.net.layers, maps, strict=True))
    # for the gradient autograd keeps every layer's map before and after its ReLU
    kept = 2 * seen * len(observed) * plan.observed_copies * dtype.itemsize
    return chains * 2 + kept
