"""Quality of a preset over a folder of exemplars: train, draw fresh samples, measure.

    python benchmarks/quality.py --images textures --preset texture --seeds 0,1 --out quality

For every exemplar and training seed one model is learned (the best of several where the preset
asks for trials) and --n fresh samples are drawn at --size. Each is kept in a run folder
DIR/SEED-EXEMPLAR (checkpoint, samples, figures), and one that is there already is not learned
again: a killed benchmark goes on, and several may share the work before a last call puts the table
together; a folder learned with another config is refused.
Writes DIR/quality.json and DIR/sheet.png (exemplar, training chain, fresh samples). The metrics
are the project's own (`gcn evaluate`).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from gcn_cli.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gcn_cli.config import resolve
from gcn_cli.core.level import Machine
from gcn_cli.core.schedule import begin, current_model, latest_chains, learn
from gcn_cli.errors import DivergenceError
from gcn_cli.field_course import plan_job
from gcn_cli.field_sampling import sample
from gcn_cli.imaging import atomic_write_text, labelled_sheet, load_image, resize, save_png
from gcn_cli.jobs import Job, load_jobs
from gcn_cli.machine import choose_machine, describe
from gcn_cli.metrics import evaluate_texture
from gcn_cli.sampling import Request, cut, parse_seeds, parse_size
from gcn_cli.schema import FieldConfig as Config
from gcn_cli.trials import judge, trial_configs


def learn_one(config: Config, job: Job, machine: Machine) -> tuple[Checkpoint, list[str]]:
    """Train on one exemplar; the checkpoint, and what the guard told."""
    plan = plan_job(config, job)
    state, events = begin(), []
    for now, info in learn(plan, job.observed, job.mean, begin(), machine):
        state = now
        if info.event is not None:
            events.append(info.event)
    model = current_model(plan, state, job.observed, job.mean)
    return Checkpoint(config, job.observed, job.mean, state, model, complete=True), events


def learn_best(config: Config, job: Job, machine: Machine, folder: Path) -> None:
    """Learn all trials; leaves the kept checkpoint and what learning took in ``folder``.

    A trial that diverges is told among the events; ends the benchmark where none is left.
    """
    started, events, tried = time.perf_counter(), [], []
    for each in trial_configs(config):
        try:
            saved, told = learn_one(each, job, machine)
        except DivergenceError as error:
            events.append(str(error))
            continue
        events += told
        tried.append((judge(saved.model, job, machine) if config.trials > 1 else 0.0, saved))
    seconds = time.perf_counter() - started
    if not tried:
        raise SystemExit(f"{job.name}, seed {config.seed}: {events[-1]}")
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(folder / "run.pt", min(tried, key=lambda pair: pair[0])[1])
    figures = {
        "train_seconds": seconds,
        "rollbacks": len(events),
        "events": events,
        "trials": [distance for distance, _ in tried],
    }
    atomic_write_text(folder / "learning.json", json.dumps(figures, indent=1) + "\n")


def judge_one(folder: Path, job: Job, machine: Machine, request: Request) -> dict[str, Any]:
    """Draw fresh samples from the written checkpoint and measure them."""
    model = load_checkpoint(folder / "run.pt").model
    started = time.perf_counter()
    *_, last = sample(model, request, machine)
    fresh = cut(last.images, request).cpu()
    seconds = (time.perf_counter() - started) / len(fresh)
    (folder / "fresh").mkdir(exist_ok=True)
    for old in (folder / "fresh").glob("*.png"):
        old.unlink()
    for seed, image in zip(request.seeds, fresh, strict=True):
        save_png(folder / "fresh" / f"sample-{seed}.png", image)
    scores = asdict(evaluate_texture(job.observed[0], fresh))
    figures = {key: value for key, value in scores.items() if isinstance(value, int | float)}
    return {**figures, "seconds_per_sample": seconds}


def run_one(
    config: Config, job: Job, machine: Machine, folder: Path, request: Request
) -> dict[str, Any]:
    """One row of the table; what is done already is read."""
    if not (folder / "learning.json").exists():
        learn_best(config, job, machine, folder)
    saved = load_checkpoint(folder / "run.pt")
    if saved.config not in trial_configs(config) or not torch.equal(saved.observed, job.observed):
        raise SystemExit(
            f"{folder} was learned with another config or exemplar; choose another --out"
        )
    done = folder / "figures.json"
    asked = {"size": f"{request.width}x{request.height}", "samples": len(request.seeds)}
    row: dict[str, Any] = json.loads(done.read_text()) if done.exists() else {}
    if {key: row.get(key) for key in asked} == asked:
        return row
    learning = json.loads((folder / "learning.json").read_text())
    figures = judge_one(folder, job, machine, request)
    row = {"exemplar": job.name, "seed": config.seed, **asked, **figures, **learning}
    atomic_write_text(done, json.dumps(row, indent=1) + "\n")
    return row


def pictures_of(folder: Path) -> list[torch.Tensor]:
    """Exemplar, training chain and two fresh samples of a run folder, 256 px each."""
    saved = load_checkpoint(folder / "run.pt")
    chain = latest_chains(saved.state)[0].cpu() + saved.mean
    fresh = [load_image(file) for file in sorted((folder / "fresh").glob("*.png"))[:2]]
    return [resize(image, (256, 256)) for image in (saved.observed[0], chain, *fresh)]


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
    parser.add_argument("--n", type=int, default=2, help="samples of each model")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("quality"))
    args = parser.parse_args()
    machine = choose_machine(args.device, args.precision, resolve(args.preset).precision)
    width, height = parse_size(args.size)
    request = Request(width, height, tuple(range(1, args.n + 1)))
    rows, sheet = [], []
    for seed in parse_seeds(args.seeds):
        config = resolve(args.preset, None, [*args.overrides, f"seed={seed}"])
        for job in load_jobs(config, args.images, "each"):
            folder = args.out / f"{seed}-{job.name}"
            rows.append(run_one(config, job, machine, folder, request))
            sheet.append((f"{job.name} #{seed}", pictures_of(folder)))
            print(json.dumps(rows[-1]), flush=True)
    numbers = [key for key, value in rows[0].items() if isinstance(value, int | float)]
    mean = {
        key: sum(float(row[key]) for row in rows) / len(rows)
        for key in numbers
        if key not in ("seed", "samples")
    }
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
