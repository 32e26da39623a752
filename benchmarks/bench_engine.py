"""The default recipe's engine against plain autograd code, on the same work, in one run.

    python benchmarks/bench_engine.py [--rounds 5] [--threads 1] [--size 256]

Of the preset's network and numbers: the gradient of one update of reconstruction, of one update of
likelihood (its chain included), and one step of a sample's chain. "plain" is float32 code as one
writes it first, `gcn_cli.field` and autograd; the engine runs in the precision that ``auto`` picks.
Variants alternate; printed are medians of processor time (summed over threads), their ratios, and
the convolutions' share of the engine's time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from gcn_cli.engine import Engine, choose_machine, describe, open_engine
from gcn_cli.field.ladder import Gradient, reconstruct, step_down
from gcn_cli.field.learning import likelihood_gap, reconstruction_loss
from gcn_cli.field.network import NoiseNet, Weights, initial_weights
from gcn_cli.run.config import resolve
from gcn_cli.texture.recipe import Recipe

Run = Callable[[], object]


@dataclass(frozen=True)
class Plain:
    """What `Engine` does, by the reference's own functions and autograd."""

    net: NoiseNet

    def opened(self, weights: Weights) -> Gradient:
        """Grad h as autograd finds it, weights tracked."""
        tracked = weights.map(lambda t: t.clone().requires_grad_(True))

        def gradient(z: Tensor, s: Tensor) -> Tensor:
            leaf = z.detach().requires_grad_(True)
            responses = self.net.forward(leaf, s, tracked, "torus")
            return torch.autograd.grad(self.net.output(responses, tracked).sum(), leaf)[0]

        return gradient

    def reconstruction(self, x: Tensor, z: Tensor, s: Tensor, weights: Weights, m: int) -> object:
        """The gradient of the loss, inside a margin ``m``."""
        leaves = weights.map(lambda t: t.clone().requires_grad_(True))
        loss = reconstruction_loss(self.net, x, z, s, leaves, m)
        return torch.autograd.grad(loss, leaves.tensors())

    def likelihood(self, x: Tensor, y: Tensor, s: Tensor, weights: Weights, m: int) -> object:
        """The gradient of the gap, inside a margin ``m``."""
        leaves = weights.map(lambda t: t.clone().requires_grad_(True))
        gap = likelihood_gap(self.net, x, y, float(s), leaves, m)
        return torch.autograd.grad(gap, leaves.tensors())


def works(
    engine: Engine | Plain, recipe: Recipe, weights: Weights, device: torch.device, size: int
) -> dict[str, Run]:
    """The three pieces of work."""
    net, first, second = engine.net, recipe.reconstruction, recipe.likelihood
    generator = torch.Generator().manual_seed(1)

    def normal(n: int, side: int) -> Tensor:
        return torch.randn(n, net.channels, side, side, generator=generator).to(device)

    x, noise = (normal(first.batch, first.crop) for _ in range(2))
    s = torch.linspace(0.1, 2, first.batch, device=device)
    canvas, margin = second.canvas, net.receptive_field // 2
    window = (canvas + 2 * margin) // net.total_stride * net.total_stride
    chains, observed, large = normal(second.chains, canvas), normal(1, window), normal(1, size)
    ladder = recipe.levels(0).tolist()
    every, opened = max(1, len(ladder) // second.levels), engine.opened(weights)

    def step(gradient: Gradient, y: Tensor, s: float, below: float) -> Tensor:
        d = reconstruct(gradient, y, torch.full((len(y),), s, device=device))
        return step_down(y, d, s, below, torch.randn_like(d))

    def climb() -> None:
        y, gradient, count = chains * ladder[0], engine.opened(weights), 0
        for k, (s, below) in enumerate(pairwise(ladder), 1):
            y = step(gradient, y, s, below)
            if k % every == 0 and count < second.levels:
                told, count = torch.full((), below, device=device), count + 1
                engine.likelihood(observed, y, told, weights, margin)

    def rebuild() -> None:
        engine.reconstruction(x, noise, s, weights, first.margin)

    return {
        "reconstruction, an update": rebuild,
        "likelihood, an update": climb,
        f"sampler, a step at {size} px": lambda: step(opened, large, 1.0, 0.8),
    }


def seconds(run: Run, device: torch.device) -> float:
    """Of one call; on a CPU those of the process, which a busy machine falsifies less."""
    cuda = device.type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    started, _ = clock(), run()
    torch.cuda.synchronize(device) if cuda else None
    return clock() - started


def convolutions(run: Run) -> float:
    """Their share of a call's time on a CPU, by the operations' own time."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        run()
    told = [(e.key, e.self_cpu_time_total) for e in seen.key_averages()]
    return sum(t for key, t in told if "conv" in key.lower()) / sum(t for _, t in told)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    machine, recipe = choose_machine(args.device), resolve("texture")
    assert isinstance(recipe, Recipe)
    net, device = recipe.net(3), machine.device
    weights = initial_weights(net, torch.Generator().manual_seed(0)).map(lambda t: t.to(device))
    engines = (Plain(net), open_engine(net, device, machine.dtype))
    plain, fast = (works(engine, recipe, weights, device, args.size) for engine in engines)
    print(describe(machine))
    for name, run in fast.items():
        for each in (plain[name], run, run, run):  # on CUDA: launched, recorded, replayed
            each()
        pairs = [(seconds(plain[name], device), seconds(run, device)) for _ in range(args.rounds)]
        slow, quick = (1e3 * statistics.median(times) for times in zip(*pairs, strict=True))
        line = f"{name:27s} plain {slow:8.1f} ms   engine {quick:8.1f} ms   {slow / quick:5.2f} x"
        print(line + ("" if device.type == "cuda" else f"   convolutions {convolutions(run):4.0%}"))


if __name__ == "__main__":
    main()
