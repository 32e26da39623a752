"""Training as a user sees it: images in, a run folder out. Here recipes meet the disk.

Run folder: ``run.pt`` (checkpoint), ``config.yaml`` (resolved, replayable), ``meta.json``,
``metrics.jsonl`` (one line per update or few), ``reals.png``, ``samples-000050.png`` ...
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcn_cli.engine import Machine, is_out_of_memory
from gcn_cli.errors import CheckpointError, DeviceError, DivergenceError, Interrupted
from gcn_cli.images.files import atomic_write_text, save_png
from gcn_cli.images.sheets import image_grid
from gcn_cli.run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gcn_cli.run.clock import Clock, clock_text
from gcn_cli.run.config import dump
from gcn_cli.run.course import Course, State, Told
from gcn_cli.run.jobs import Job
from gcn_cli.run.kinds import open_course
from gcn_cli.run.progress import Progress
from gcn_cli.run.rundir import append_jsonl, create_run_dir, read_jsonl, write_meta
from gcn_cli.run.schema import Config

_REALS = 16


@dataclass
class Stop:
    """A request to end after the current update: set by signals, or by a time budget."""

    deadline: float | None = None  # time.monotonic() seconds
    signal_exit_code: int | None = None

    @property
    def wanted(self) -> bool:
        """Whether to save and end now."""
        late = self.deadline is not None and time.monotonic() >= self.deadline
        return late or self.signal_exit_code is not None


@dataclass(frozen=True)
class TrainResult:
    """Where a run lies and whether its plan was fulfilled; ``more`` is the key that extends it."""

    folder: Path
    complete: bool
    already: bool = False
    more: str = ""


def train_job(
    course: Course,
    out: Path,
    machine: Machine,
    progress: Progress,
    stop: Stop,
    argv: Sequence[str] = (),
) -> TrainResult:
    """Learn one model in a new run folder below ``out``."""
    asked = course.config
    course, lowered = course.fitted(machine)
    if lowered:
        progress.message(lowered)
    folder = create_run_dir(out, course.job.name)
    open_folder(folder, course.config, asked, course.job, machine, argv)
    return _run(course, course.begin(machine.device), folder, machine, progress, stop)


def open_folder(
    folder: Path,
    config: Config,
    asked: Config,
    job: Job,
    machine: Machine,
    argv: Sequence[str] = (),
) -> None:
    """Write what a run folder holds before anything is learned.

    ``asked`` is the config before its updates were lowered to keep a budget.
    """
    atomic_write_text(folder / "config.yaml", dump(config))
    sources = [str(path) for path in job.sources]
    extra = {"name": job.name, "images": sources, "device": str(machine.device)}
    told = {"content": job.content, "asked": asked.model_dump(mode="json")}
    write_meta(folder, list(argv) or sys.argv, {**extra, **told})
    save_png(folder / "reals.png", image_grid(job.shown(list(job.observed[:_REALS]))))


def resume_job(
    folder: Path,
    config: Config | None,
    machine: Machine,
    progress: Progress,
    stop: Stop,
) -> TrainResult:
    """Go on where a run stopped, in place; ``config`` replaces the stored one to extend it.

    Raises:
        CheckpointError: there is nothing to go on from.
        ConfigError: ``config`` changes what the saved state depends on.
    """
    folder = folder if folder.is_dir() else folder.parent
    saved = load_checkpoint(folder)
    job = Job(
        folder.name,
        saved.observed,
        saved.mean,
        known=saved.known,
        depth=saved.depth,
        material=saved.material,
    )
    course = open_course(config or saved.config, job)
    if config is not None:
        open_course(saved.config, job).check_extension(course, saved.state)
    if course.complete(saved.state):
        return TrainResult(folder, complete=True, already=True, more=course.more)
    done = course.done(saved.state)
    kept = [r for r in read_jsonl(folder / "metrics.jsonl") if r["done"] <= done]
    text = "".join(json.dumps(record) + "\n" for record in kept)
    atomic_write_text(folder / "metrics.jsonl", text)
    atomic_write_text(folder / "config.yaml", dump(course.config))
    if config is not None:
        _ask_anew(folder / "meta.json", course.config)
    return _run(course, saved.state, folder, machine, progress, stop)


def _ask_anew(meta: Path, config: Config) -> None:
    """Note the config that an extended run has now."""
    told = _read_meta(meta)
    if "asked" in told:
        told["asked"] = config.model_dump(mode="json")
        atomic_write_text(meta, json.dumps(told, indent=2) + "\n")


def _read_meta(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        told = json.loads(path.read_text(encoding="utf-8"))
        return told if isinstance(told, dict) else {}
    return {}


def finished_run(out: Path, course: Course) -> tuple[Path | None, str]:
    """The complete run below ``out`` of the same content and config as a course.

    Else why the last one of the same name is none, if there is one.
    """
    why = ""
    for meta in sorted(out.glob("*/meta.json")):
        told = _read_meta(meta)
        if told.get("name") != course.job.name:
            continue
        reason = _difference(told, course)
        if not reason:
            with contextlib.suppress(CheckpointError):
                if load_checkpoint(meta.parent).complete:
                    return meta.parent, ""
            reason = "is not complete"
        why = f"{meta.parent} {reason}"
    return None, why


def _difference(told: Mapping[str, Any], course: Course) -> str:
    """What sets a run apart from a course, by its `meta.json`; '' if nothing does."""
    if not isinstance(told.get("content"), str):
        return "tells no hash of its pixels, an older gcn wrote it"
    if told["content"] != course.job.content:
        return "learned other pixels"
    keys = _unequal(told.get("asked"), course.config.model_dump(mode="json"))
    return f"has another config: {', '.join(keys)}" if keys else ""


def _unequal(one: Any, other: Any, path: str = "") -> list[str]:
    """Keys, with their path, at which two configs differ."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return [] if one == other else [path or "all of it"]
    return [
        found
        for key in {**one, **other}
        for found in _unequal(one.get(key), other.get(key), f"{path}.{key}" if path else key)
    ]


