"""Several models of one exemplar, of which the best is kept.

Two seeds of one recipe differ, and which cascade of levels suits an exemplar is not known before it
is learned. A config with ``trials`` above 1 learns that many models, each in a run folder of its
own below ``trials/``, draws fresh samples of each and keeps the model whose samples come nearest
to the exemplar in shape (`metrics.shape_distance`). Every second trial leaves the ``optional``
levels out.

In the end the run folder is the kept trial's: its config replays that model alone. Beside it lie
``trials.jsonl``, one line for every finished trial, and ``trials/config.yaml``, the config of them
all. ``run.pt`` is written last: a folder without one has trials ahead.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gcn_cli.checkpoint import load_checkpoint
from gcn_cli.clock import plan_cost
from gcn_cli.config import Config, dump, resolve
from gcn_cli.core.level import Machine, Plan
from gcn_cli.core.model import Model
from gcn_cli.core.noise import derive_seed
from gcn_cli.errors import (
    CheckpointError,
    ConfigError,
    DivergenceError,
    ImageError,
    Interrupted,
)
from gcn_cli.experiment import (
    Job,
    Stop,
    TrainResult,
    open_folder,
    plan_job,
    resume_job,
    train_in,
    train_job,
)
from gcn_cli.imaging import atomic_write_bytes, atomic_write_text
from gcn_cli.metrics import MIN_SIDE, shape_distance
from gcn_cli.progress import Progress
from gcn_cli.rundir import append_jsonl, create_run_dir, read_jsonl
from gcn_cli.sampling import Request, cut, sample

SAMPLES = 8
"""Fresh pictures by which a trial is judged."""

_SIDE = 256  # px of theirs, at most
_SEED_RANGE = 2**31
_WHOLE = Path("trials") / "config.yaml"


def trial_configs(config: Config) -> list[Config]:
    """The config of each trial; a single one is the config itself.

    The first trial learns with the config's own seed. Where there are optional levels, trials go
    in pairs of one seed, with them and without.
    """
    if config.trials == 1:
        return [config]
    kept = tuple(level for level in config.levels if not level.optional)
    kinds = [config.levels] if len(kept) == len(config.levels) else [config.levels, kept]
    configs = []
    for number in range(config.trials):
        draw, kind = divmod(number, len(kinds))
        seed = derive_seed(config.seed, "trial", draw) % _SEED_RANGE if draw else config.seed
        configs.append(config.model_copy(update={"trials": 1, "seed": seed, "levels": kinds[kind]}))
    return configs


def trial_plans(config: Config, job: Job) -> list[Plan]:
    """The plan of each trial.

    Raises:
        ImageError: an exemplar too small to learn from or, with several trials, to judge by.
    """
    height, width = job.observed.shape[-2:]
    if config.trials > 1 and min(height, width) < MIN_SIDE:
        raise ImageError(
            f"{job.name}: the image is {width}x{height} px; trials are judged by texture metrics, "
            f"which need sides of at least {MIN_SIDE} px"
        )
    return [plan_job(each, job) for each in trial_configs(config)]


def train(
    config: Config,
    job: Job,
    out: Path,
    machine: Machine,
    progress: Progress,
    stop: Stop,
    argv: Sequence[str] = (),
) -> TrainResult:
    """Learn one model, or the best of several, in a new run folder below ``out``.

    Raises:
        DivergenceError: learning failed, in every trial if there are several.
    """
    if config.trials == 1:
        return train_job(config, job, out, machine, progress, stop, argv)
    trial_plans(config, job)  # what cannot be learned leaves no folder behind
    folder = create_run_dir(out, job.name)
    open_folder(folder, config, job, machine, argv)
    (folder / "trials").mkdir()
    atomic_write_text(folder / _WHOLE, dump(config))
    return _run_trials(folder, config, job, machine, progress, stop)


def ahead(folder: Path) -> bool:
    """Whether a run folder has trials to come."""
    return (folder / _WHOLE).exists() and not (folder / "run.pt").exists()


def resume(
    folder: Path, config: Config | None, machine: Machine, progress: Progress, stop: Stop
) -> TrainResult:
    """Go on where a run, of one trial or several, stopped; see `experiment.resume_job`.

    Raises:
        CheckpointError: there is nothing to go on from.
        ConfigError: ``config`` would change a run that has trials ahead.
    """
    if not ahead(folder):
        return resume_job(folder, config, machine, progress, stop)
    if config is not None:
        raise ConfigError(f"{folder} has trials ahead; leave out --set until one of them is kept")
    whole = resolve(None, folder / _WHOLE)
    first = load_checkpoint(folder / "trials" / "0")
    job = Job(folder.name, first.observed, first.mean)
    return _run_trials(folder, whole, job, machine, progress, stop)


def _run_trials(
    folder: Path, config: Config, job: Job, machine: Machine, progress: Progress, stop: Stop
) -> TrainResult:
    told = {int(record["trial"]): record for record in read_jsonl(folder / "trials.jsonl")}
    for number, each in enumerate(_shared_budget(config, job)):
        if number in told:
            continue
        named = replace(job, name=f"{job.name} trial {number + 1}/{config.trials}")
        place = folder / "trials" / str(number)
        record: dict[str, Any] = {"trial": number, "seed": each.seed, "levels": len(each.levels)}
        try:
            complete = _learn(place, each, named, machine, progress, stop)
            if stop.signal_exit_code is not None:
                raise Interrupted(signal_exit_code=stop.signal_exit_code)
            if stop.wanted or not complete:
                return TrainResult(folder, complete=False)
            record["struct"] = judge(load_checkpoint(place).model, job, machine)
            progress.message(f"{named.name}: struct {record['struct']:.3f}")
        except DivergenceError as error:
            record["event"] = str(error)
            progress.message(f"{named.name}: {error}")
        except Interrupted as stopped:
            raise Interrupted(
                f"stopped in trial {number + 1} of {config.trials}; saved in {folder}, "
                f"go on with: gcn train --resume {folder}",
                stopped.signal_exit_code,
            ) from stopped
        append_jsonl(folder / "trials.jsonl", record)
        told[number] = record
    _keep_best(folder, [record for _, record in sorted(told.items())], progress)
    return TrainResult(folder, complete=True)


def _shared_budget(config: Config, job: Job) -> list[Config]:
    """The trials' configs, each with its share of the time."""
    configs = trial_configs(config)
    costs = [plan_cost(plan_job(each, job), job.observed.shape) for each in configs]
    return [
        each.model_copy(update={"budget": config.budget * cost / sum(costs)})
        for each, cost in zip(configs, costs, strict=True)
    ]


