"""Langevin steps per second: the fused basis against a plain autograd loop, in one run.

    python benchmarks/bench_step.py [--batch 4] [--size 225] [--rounds 5]

The paper's texture net on a torus. "plain" is the usual way of energy-based-model code: float32,
weights tracked, `randn_like`. "convolutions" are the six convolutions of a step alone, in the same
layout, on maps that lie ready: what a step would cost if all else were free. The variants
alternate; medians and ratios are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from gcn_cli.engine import FusedBasis, NoiseSource, choose_device
from gcn_cli.field.convnet import ConvNet, LayerSpec, Weights, initial_weights, map_weights
from gcn_cli.field.langevin import ChainState, LangevinParams, run_langevin

Run = Callable[[int], Tensor]
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


def convolutions(
    batch: int, size: int, dtype: torch.dtype, device: torch.device, multiple: int = 1
) -> list[tuple[str, Callable[[], Tensor], int]]:
    """A step's convolutions, stride moved into the channels, on maps that lie ready.

    Each with its name and the multiply-adds that count; channels are filled up to a ``multiple``.
    """
    found: list[tuple[str, Callable[[], Tensor], int]] = []
    channels, side = NET.channels, size
    for number, spec in enumerate(NET.layers, 1):
        deep, taps = channels * spec.stride**2, -(-spec.size // spec.stride)
        side //= spec.stride
        work = batch * side**2 * spec.size**2 * channels * spec.filters
        for way, ins, outs in (("up", deep, spec.filters), ("down", spec.filters, deep)):
            ins, outs = (-(-k // multiple) * multiple for k in (ins, outs))  # noqa: PLW2901
            x = torch.randn(batch, ins, side + taps - 1, side + taps - 1, device=device)
            w = torch.randn(outs, ins, taps, taps, device=device)
            x, w = (t.to(dtype, memory_format=torch.channels_last) for t in (x, w))
            found.append((f"layer {number} {way}", partial(torch.conv2d, x, w), work))
        channels = spec.filters
    return found


def bare_convolutions(batch: int, size: int, dtype: torch.dtype, device: torch.device) -> Run:
    """One step's convolutions without anything between them."""
    calls = [call for _, call, _ in convolutions(batch, size, dtype, device)]

    def run(steps: int) -> Tensor:
        with torch.no_grad():
            for _ in range(steps):
                for call in calls:
                    last = call()
        return last

    return run


def timed(run: Callable[[], Tensor], device: torch.device) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def describe(device: torch.device) -> str:
    """The device's name; threads of a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


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
    bare = {
        name: bare_convolutions(args.batch, args.size, dtype, device)
        for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
    }
    variants: dict[str, Callable[[], Tensor]] = {
        "plain float32": lambda: plain_steps(images, weights, args.steps),
        "fused float32": lambda: fused_steps(images, weights, args.steps, torch.float32),
        "fused bfloat16": lambda: fused_steps(images, weights, args.steps, torch.bfloat16),
        "convolutions float32": lambda: bare["float32"](args.steps),
        "convolutions bfloat16": lambda: bare["bfloat16"](args.steps),
    }
    for run in variants.values():
        timed(run, device)
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(args.rounds):
        for name, run in variants.items():
            times[name].append(timed(run, device))
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    print(f"{args.batch} chains of {args.size} px, {describe(device)}")
    for name, middle in medians.items():
        rate = args.batch * args.steps / middle
        ratio = medians["plain float32"] / middle
        line = f"{name:22s} {rate:8.1f} image-steps/s   {ratio:5.2f} x plain"
        if name.startswith("fused"):
            share = medians[name.replace("fused", "convolutions")] / middle
            line += f"   {share:4.0%} of the convolutions alone"
        print(line)


if __name__ == "__main__":
    main()
