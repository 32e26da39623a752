"""How the cost of a step grows: with pixels, with chains, with layers; and what learning adds.

    python benchmarks/bench_scaling.py [--device auto] [--precision auto] [--largest 2048]

Prints one table per axis. The first two keep the paper's texture net; "relative" is the time per
chain and pixel over that of the first row: 1 is linear. The last table splits one learning update
of a preset into its Langevin steps and the rest.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from gcn_cli.engine import (
    FusedBasis,
    Machine,
    NoiseSource,
    WindowedField,
    choose_machine,
    describe,
    likelihood_gradient,
    run_windowed,
)
from gcn_cli.field.convnet import ConvNet, LayerSpec, initial_weights, map_weights
from gcn_cli.field.langevin import ChainState, LangevinParams, run_langevin
from gcn_cli.field.likelihood import wrap_image
from gcn_cli.run.config import resolve
from gcn_cli.run.plan import Subject, build_plan

LAYERS = (LayerSpec(100, 15, 3), LayerSpec(64, 5), LayerSpec(30, 3))
PARAMS = LangevinParams(1.0, 0.3)
WINDOW = 1024


def seconds(run: Callable[[], object], machine: Machine, repeats: int) -> float:
    """Median time of a call, after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        run()
        if machine.device.type == "cuda":
            torch.cuda.synchronize(machine.device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def step_seconds(net: ConvNet, chains: int, side: int, machine: Machine, repeats: int = 3) -> float:
    """One Langevin step of ``chains`` tori of ``side`` px, windowed where synthesis would."""
    weights = map_weights(
        lambda t: t.to(machine.device), initial_weights(net, torch.Generator().manual_seed(0))
    )
    noise = NoiseSource(0, range(chains), machine.device)
    images = torch.zeros(chains, 3, side, side, device=machine.device)
    wide = WINDOW * net.total_stride
    if side > wide:
        field = WindowedField(net, weights, "torus", machine.dtype, machine.device, wide)
        state = ChainState(images)
        return seconds(lambda: run_windowed(state, field, PARAMS, 1, noise), machine, repeats)
    shape = (chains, 3, side, side)
    basis = FusedBasis(net, shape, "torus", machine.dtype, machine.device).load(weights)
    state = ChainState(images.contiguous(memory_format=torch.channels_last))
    return seconds(lambda: run_langevin(state, basis, PARAMS, 1, noise), machine, repeats)


def print_scaling(machine: Machine, largest: int) -> None:
    """Pixels, chains, layers."""
    net = ConvNet(LAYERS)
    print("side px   chains   ms a step   relative")
    first = 0.0
    side = 258  # multiples of the stride near powers of two
    while side <= largest * 1.02:
        one = step_seconds(net, 1, side, machine, 3 if side < 1500 else 1)
        first = first or one / side**2
        print(f"{side:7d} {1:8d} {1e3 * one:11.1f} {one / side**2 / first:10.2f}")
        side = side * 2
    for chains in (1, 2, 4, 8, 16):
        one = step_seconds(net, chains, 225, machine)
        first = one if chains == 1 else first
        print(f"{225:7d} {chains:8d} {1e3 * one:11.1f} {one / chains / first:10.2f}")
    print("\nlayers   ms a step (4 chains of 225 px)")
    for depth in (1, 2, 3):
        one = step_seconds(ConvNet(LAYERS[:depth]), 4, 225, machine)
        print(f"{depth:6d} {1e3 * one:11.1f}")


def print_updates(name: str, machine: Machine) -> None:
    """What one learning update costs beyond its Langevin steps."""
    plan = build_plan(resolve(name), Subject(3, 256, 256, 50.0))
    net, (height, width) = plan.net, plan.canvas
    weights = map_weights(
        lambda t: t.to(machine.device), initial_weights(net, torch.Generator().manual_seed(0))
    )
    step = step_seconds(net, plan.chains, height, machine)
    chains = torch.randn(plan.chains, 3, height, width, device=machine.device)
    seen = torch.randn(plan.observed_copies, 3, height, width, device=machine.device)
    unrolled = wrap_image(chains, net.receptive_field - 1)

    def learn() -> object:
        return likelihood_gradient(net, weights, seen, unrolled, "valid", machine.dtype).observed

    rest = seconds(learn, machine, 2)
    steps = plan.stages[-1].learning.steps * step
    print(f"\n{name}: Langevin ms   gradient ms   beyond the steps")
    print(f"{1e3 * steps:{len(name) + 13}.0f} {1e3 * rest:13.0f} {rest / (steps + rest):18.0%}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--largest", type=int, default=2048)
    parser.add_argument("--preset", default="frame")
    args = parser.parse_args()
    machine = choose_machine(args.device, args.precision)
    print(describe(machine))
    print_scaling(machine, args.largest)
    print_updates(args.preset, machine)


if __name__ == "__main__":
    main()