def _learn(
    place: Path, config: Config, job: Job, machine: Machine, progress: Progress, stop: Stop
) -> bool:
    """Learn or go on with one trial; whether it is complete."""
    if (place / "run.pt").exists():
        return resume_job(place, None, machine, progress, stop, job.name).complete
    shutil.rmtree(place, ignore_errors=True)  # of a run killed before it first saved
    place.mkdir(parents=True)
    return train_in(place, config, job, machine, progress, stop).complete


def judge(model: Model, job: Job, machine: Machine) -> float:
    """How far fresh samples of a model are from the exemplar in shape.

    Raises:
        DivergenceError: samples that are not finite.
    """
    exemplar = job.observed[0]
    height, width = (min(side, _SIDE) for side in exemplar.shape[-2:])
    request = Request(width, height, tuple(range(SAMPLES)))
    *_, last = sample(model, request, machine)
    fresh = cut(last.images, request)
    if not bool(fresh.isfinite().all()):
        raise DivergenceError("fresh samples ran away to infinity")
    return shape_distance(exemplar, fresh)


def _keep_best(folder: Path, records: list[dict[str, Any]], progress: Progress) -> None:
    judged = [record for record in records if record.get("struct") is not None]
    if not judged:
        raise DivergenceError(f"all {len(records)} trials failed; the last: {records[-1]['event']}")
    best = min(judged, key=lambda record: float(record["struct"]))
    place = folder / "trials" / str(best["trial"])
    if not (place / "run.pt").exists():
        raise CheckpointError(f"{place} has lost its run.pt")
    grids = sorted(place.glob("samples-*.png"))[-1:]
    for path in (place / "config.yaml", place / "metrics.jsonl", *grids, place / "run.pt"):
        atomic_write_bytes(folder / path.name, path.read_bytes())
    progress.message(
        f"trial {best['trial'] + 1} of {len(records)} is kept (struct {best['struct']:.3f})"
    )
