"""How well models tell textures apart that they never saw: crops of the exemplars' right thirds.

    python benchmarks/classify.py --images textures --out told

Every exemplar's left two thirds are learned by ``gcn train``, below DIR; what is there is not
learned again. Of the right thirds, crops of --side px, one every --step px, are told by the models'
evidence, as ``gcn classify`` does, and by two baselines: the nearest Gram matrix of the responses
of each model's first layer, and of raw patches of 7 px. Writes DIR/classify.json and
DIR/confusion.png, prints a table. `--set images.colour=grey` leaves colour out.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from held_out import learn, seen, unseen
from torch import Tensor

from gcn_cli.engine import choose_machine
from gcn_cli.images.files import atomic_write_text, find_images, load_image, save_png
from gcn_cli.images.sheets import labelled_sheet
from gcn_cli.report.classes import Class, least_level
from gcn_cli.report.evidence import evidence
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.run.jobs import prepare_image
from gcn_cli.texture.draw import Model

PATCH, CELL = 7, 28


def gram(maps: Tensor) -> Tensor:
    """Mean products (K, K) of maps (1, K, h, w)."""
    flat = maps[0].double().flatten(1)
    return flat @ flat.T / flat.shape[1]


def first_layer(model: Model, grey: Tensor) -> Tensor:
    """ReLU responses (1, K, h, w) of the finest size's first layer, nothing given, no bias."""
    w = model.sizes[-1].weights.filters[0][:, : model.net.channels]
    x = grey.expand(-1, model.net.channels, -1, -1) if grey.shape[1] == 1 else grey
    x = x.mean(1, keepdim=True) if model.net.channels == 1 else x
    return F.relu(F.conv2d((x - model.mean) / model.contrast, w))


def patches(grey: Tensor) -> Tensor:
    """Patches of pictures (1, C, H, W) as maps (1, K, n, 1)."""
    return F.unfold(grey / 128 - 1, PATCH)[..., None]


def apart(found: Tensor, known: Tensor) -> float:
    """Distance of matrices, relative to the known one."""
    return float((found - known).norm() / known.norm())


def crops(picture: Tensor, side: int, step: int) -> list[Tensor]:
    """Crops (C, side, side) of a picture (C, H, W), every ``step`` px from its upper right."""
    height, width = picture.shape[-2:]
    corners = [
        (i, j) for j in range(width - side, -1, -step) for i in range(0, height - side + 1, step)
    ]
    return [picture[:, i : i + side, j : j + side] for i, j in corners]


def confusion(names: list[str], truth: Tensor, told: Tensor) -> Tensor:
    """A row for every class, in it the share of its crops that were told each class: black is 1."""
    rows = []
    for k, name in enumerate(names):
        mine = told[truth == k]
        shares = [float((mine == j).double().mean()) for j in range(len(names))]
        rows.append((name, [torch.full((1, CELL, CELL), 235 * (1 - share)) for share in shares]))
    return labelled_sheet(rows, names)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="a folder of exemplars")
    parser.add_argument("--out", type=Path, default=Path("told"))
    parser.add_argument("--preset", default="texture-quick")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--side", type=int, default=64, help="of a crop, px")
    parser.add_argument("--step", type=int, default=64, help="px from one crop to the next")
    args = parser.parse_args()
    machine = choose_machine("auto", "auto")
    classes, known, tests, truth = [], [], [], []
    for k, image in enumerate(find_images(args.images)):
        saved = load_checkpoint(run := learn(image, args.out, args.preset, args.overrides))
        classes.append(Class(image.stem, run, saved))
        whole = prepare_image(saved.config, load_image(image))
        known.append(seen(whole)[None])
        found = crops(unseen(whole), args.side, args.step)
        tests += found
        truth += [k] * len(found)
    channels = max(x.shape[0] for x in tests)
    stack = torch.stack([x.expand(channels, -1, -1) for x in tests])
    grams = torch.zeros(len(tests), len(classes))
    raw = torch.zeros(len(tests), len(classes))
    floor, started, nats = least_level(classes), time.perf_counter(), []
    for k, one in enumerate(classes):
        model = one.saved.model
        nats.append(evidence(model, one.saved.observed, stack, machine, floor).nats)
        mine = gram(first_layer(model, known[k]))
        theirs = gram(patches(known[k].expand(-1, channels, -1, -1)))
        for j, x in enumerate(stack):
            grams[j, k] = apart(gram(first_layer(model, x[None])), mine)
            raw[j, k] = apart(gram(patches(x[None])), theirs)
    names, labels = [one.name for one in classes], torch.tensor(truth)
    told = {"evidence": torch.stack(nats, 1).argmin(1)}
    told |= {"first layer": grams.argmin(1), "patches": raw.argmin(1)}
    report = {
        "preset": args.preset,
        "overrides": args.overrides,
        "lowest": floor,
        "crops": len(tests),
        "seconds": time.perf_counter() - started,
        "accuracy": {k: float((v == labels).double().mean()) for k, v in told.items()},
        "wrong": {
            k: [[names[a], names[b]] for a, b in zip(truth, v.tolist(), strict=True) if a != b]
            for k, v in told.items()
        },
    }
    atomic_write_text(args.out / "classify.json", json.dumps(report, indent=1) + "\n")
    save_png(args.out / "confusion.png", confusion(names, labels, told["evidence"]))
    for name, share in report["accuracy"].items():
        print(f"{name:12} {100 * share:5.1f} % of {len(tests)} crops")


if __name__ == "__main__":
    main()
