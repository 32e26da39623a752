"""Quality of a preset over a folder of exemplars: train, draw fresh samples, measure.

    python benchmarks/quality.py --images textures --seeds 0 --n 4 --jobs 2 --out quality

Every exemplar is learned once a seed by ``gcn train`` in a process of its own, below
DIR/SEED-EXEMPLAR, and drawn from; samples lie beside it. What is there is not done again, so that a
killed benchmark goes on; --jobs processes work at once, each with --threads threads. Samples are
scored as ``gcn evaluate`` does. Writes DIR/quality.json and DIR/sheet.png, prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from quality_table import Row, mean, table

from gcn_cli.engine import choose_machine, describe
from gcn_cli.images.files import atomic_write_text, find_images, load_image, save_png
from gcn_cli.images.sheets import labelled_sheet
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.run.config import dump, resolve
from gcn_cli.run.gallery import artist_of, draw, story
from gcn_cli.run.progress import make_progress
from gcn_cli.run.rundir import read_jsonl
from gcn_cli.run.sampling import Request, parse_seeds, parse_size
from gcn_cli.statistics.metrics import evaluate_texture

SHOWN, SIDE = 3, 256  # fresh samples of a model in the sheet, and the side that is shown of each


def options(parser: argparse.ArgumentParser) -> None:
    """What `measure` asks for."""
    parser.add_argument("--preset", default="texture")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--seeds", default="0", help="of learning")
    parser.add_argument("--size", default="256", help="of the samples")
    parser.add_argument("--n", type=int, default=4, help="samples of each model")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--jobs", type=int, default=1, help="exemplars at once")
    parser.add_argument("--device", default="auto")


def learn(args: argparse.Namespace, image: Path, seed: int, folder: Path) -> Path:
    """The complete run below ``folder``; ``learning.json`` tells how long it took.

    A run that was killed is gone on with; its seconds are not known, and null.
    """
    runs = sorted(folder.glob("*/run.pt"))
    if (folder / "learning.json").exists() and runs:
        return runs[-1].parent
    new = ["--images", image, "--preset", args.preset, "--seed", seed, "--each", "--out", folder]
    new += [word for text in args.overrides for word in ("--set", text)]
    what = ["--resume", runs[-1].parent] if runs else new
    words = [sys.executable, "-m", "gcn_cli", "train", *what, "--device", args.device, "--quiet"]
    started = time.perf_counter()
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    seconds = None if runs else time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    run = Path(done.stdout.strip().splitlines()[-1])
    events = [told["event"] for told in read_jsonl(run / "metrics.jsonl") if told.get("event")]
    told = {"train_seconds": seconds, "rollbacks": len(events), "events": events}
    atomic_write_text(folder / "learning.json", json.dumps(told, indent=1) + "\n")
    return run


def paint(args: argparse.Namespace, run: Path, out: Path) -> Row:
    """Draw samples into ``out`` after one that is not timed; seconds each and figures."""
    saved = load_checkpoint(run)
    machine = choose_machine(args.device, "auto", saved.config.precision)
    artist, quiet = artist_of(saved), make_progress(True)
    request = Request(*parse_size(args.size), tuple(range(1, args.n + 1)))
    at_once = artist.batch(request, machine, None)
    list(draw(artist, Request(request.width, request.height, (0,)), machine, quiet, at_once))
    started = time.perf_counter()
    fresh = list(draw(artist, request, machine, quiet, at_once))
    seconds = (time.perf_counter() - started) / args.n
    out.mkdir(exist_ok=True)
    files = [out / f"sample-{seed:04d}.png" for seed in request.seeds]
    for file, (seed, picture) in zip(files, fresh, strict=True):
        save_png(file, picture, story(saved, request, seed, machine))
    stack = torch.stack([load_image(file) for file in files])
    scores = evaluate_texture(saved.observed[0], stack).as_dict()
    return {"machine": describe(machine), "seconds_per_sample": seconds, **scores}


def one(args: argparse.Namespace, task: tuple[Path, int]) -> Row:
    """One row of the table; what is done already is read."""
    image, seed = task
    torch.set_num_threads(args.threads)
    (folder := args.out / f"{seed}-{image.stem}").mkdir(exist_ok=True)
    row: Row = {"exemplar": image.stem, "seed": seed, "size": args.size, "samples": args.n}
    try:
        run = learn(args, image, seed, folder)
    except RuntimeError as error:
        return {**row, "error": str(error)}
    out = folder / f"fresh-{args.size}-{args.n}"
    if not (out / "figures.json").exists():
        atomic_write_text(out / "figures.json", json.dumps(paint(args, run, out), indent=1) + "\n")
    for file in (out / "figures.json", folder / "learning.json"):
        row |= json.loads(file.read_text())
    return row


def measure(args: argparse.Namespace) -> None:
    """Learn, draw and score everything; see the top of this file."""
    args.out.mkdir(parents=True, exist_ok=True)
    config, asked = dump(resolve(args.preset, None, args.overrides)), args.out / "config.yaml"
    if asked.exists() and asked.read_text() != config:
        raise SystemExit(f"{args.out} holds models of another config; choose another --out")
    atomic_write_text(asked, config)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    tasks = [(image, s) for s in parse_seeds(args.seeds) for image in find_images(args.images)]
    rows: list[Row] = []
    with ProcessPoolExecutor(args.jobs, get_context("spawn")) as pool:
        for row in pool.map(partial(one, args), tasks):
            rows.append(row)
            print(json.dumps(row), file=sys.stderr)
    report = {"preset": args.preset, "overrides": args.overrides, "rows": rows, "mean": mean(rows)}
    atomic_write_text(args.out / "quality.json", json.dumps(report, indent=1) + "\n")
    print(table(rows))
    sheet = []
    for image, seed in tasks:
        folder = args.out / f"{seed}-{image.stem}" / f"fresh-{args.size}-{args.n}"
        shown = [image, *sorted(folder.glob("sample-*.png"))[:SHOWN]]
        sheet.append((f"{image.stem} #{seed}", [load_image(f)[:, :SIDE, :SIDE] for f in shown]))
    titles = ["exemplar", *["fresh"] * min(SHOWN, args.n)]
    save_png(args.out / "sheet.png", labelled_sheet(sheet, titles))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="an image or a folder of them")
    parser.add_argument("--out", type=Path, default=Path("quality"))
    options(parser)
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
