"""Langevin steps on a CUDA card: against plain autograd code, and against what the card can do.

    python benchmarks/bench_cuda.py [--chains 16] [--size 225] [--rounds 7]

The paper's texture net on a torus. "plain" is the usual way of energy-based-model code, with the
device library's own defaults (TF32 convolutions); "operations" is the fused basis written with
PyTorch's operations; "replayed" are the product's kernels as one graph, which the product takes in
bfloat16 alone. The device library's convolutions of a step are timed alone, on maps that lie
ready, and set against the card's rate of a large matrix product. Times are medians of alternating
runs.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from bench_step import NET, PARAMS, convolutions, plain_steps
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from gcn_cli.engine import FusedBasis, NoiseSource
from gcn_cli.engine.device import DeviceBasis
from gcn_cli.engine.replay import Recording
from gcn_cli.field.convnet import Weights, initial_weights, map_weights
from gcn_cli.field.langevin import ChainState, run_langevin

STEPS = 10
CUDA = torch.device("cuda")
Run = Callable[[], object]


def milliseconds(run: Run, repeats: int = 1) -> float:
    """Device time of one call."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(repeats):
        run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / repeats


def kernels(run: Run) -> dict[str, tuple[int, float]]:
    """Kernels that a call launches: name to count and microseconds."""
    run()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        run()
        torch.cuda.synchronize()
    events = [e for e in seen.key_averages() if e.device_time_total > 0]
    return {e.key: (e.count, e.device_time_total) for e in events}


def steps_of(basis: FusedBasis | DeviceBasis, images: Tensor, weights: Weights) -> Run:
    """A run of steps as learning takes it, preparation of the filters included."""
    noise = NoiseSource(0, range(len(images)), CUDA)
    state = ChainState(images.contiguous(memory_format=torch.channels_last))
    return lambda: run_langevin(state, basis.load(weights), PARAMS, STEPS, noise)


def matrix_rate(dtype: torch.dtype, side: int = 8192) -> float:
    """TFLOP/s of a large matrix product on random data."""
    a, b = (torch.randn(side, side, device=CUDA, dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    return 2 * side**3 / milliseconds(lambda: a @ b, 10) / 1e9


def copy_rate() -> float:
    """TB/s of a copy within the card's memory, reads and writes counted."""
    a = torch.empty(2**32, dtype=torch.uint8, device=CUDA)
    b = torch.empty_like(a)
    b.copy_(a)
    return 2 * a.numel() / milliseconds(lambda: b.copy_(a), 5) / 1e9


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--chains", type=int, default=16)
    parser.add_argument("--size", type=int, default=225)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--search", action="store_true", help="let cuDNN search its algorithms")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device here: nothing to measure")
        return
    torch.backends.cudnn.benchmark = args.search
    rate = matrix_rate(torch.bfloat16)
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    print(f"bfloat16 matrix product {rate:.0f} TFLOP/s, copy {copy_rate():.2f} TB/s")
    generator = torch.Generator().manual_seed(0)
    weights = map_weights(lambda t: t.to(CUDA), initial_weights(NET, generator))
    images = torch.randn(args.chains, 3, args.size, args.size, generator=generator).to(CUDA)
    shape = (args.chains, 3, args.size, args.size)

    total, useful = 0.0, 0.0
    for name, call, work in convolutions(args.chains, args.size, torch.bfloat16, CUDA, 8):
        recorded = Recording(lambda call=call: (call(),), CUDA)
        for _ in range(2):  # launched, recorded
            recorded()
        ms = milliseconds(recorded, 20)
        total, useful = total + ms, useful + work
        share = 2 * work / ms / 1e9 / rate
        print(f"  {name:13s} {1e3 * ms:7.1f} us  {share:5.1%} of the matrix rate")
    share = 2 * useful / total / 1e9 / rate
    print(f"  all six       {1e3 * total:7.1f} us  {share:5.1%} of the matrix rate")

    variants: dict[str, Run] = {"plain": lambda: plain_steps(images, weights, STEPS)}
    settings = {
        "bfloat16": (torch.bfloat16, True),
        "tf32": (torch.float32, True),
        "float32": (torch.float32, False),
    }
    for name, (dtype, tf32) in settings.items():
        torch.backends.cudnn.allow_tf32 = tf32
        for label, kind in (("operations", FusedBasis), ("replayed", DeviceBasis)):
            run = steps_of(kind(NET, shape, "torus", dtype, CUDA), images, weights)
            variants[f"{label} {name}"] = _with_tf32(run, tf32)
    torch.backends.cudnn.allow_tf32 = True
    for run in variants.values():
        for _ in range(3):
            run()
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(args.rounds):
        for name, run in variants.items():
            times[name].append(milliseconds(run))
    medians = {name: statistics.median(values) / STEPS for name, values in times.items()}
    for name, ms in medians.items():
        launched = sum(count for count, _ in kernels(variants[name]).values()) / STEPS
        print(
            f"{name:20s} {ms:7.3f} ms a step  {medians['plain'] / ms:6.2f} x plain"
            f"  {launched:6.1f} kernels a step"
            f"  {2 * useful / ms / 1e9 / rate:5.1%} of the matrix rate"
        )
    print("where a replayed bfloat16 step goes:")
    found = kernels(variants["replayed bfloat16"])
    for key, (count, us) in sorted(found.items(), key=lambda kv: -kv[1][1])[:14]:
        print(f"  {us / STEPS:7.1f} us  {count / STEPS:4.1f} x  {key[:100]}")


def _with_tf32(run: Run, tf32: bool) -> Run:
    def go() -> None:
        torch.backends.cudnn.allow_tf32 = tf32
        run()
        torch.backends.cudnn.allow_tf32 = True

    return go


if __name__ == "__main__":
    main()
