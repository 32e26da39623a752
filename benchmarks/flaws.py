"""How well flaws are found in parts of a texture that its model never saw.

    python benchmarks/flaws.py --images textures --out flaws

Every exemplar's left two thirds are learned by ``gcn train``, below DIR; what is there is not
learned again. In its right third a flaw is planted at a random place, --each times of every kind:

    foreign    a square of another exemplar
    scratch    a bright line, 3 px wide, twice as long as the square
    blurred    a square under a Gaussian of 2 px
    rotated    a square turned by a quarter

and every pixel is judged by the map of ``gcn score --map``. The figure is the area under the ROC
curve of the map against the flaw's pixels: 0.5 is chance, 1 perfect. The baseline is the distance
of the patch around every second pixel to the nearest patch of what was learned from, under the same
Gaussian. Writes DIR/flaws.json and DIR/flaws.png, prints a table.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from held_out import learn, seen, unseen
from torch import Tensor

from gcn_cli.engine import choose_machine
from gcn_cli.field.noise import generator
from gcn_cli.images.files import atomic_write_text, find_images, load_image, save_png
from gcn_cli.images.sheets import labelled_sheet
from gcn_cli.report import local
from gcn_cli.report.measure import blurred
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.run.jobs import prepare_image

PATCH, STEP = 9, 2  # px, of the baseline
Draw = torch.Generator


def _place(height: int, width: int, side: int, draw: Draw) -> tuple[slice, slice]:
    """A square inside a picture."""
    top, left = (int(torch.randint(n - side + 1, (1,), generator=draw)) for n in (height, width))
    return slice(top, top + side), slice(left, left + side)


def foreign(x: Tensor, other: Tensor, side: int, draw: Draw) -> tuple[Tensor, Tensor]:
    """A square of another exemplar."""
    rows, columns = _place(*x.shape[-2:], side, draw)
    other = other.mean(0, keepdim=True) if x.shape[0] == 1 else other.expand(3, -1, -1)
    i, j = _place(*other.shape[-2:], side, draw)
    return _replaced(x, rows, columns, other[:, i, j])


def rotated(x: Tensor, other: Tensor, side: int, draw: Draw) -> tuple[Tensor, Tensor]:
    """A square turned by a quarter."""
    rows, columns = _place(*x.shape[-2:], side, draw)
    return _replaced(x, rows, columns, torch.rot90(x[:, rows, columns], 1, (1, 2)))


def softened(x: Tensor, other: Tensor, side: int, draw: Draw) -> tuple[Tensor, Tensor]:
    """A square under a Gaussian."""
    rows, columns = _place(*x.shape[-2:], side, draw)
    soft = torch.cat([blurred(channel[None], 2.0) for channel in x])
    return _replaced(x, rows, columns, soft[:, rows, columns])


def _replaced(x: Tensor, rows: slice, columns: slice, piece: Tensor) -> tuple[Tensor, Tensor]:
    out, mask = x.clone(), torch.zeros(x.shape[-2:], dtype=torch.bool)
    out[:, rows, columns], mask[rows, columns] = piece, True
    return out, mask


def scratch(x: Tensor, other: Tensor, side: int, draw: Draw) -> tuple[Tensor, Tensor]:
    """A bright line through a square's middle, in any direction."""
    rows, columns = _place(*x.shape[-2:], side, draw)
    angle = float(torch.rand(1, generator=draw)) * math.pi
    dy = torch.arange(x.shape[-2])[:, None] - rows.start - side / 2
    dx = torch.arange(x.shape[-1])[None] - columns.start - side / 2
    along = dy * math.cos(angle) + dx * math.sin(angle)
    across = dx * math.cos(angle) - dy * math.sin(angle)
    mask = (along.abs() < side) & (across.abs() < 1.5)
    return torch.where(mask, x.mean() + 1.2 * x.std(), x), mask


