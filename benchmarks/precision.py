"""Does bfloat16 sampling change the pictures' quality? The same checkpoints, both precisions.

    python benchmarks/precision.py --ckpt runs/00000-brick [--ckpt ...] [--seeds 0-5] [--size 256]

For every figure of `gcn evaluate`: its mean in float32, the mean change under bfloat16 from the
same seeds, and the spread from seed to seed in float32. A change well within the spread is none.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch

from gcn_cli.engine import Machine, choose_machine, describe
from gcn_cli.run.checkpoint import Checkpoint, load_checkpoint
from gcn_cli.run.gallery import artist_of, draw
from gcn_cli.run.progress import make_progress
from gcn_cli.run.sampling import Request, parse_seeds, parse_size
from gcn_cli.statistics.metrics import evaluate_texture

FIGURES = ("struct", "gram", "spectrum_db", "colour", "swd", "coherence")
Scores = dict[str, list[float]]


def scores(saved: Checkpoint, machine: Machine, size: tuple[int, int], seeds: list[int]) -> Scores:
    """Every figure of every seed's sample."""
    found: Scores = {name: [] for name in FIGURES}
    for seed in seeds:
        request = Request(size[0], size[1], (seed,))
        ((_, picture),) = draw(artist_of(saved), request, machine, make_progress(True), 1)
        told = evaluate_texture(saved.observed[0], picture[None]).as_dict()
        for name in FIGURES:
            found[name].append(float(told[name] or 0.0))
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--ckpt", type=Path, action="append", required=True)
    parser.add_argument("--seeds", default="0-5")
    parser.add_argument("--size", default="256")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    exact = choose_machine(args.device, "fp32")
    rough = Machine(exact.device, torch.bfloat16)
    print(describe(exact))
    print("checkpoint               figure        float32   change in bfloat16   seed to seed")
    for path in args.ckpt:
        saved, seeds = load_checkpoint(path), list(parse_seeds(args.seeds))
        one, two = (scores(saved, m, parse_size(args.size), seeds) for m in (exact, rough))
        for name in FIGURES:
            mean, change = statistics.mean(one[name]), statistics.mean(two[name])
            spread = statistics.stdev(one[name])
            print(f"{path.name:24s} {name:12s} {mean:8.3f} {change - mean:+18.3f} {spread:16.3f}")


if __name__ == "__main__":
    main()
