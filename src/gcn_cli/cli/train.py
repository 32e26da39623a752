"""``gcn train``: learn from images."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcn_cli.cli.options import Device, Precision, Quiet, examples, parse_duration, say
from gcn_cli.cli.signals import stopping
from gcn_cli.errors import DivergenceError, Interrupted, UsageError

if TYPE_CHECKING:
    from gcn_cli.config import Config
    from gcn_cli.core.level import Machine, Plan
    from gcn_cli.experiment import Job, Stop, TrainResult

_EXAMPLES = examples(
    "gcn train --images brick.png",
    "gcn train --images ./textures --preset texture-quick --max-time 55m",
    "gcn train --images brick.png --set pace=0.5 --dry-run",
    "gcn train --resume runs/00007-brick --set levels.2.learning.updates=300",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train", epilog=_EXAMPLES)(train)


def train(
    images: Annotated[
        Path | None, typer.Option("--images", help="An image, or a folder of images.")
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="NAME|FILE", help="A preset or a YAML file.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="What --config FILE changes; by default 'texture'."),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the config."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Where run folders go.")] = Path("runs"),
    each: Annotated[
        bool | None,
        typer.Option("--each/--joint", help="One model per image, or one of all images."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Same as --set seed=.")] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    max_time: Annotated[
        str | None,
        typer.Option("--max-time", metavar="1h30m", help="Save and stop after this time in all."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Go on with a run; --set may extend it."),
    ] = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out images with a complete run in --out.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the config and the cost; write nothing.")
    ] = False,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell the networks too.")
    ] = False,
) -> None:
    """Learn a texture model of each image.

    Prints the folder of every finished run: checkpoint, config, metrics and grids of samples.
    Ctrl-C, SIGTERM and --max-time save first; --resume goes on. Exit codes: 0 done or out of time,
    2 wrong usage, 3 diverged, 130 or 143 interrupted.
    """
    started = time.monotonic()
    deadline = started + parse_duration(max_time) if max_time else None
    overrides = [*(sets or [])]
    if resume is not None:
        _refuse_beside_resume(images, config, preset, each, seed, skip_existing, dry_run)
        _resume(resume, overrides, device, precision, deadline, quiet)
        return
    if images is None:
        raise UsageError("what to learn from? give --images, or --resume to go on with a run")
    overrides += [] if each is None else [f"images.mode={'each' if each else 'joint'}"]
    overrides += [] if seed is None else [f"seed={seed}"]

    from gcn_cli.config import choose
    from gcn_cli.experiment import Stop, load_jobs, plan_job, size_hint
    from gcn_cli.machine import choose_machine, describe

    chosen = choose(config, preset, overrides)
    machine = choose_machine(device, precision, chosen.precision)
    jobs = load_jobs(chosen, images)
    plans = [plan_job(chosen, job) for job in jobs]
    say(f"{chosen.name} on {describe(machine)}", quiet)
    for job, plan in zip(jobs, plans, strict=True):
        left_out = len(chosen.levels) - len(plan.levels)
        if left_out:
            say(f"{job.name}: too small for the coarsest {left_out} of the levels", quiet)
        hint = size_hint(job, plan)
        if hint is not None:
            say(hint, quiet)
    if dry_run:
        _tell_cost(chosen, jobs, plans, machine, quiet)
        return
    if verbose:
        _tell_networks(jobs, plans)
    if skip_existing:
        jobs = _without_finished(jobs, out, quiet)
    stop = Stop(deadline)
    with stopping(stop):
        _train_all(chosen, jobs, out, machine, stop, quiet)


def _train_all(
    config: Config, jobs: list[Job], out: Path, machine: Machine, stop: Stop, quiet: bool
) -> None:
    from gcn_cli.clock import clock_text
    from gcn_cli.estimate import fit_budget
    from gcn_cli.progress import make_progress
    from gcn_cli.trials import train as train_job
    from gcn_cli.trials import trial_plans

    diverged = []
    for number, job in enumerate(jobs):
        if stop.signal_exit_code is not None:
            raise Interrupted(f"stopped before {job.name}", stop.signal_exit_code)
        if stop.wanted:
            names = ", ".join(job.name for job in jobs[number:])
            say(f"time is up; not begun: {names}", quiet)
            break
        paced = fit_budget(config, trial_plans(config, job), job.observed, machine)
        if paced is not config:
            say(
                f"{job.name}: {_measures(config, paced)}, to keep the budget of "
                f"{clock_text(config.budget)} on this machine",
                quiet,
            )
        try:
            _tell(train_job(paced, job, out, machine, make_progress(quiet), stop), quiet)
        except DivergenceError as error:
            if len(jobs) == 1:
                raise
            say(f"error: {job.name}: {error}")
            diverged.append(job.name)
    if diverged:
        raise DivergenceError(
            f"{len(diverged)} of {len(jobs)} models diverged: {', '.join(diverged)}"
        )


def _measures(config: Config, fitted: Config) -> str:
    """What is done to keep a budget."""
    told = []
    if len(fitted.levels) < len(config.levels):
        told.append(f"{len(fitted.levels)} of {len(config.levels)} levels")
    if fitted.pace < config.pace:
        told.append(f"pace {fitted.pace:g}")
    return " and ".join(told)


def _resume(
    folder: Path,
    overrides: list[str],
    device: str,
    precision: str,
    deadline: float | None,
    quiet: bool,
) -> None:
    from gcn_cli import trials
    from gcn_cli.checkpoint import load_checkpoint
    from gcn_cli.config import resolve
    from gcn_cli.experiment import Stop
    from gcn_cli.machine import choose_machine, describe
    from gcn_cli.progress import make_progress

    folder = folder if folder.is_dir() else folder.parent
    first = folder / "trials" / "0" if trials.ahead(folder) else folder
    saved = load_checkpoint(first)  # a missing or damaged one is the first thing to tell
    machine = choose_machine(device, precision, saved.config.precision)
    config = resolve(None, folder / "config.yaml", overrides) if overrides else None
    say(f"{folder} on {describe(machine)}", quiet)
    stop = Stop(deadline)
    with stopping(stop):
        result = trials.resume(folder, config, machine, make_progress(quiet), stop)
    if result.already:
        last = len(saved.config.levels) - 1
        key = f"levels.{last}.learning.updates"
        say(f"{folder} is complete already; extend it with --set {key}=...", quiet)
    _tell(result, quiet)


def _tell(result: TrainResult, quiet: bool) -> None:
    if result.complete:
        typer.echo(str(result.folder))
    else:
        say(f"time is up; go on with: gcn train --resume {result.folder}", quiet)


def _refuse_beside_resume(
    images: Path | None,
    config: str | None,
    preset: str | None,
    each: bool | None,
    seed: int | None,
    skip_existing: bool,
    dry_run: bool,
) -> None:
    given = {
        "--images": images is not None,
        "--config": config is not None,
        "--preset": preset is not None,
        "--each/--joint": each is not None,
        "--seed": seed is not None,
        "--skip-existing": skip_existing,
        "--dry-run": dry_run,
    }
    for name, present in given.items():
        if present:
            raise UsageError(
                f"--resume goes on with the run's own images and config; leave out {name}"
            )


def _without_finished(jobs: list[Job], out: Path, quiet: bool) -> list[Job]:
    from gcn_cli.experiment import finished_run

    left = []
    for job in jobs:
        folder = finished_run(out, job.name)
        if folder is None:
            left.append(job)
        else:
            say(f"{job.name}: complete in {folder}", quiet)
    return left


def _tell_cost(
    config: Config, jobs: list[Job], plans: list[Plan], machine: Machine, quiet: bool
) -> None:
    from gcn_cli.clock import clock_text
    from gcn_cli.config import dump
    from gcn_cli.estimate import estimate, fit_budget
    from gcn_cli.trials import trial_plans

    typer.echo(dump(config), nl=False)
    if quiet:
        return
    _tell_networks(jobs, plans)
    total = 0.0
    for job, plan in zip(jobs, plans, strict=True):
        cost = estimate(trial_plans(config, job), job.observed, machine)
        trials = f", {config.trials} trials" if config.trials > 1 else ""
        total += min(cost.seconds, config.budget or cost.seconds)
        say(
            f"{job.name}: {cost.parameters:,} parameters, {plan.total_updates} updates{trials}, "
            f"about {_bytes_text(cost.memory)} and {clock_text(cost.seconds)}"
        )
        if config.budget and cost.seconds > config.budget:
            paced = fit_budget(config, trial_plans(config, job), job.observed, machine)
            told = _measures(config, paced) or "at the very edge"  # measured anew
            say(f"{job.name}: {told}, to keep the budget of {clock_text(config.budget)}")
    if len(jobs) > 1:
        say(f"{len(jobs)} models, about {clock_text(total)} in all")


def _bytes_text(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{-(-count // 2**20)} MiB"


def _tell_networks(jobs: list[Job], plans: list[Plan]) -> None:
    from gcn_cli.inspection import layer_text

    for job, plan in zip(jobs, plans, strict=True):
        n, c, h, w = job.observed.shape
        say(f"{job.name}: {n} image{'s' if n > 1 else ''} of {w}x{h} px, {c} channels")
        for number, level in enumerate(plan.levels, 1):
            layers = ", ".join(layer_text(spec) for spec in level.net.layers)
            updates = sum(stage.learning.updates for stage in level.stages)
            say(
                f"  level {number}: {layers}; {level.net.n_parameters():,} parameters; field "
                f"{level.net.receptive_field} px; {level.chains} chains of "
                f"{level.canvas[1]}x{level.canvas[0]} px; {updates} updates of "
                f"{level.stages[-1].learning.steps} steps"
            )