KINDS: dict[str, Callable[[Tensor, Tensor, int, Draw], tuple[Tensor, Tensor]]] = {
    "foreign": foreign,
    "scratch": scratch,
    "blurred": softened,
    "rotated": rotated,
}


def roc_area(found: Tensor, mask: Tensor) -> float:
    """Area under the ROC curve: how often a pixel of the flaw is above one that is not."""
    values, inside = found.flatten(), mask.flatten()
    ranks = torch.empty(len(values), dtype=torch.float64)
    ranks[values.argsort()] = torch.arange(1, len(values) + 1, dtype=torch.float64)
    p, n = int(inside.sum()), int((~inside).sum())
    return (float(ranks[inside].sum()) - p * (p + 1) / 2) / (p * n)


def nearest(x: Tensor, known: Tensor) -> Tensor:
    """The baseline's map (1, H, W): squared distance of patches to the nearest known one."""
    padded = F.pad(x[None], (PATCH // 2,) * 4, mode="reflect")
    mine = F.unfold(padded, PATCH, stride=STEP)[0].T
    best = torch.full((len(mine),), math.inf)
    for part in F.unfold(known[None], PATCH, stride=STEP)[0].T.split(4096):
        square = mine.square().sum(1)[:, None] + part.square().sum(1) - 2 * mine @ part.T
        best = torch.minimum(best, square.amin(1))
    h, w = (-(-n // STEP) for n in x.shape[-2:])
    whole = F.interpolate(best.view(1, 1, h, w), size=tuple(x.shape[-2:]), mode="bilinear")[0]
    return local.smoothed(whole)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="a folder of exemplars")
    parser.add_argument("--out", type=Path, default=Path("flaws"))
    parser.add_argument("--preset", default="texture-quick")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--side", type=int, default=28, help="of a square, px")
    parser.add_argument("--each", type=int, default=3, help="flaws of every kind and exemplar")
    parser.add_argument("--seed", type=int, default=0, help="of the flaws; 101, 202 were tuned on")
    args = parser.parse_args()
    machine = choose_machine("auto", "auto")
    files, rows, sheet = find_images(args.images), [], []
    for image in files:
        saved = load_checkpoint(learn(image, args.out, args.preset, args.overrides))
        model, whole = saved.model, prepare_image(saved.config, load_image(image))
        law = local.usual_of(model, model.in_units(saved.observed), machine)
        shown = []
        for kind, plant in KINDS.items():
            for k in range(args.each):
                draw = generator(args.seed, image.stem, kind, k)
                others = [file for file in files if file != image]
                pick = int(torch.randint(len(others), (1,), generator=draw))
                x, mask = plant(unseen(whole), load_image(others[pick]), args.side, draw)
                y = model.in_units(x[None])
                found = law.map(local.features(model, y, machine))
                base = nearest(x, seen(whole))
                areas = {"map": roc_area(found, mask), "nearest patch": roc_area(base, mask)}
                rows.append({"exemplar": image.stem, "kind": kind, **areas})
                if not k:
                    shown += [x, local.heat(found)]
        sheet.append((image.stem, shown))
        print(json.dumps(_means([r for r in rows if r["exemplar"] == image.stem])), flush=True)
    means = _means(rows)
    report = {"preset": args.preset, "overrides": args.overrides, "rows": rows, "mean": means}
    atomic_write_text(args.out / "flaws.json", json.dumps(report, indent=1) + "\n")
    save_png(args.out / "flaws.png", labelled_sheet(sheet, [w for k in KINDS for w in (k, "map")]))
    for kind, mean in means.items():
        print(f"{kind:8} {mean['map']:.3f}  nearest patch {mean['nearest patch']:.3f}")


def _means(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Mean areas by kind, and of all."""
    told = {}
    for kind in (*KINDS, "all"):
        mine = [row for row in rows if kind in (row["kind"], "all")]
        told[kind] = {
            n: round(sum(r[n] for r in mine) / len(mine), 4) for n in ("map", "nearest patch")
        }
    return told


if __name__ == "__main__":
    main()