def _run(
    course: Course,
    begun: State,
    folder: Path,
    machine: Machine,
    progress: Progress,
    stop: Stop,
) -> TrainResult:
    output, job = course.config.output, course.job
    progress.start(course.total_updates, job.name)
    clock = Clock()
    state, beat = begun, course.beats(begun)
    try:
        for now, told in _learned(course, begun, folder, machine):
            state, last, beat = now, beat, course.beats(now)
            clock.add(told.act, told.work)
            record = {**told.record, "seconds": round(clock.elapsed, 3)}
            append_jsonl(folder / "metrics.jsonl", record)
            left = {"left": clock_text(clock.left(course.ahead(state)))}
            progress.update(course.done(state), {**told.shown, **left})
            if told.event:
                progress.message(f"{job.name}: {told.event}")
            complete = course.complete(state)
            if complete or _due(output.grid_every, last, beat):
                _write_grid(folder, course, state, machine)
            if complete or stop.wanted or _due(output.checkpoint_every, last, beat):
                _save(folder, course, state)
            if stop.wanted and not complete:
                _tell_interruption(folder, course, state, stop)
                break
    finally:
        progress.close()
    return TrainResult(folder, course.complete(state))


def _due(every: int, last: int, beat: int) -> bool:
    """Whether a multiple of ``every`` was passed; the same however often a run was resumed."""
    return beat // every > last // every


def _tell_interruption(folder: Path, course: Course, state: State, stop: Stop) -> None:
    if stop.signal_exit_code is not None:
        raise Interrupted(
            f"stopped after {course.done(state)} of {course.total_updates} updates; saved in "
            f"{folder}, go on with: gcn train --resume {folder}",
            stop.signal_exit_code,
        )


def _learned(
    course: Course, begun: State, folder: Path, machine: Machine
) -> Iterator[tuple[State, Told]]:
    """`Course.learn`, its failures told in the user's words; what was learned before is kept."""
    last = begun
    try:
        for last, told in course.learn(begun, machine):
            yield last, told
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise DeviceError(f"out of memory; lower {course.spare(last)}") from error
        raise
    except DivergenceError as error:
        append_jsonl(folder / "metrics.jsonl", {"done": course.done(last), "event": str(error)})
        if last.weights is not None and len(last.weights):
            _save(folder, course, last)
        raise


def _save(folder: Path, course: Course, state: State) -> None:
    job, complete = course.job, course.complete(state)
    checkpoint = Checkpoint(
        course.config,
        job.observed,
        job.mean,
        state,
        course.model(state),
        complete,
        job.known,
        job.depth,
        job.material,
    )
    save_checkpoint(folder / "run.pt", checkpoint)


def _write_grid(folder: Path, course: Course, state: State, machine: Machine) -> None:
    grid = image_grid(course.job.shown(course.pictures(state, machine)))
    save_png(folder / f"samples-{course.done(state):06d}.png", grid)
