"""Where one learning update's time goes: plain autograd code against the product's own.

    python benchmarks/profile_update.py [--threads 1]

Ten Langevin steps of four 225 px chains of the paper's texture net and one gradient, on the CPU;
operations by their own share of the time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from bench_step import NET, fused_steps, plain_steps
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from gcn_cli.engine import likelihood_gradient
from gcn_cli.field.convnet import Weights, initial_weights, map_weights
from gcn_cli.field.likelihood import parameters, wrap_image

STEPS, SHOWN = 10, 9


def plain_update(images: Tensor, weights: Weights) -> None:
    """As public code writes it."""
    made = plain_steps(images, weights, STEPS)
    live = map_weights(lambda t: t.clone().requires_grad_(True), weights)
    gap = NET.tilt(images, live, "torus").mean() - NET.tilt(made, live, "torus").mean()
    torch.autograd.grad(gap, parameters(live))


def fused_update(images: Tensor, weights: Weights) -> None:
    """The product's own path, in bfloat16."""
    made = fused_steps(images, weights, STEPS, torch.bfloat16)
    unrolled = wrap_image(made, NET.receptive_field - 1)
    likelihood_gradient(NET, weights, images, unrolled, "valid", torch.bfloat16)


def show(name: str, run: Callable[[], None]) -> None:
    """Profile one call after another."""
    run()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        run()
    events = sorted(seen.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(e.self_cpu_time_total for e in events)
    print(f"{name}: {total / 1e3:.0f} ms")
    for event in events[:SHOWN]:
        print(f"  {event.self_cpu_time_total / total:6.1%}  {event.count:4d} x  {event.key}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    generator = torch.Generator().manual_seed(0)
    weights = initial_weights(NET, generator)
    images = torch.randn(4, 3, 225, 225, generator=generator)
    show("plain float32", lambda: plain_update(images, weights))
    show("fused bfloat16", lambda: fused_update(images, weights))


if __name__ == "__main__":
    main()
