"""Quality of a preset over a folder of exemplars: train, draw fresh samples, measure.

    python benchmarks/quality.py --images textures --preset texture --seeds 0,1 --out quality

For every exemplar and training seed one model is learned and two fresh samples are drawn at
--size. Writes DIR/quality.json and DIR/sheet.png (exemplar, training chains, fresh samples), and
prints a table. The metrics are the project's own (`gcn evaluate`).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from gcn_cli.config import Config, resolve
from gcn_cli.core.level import Machine
from gcn_cli.core.schedule import begin, current_model, latest_chains, learn
from gcn_cli.experiment import Job, load_jobs, plan_job
from gcn_cli.imaging import atomic_write_text, labelled_sheet, resize, save_png
from gcn_cli.machine import choose_machine, describe
from gcn_cli.metrics import evaluate_texture
from gcn_cli.sampling import Request, cut, parse_seeds, parse_size, sample


def run_one(
    config: Config, job: Job, machine: Machine, size: tuple[int, int]
) -> tuple[dict[str, Any], list[torch.Tensor]]:
    """Train and sample one exemplar; the figures and [exemplar, chain, fresh, fresh]."""
    plan = plan_job(config, job)
    state, events, started = begin(), 0, time.perf_counter()
    for now, info in learn(plan, job.observed, job.mean, begin(), machine):
        state = now
        events += info.event is not None
    trained = time.perf_counter()
    model = current_model(plan, state, job.mean)
    request = Request(size[0], size[1], (1, 2))
    *_, last = sample(model, request, machine)
    fresh = cut(last.images, request).cpu()
    sampled = time.perf_counter()
    scores = asdict(evaluate_texture(job.observed[0], fresh))
    figures = {
        "exemplar": job.name,
        **{key: value for key, value in scores.items() if isinstance(value, int | float)},
        "train_seconds": trained - started,
        "seconds_per_sample": (sampled - trained) / 2,
        "rollbacks": events,
    }
    chain = latest_chains(state)[0].cpu() + job.mean
    return figures, [job.observed[0], chain, *fresh]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--preset", default="texture")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--size", default="256")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("quality"))
    args = parser.parse_args()
    machine = choose_machine(args.device, args.precision, resolve(args.preset).precision)
    rows, sheet = [], []
    for seed in parse_seeds(args.seeds):
        config = resolve(args.preset, None, [*args.overrides, f"seed={seed}"])
        for job in load_jobs(config, args.images, "each"):
            figures, pictures = run_one(config, job, machine, parse_size(args.size))
            rows.append({"seed": seed, **figures})
            sheet.append((f"{job.name} #{seed}", [resize(p, (256, 256)) for p in pictures]))
            print(json.dumps(rows[-1]), flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    keys = [key for key in rows[0] if key not in ("exemplar", "seed")]
    mean = {key: sum(float(row[key]) for row in rows) / len(rows) for key in keys}
    report = {
        "preset": args.preset,
        "overrides": args.overrides,
        "machine": describe(machine),
        "rows": rows,
        "mean": mean,
    }
    atomic_write_text(args.out / "quality.json", json.dumps(report, indent=1) + "\n")
    titles = ["exemplar", "training chain", "fresh", "fresh"]
    save_png(args.out / "sheet.png", labelled_sheet(sheet, titles))
    print("mean", json.dumps({key: round(value, 3) for key, value in mean.items()}))


if __name__ == "__main__":
    main()
