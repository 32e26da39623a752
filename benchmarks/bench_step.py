"""Langevin steps per second: the fused basis against a plain autograd loop, in one run.

    python benchmarks/bench_step.py [--batch 4] [--size 225] [--rounds 5]

The paper's texture net on a torus. "plain" is the usual way of energy-based-model code: float32,
weights tracked, `randn_like`. The variants alternate; medians and ratios are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from gcn_cli.core.fused import FusedBasis
from gcn_cli.core.langevin import ChainState, LangevinParams, run_langevin
from gcn_cli.core.network import ConvNet, LayerSpec, Weights, initial_weights, map_weights
from gcn_cli.core.noise import NoiseSource
from gcn_cli.machine import choose_device

NET = ConvNet((LayerSpec(100, 15, 3), LayerSpec(64, 5), LayerSpec(30, 3)))
PARAMS = LangevinParams(1.0, 0.3)


def plain_steps(images: Tensor, weights: Weights, steps: int) -> Tensor:
    """Steps as public code writes them."""
    tracked = map_weights(lambda t: t.clone().requires_grad_(True), weights)
    for _ in range(steps):
        leaf = images.detach().requires_grad_(True)
        energy = leaf.square().sum() / 2 - NET.tilt(leaf, tracked, "torus").sum()
        (grad,) = torch.autograd.grad(energy, leaf)
        images = leaf - PARAMS.eps**2 / 2 * grad + PARAMS.eps * torch.randn_like(leaf)
    return images.detach()


def fused_steps(images: Tensor, weights: Weights, steps: int, dtype: torch.dtype) -> Tensor:
    """The product's own loop, preparation of the filters included."""
    n, c, h, w = images.shape
    basis = FusedBasis(NET, (n, c, h, w), "torus", dtype, images.device).load(weights)
    noise = NoiseSource(0, range(n), images.device)
    state = ChainState(images.contiguous(memory_format=torch.channels_last))
    return run_langevin(state, basis, PARAMS, steps, noise)[0].images


def timed(run: Callable[[], Tensor], device: torch.device) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=225)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device = choose_device(args.device)
    generator = torch.Generator().manual_seed(0)
    weights = map_weights(lambda t: t.to(device), initial_weights(NET, generator))
    images = torch.randn(args.batch, 3, args.size, args.size, generator=generator).to(device)
    variants: dict[str, Callable[[], Tensor]] = {
        "plain float32": lambda: plain_steps(images, weights, args.steps),
        "fused float32": lambda: fused_steps(images, weights, args.steps, torch.float32),
        "fused bfloat16": lambda: fused_steps(images, weights, args.steps, torch.bfloat16),
    }
    for run in variants.values():
        timed(run, device)
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(args.rounds):
        for name, run in variants.items():
            times[name].append(timed(run, device))
    base = statistics.median(times["plain float32"])
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        rate = args.batch * args.steps / middle
        print(f"{name:15s} {rate:8.1f} image-steps/s   {base / middle:5.2f} x plain")


if __name__ == "__main__":
    main()
