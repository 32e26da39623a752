"""Whether a seed's picture depends on other seeds, or on the number of threads.

    python benchmarks/same_bytes.py --ckpt runs/00000-stones --size 256x192 --threads 1 2

Draws a seed alone and among others with every number of threads, in float32 and bfloat16, and
prints the largest and the mean difference, grey levels, to the first picture. On a loaded machine
OMP_WAIT_POLICY=passive spares threads that wait for each other.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from gcn_cli.engine import Machine, choose_device
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.run.gallery import artist_of, draw
from gcn_cli.run.progress import NullProgress
from gcn_cli.run.sampling import Request, parse_seeds, parse_size


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ckpt", type=Path, required=True)
    parser.add_argument("--size", default="256")
    parser.add_argument("--seeds", default="0-2", help="the last one is compared")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--batch", type=int, help="as of gcn synthesize")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    saved, seeds = load_checkpoint(args.ckpt), parse_seeds(args.seeds)
    artist, (width, height) = artist_of(saved), parse_size(args.size)
    for dtype in (torch.float32, torch.bfloat16):
        machine, first = Machine(choose_device(args.device), dtype), None
        for threads in args.threads:
            torch.set_num_threads(threads)
            for wanted in (seeds[-1:], seeds):
                request = Request(width, height, wanted)
                batch = artist.batch(request, machine, args.batch)
                drawn = dict(draw(artist, request, machine, NullProgress(), batch))[seeds[-1]]
                first = drawn if first is None else first
                off = (drawn - first).abs()
                print(
                    f"{str(dtype).removeprefix('torch.')}, {threads} threads, {len(wanted)} seeds "
                    f"by {batch}: {off.max():.3g} at most, {off.mean():.3g} on average",
                    flush=True,
                )


if __name__ == "__main__":
    main()
