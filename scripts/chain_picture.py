"""One chain from noise to texture, and what the model reconstructs on the way.

    python scripts/chain_picture.py --ckpt runs/00007-brick --out docs/chain.jpg

Above y / sqrt(1 + s^2) at levels spread over the steps of all sizes, coarse ones enlarged; below
D(y, s), the last of which is the sample.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from gcn_cli.engine import Machine, NoiseSource
from gcn_cli.images.files import to_uint8
from gcn_cli.images.sheets import labelled_sheet
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.texture.draw import Model, draw


def strip(model: Model, side: int, seed: int, columns: int = 7) -> Tensor:
    """The sheet (3, H, W), of a torus of ``side`` px."""
    wanted = {round(k * (model.total_steps - 1) / (columns - 1)) for k in range(columns)}
    noise = NoiseSource(seed, (0,), torch.device("cpu"))
    steps = draw(model, (side, side), noise, Machine(noise.device), window=side)
    titles, above, below = [], [], []
    for number, step in enumerate(step for step in steps if step.s):
        if number in wanted:
            factor = model.sizes[step.size].reduction
            titles.append(f"s = {step.s:.2g} at 1/{factor}")
            assert step.reconstruction is not None  # the window is the canvas
            for row, y in (
                (above, step.y / math.sqrt(1 + step.s**2)),
                (below, step.reconstruction),
            ):
                grey = model.to_grey(y)[0].clamp(0, 255)
                row.append(grey.repeat_interleave(factor, -1).repeat_interleave(factor, -2))
    return labelled_sheet([("y", above), ("D", below)], titles)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ckpt", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=192, help="px, rounded up to the model's own")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = load_checkpoint(args.ckpt).model
    side = -(-args.size // model.multiple) * model.multiple
    sheet = to_uint8(strip(model, side, args.seed)).permute(1, 2, 0)
    Image.fromarray(sheet.numpy()).save(args.out, quality=90)


if __name__ == "__main__":
    main()
