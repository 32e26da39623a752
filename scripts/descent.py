"""Noise-free descents of a paper's model from its own images, whole and spoiled.

A local mode reconstructs itself: I = sigma^2 B(I). Each row of the table is a moment of the
descent I <- I + eta (sigma^2 B(I) - I): how far the image then lies from its reconstruction, from
where the descent began, and from the image that was learned; root mean squares in grey levels,
means over the images.

    python scripts/descent.py runs/00000-textures --steps 2000 --out descent.png
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gcn_cli.engine import make_basis
from gcn_cli.field.descent import descend, spoil
from gcn_cli.images.files import save_png
from gcn_cli.images.sheets import labelled_sheet
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.texture.paper.model import Model

Reconstruct = Callable[[Tensor], Tensor]
_SHOWN = 6


def reconstruction_of(model: Model, shape: torch.Size, device: torch.device) -> Reconstruct:
    """Images (N, C, H, W) of that shape -> sigma^2 B of them."""
    weights = tuple(layer._replace(w=layer.w.float(), b=layer.b.float()) for layer in model.weights)
    n, c, h, w = shape
    basis = make_basis(model.net, (n, c, h, w), model.boundary, torch.float32, device)
    basis.load(weights)
    return lambda images: model.langevin.sigma**2 * basis(images)


def rms(images: Tensor) -> float:
    """Root mean square over all pixels."""
    return float(images.square().mean().sqrt())


@torch.no_grad()
def main() -> None:
    """Print the tables, draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    saved = load_checkpoint(args.run)
    model, known = saved.model, saved.observed - saved.mean
    print(f"contrast {float(known.std()):.1f} grey levels, eta {model.langevin.eta:g}")
    rows = [known]
    reconstruct = reconstruction_of(model, known.shape, known.device)
    for how in ("whole", "noise", "hole"):
        start = spoil(known, how, torch.Generator().manual_seed(0))
        print(f"\nfrom the images, {how}\n  step  |s2B - I|     moved  from the image")
        steps = descend(reconstruct, start, args.steps, model.langevin.eta)
        for step, images, output in steps:
            if step == 0 and how == "whole":
                rows.append(output)
            figures = (rms(output - images), rms(images - start), rms(images - known))
            print(f"{step:6d}" + "".join(f"{figure:11.3f}" for figure in figures))
        rows += [start, images] if how != "whole" else [images]
    if args.out:
        titles = [
            "I",
            "sigma^2 B(I)",
            "descent ends",
            "noisy",
            "descent ends",
            "hole",
            "descent ends",
        ]
        pictures = [
            [(row[k] + saved.mean).clamp(0, 255) for row in rows] for k in range(len(known))
        ]
        save_png(args.out, labelled_sheet([("", line) for line in pictures[:_SHOWN]], titles))


if __name__ == "__main__":
    main()
