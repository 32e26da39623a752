"""Training as a user sees it: images in, a run folder out. Here recipes meet the disk.

Run folder: ``run.pt`` (checkpoint), ``config.yaml`` (resolved, replayable), ``meta.json``,
``metrics.jsonl`` (one line per update or few), ``reals.png``, ``samples-000050.png`` ...
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gcn_cli.engine import Machine, Ranks, is_out_of_memory
from gcn_cli.errors import CheckpointError, DeviceError, DivergenceError, Interrupted, PeerError
from gcn_cli.images.files import atomic_write_text
from gcn_cli.run.checkpoint import Checkpoint, load_checkpoint, load_learning, writing
from gcn_cli.run.clock import Clock, clock_text
from gcn_cli.run.config import dump
from gcn_cli.run.course import Course, State, Told
from gcn_cli.run.desk import Desk, open_folder, save
from gcn_cli.run.kinds import open_course
from gcn_cli.run.lock import locked
from gcn_cli.run.progress import Progress
from gcn_cli.run.rundir import clear_scratch, create_run_dir, cut_metrics
from gcn_cli.run.schema import Config

SAVE_EVERY = 60.0
"""Seconds between two checkpoints, unless the user says otherwise."""


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

    def agreed(self, ranks: Ranks) -> bool:
        """Whether any process of a run is to save and end now: then all do."""
        code = max(ranks.every(lambda: self.signal_exit_code or int(self.wanted)))
        self.signal_exit_code = code if code > 1 else self.signal_exit_code
        return code > 0


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
    save_every: float = SAVE_EVERY,
) -> TrainResult:
    """Learn one model in a new run folder below ``out``.

    The checkpoint is written before the first update, and every ``save_every`` seconds; 0: only
    as often as the config says.

    Raises:
        GcnError: the folder or its checkpoint cannot be written.
        Interrupted: a signal came; all that was learned is saved.
    """
    asked = course.config
    course, lowered = course.fitted(machine)
    if lowered:
        progress.message(lowered)
    if not machine.ranks.leads:
        return TrainResult(out, _follow(course, course.begin(machine.device), machine, stop))
    folder = create_run_dir(out, course.job.name)
    with locked(folder):
        try:
            open_folder(folder, course.config, asked, course.job, machine, argv)
            begun = course.begin(machine.device)
            save(folder, course, begun)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # nothing that only looks like a run
            raise
        return _run(Desk(course, folder, machine, progress, save_every, begun), stop)


def resume_job(
    folder: Path,
    config: Config | None,
    machine: Machine,
    progress: Progress,
    stop: Stop,
    save_every: float = SAVE_EVERY,
) -> TrainResult:
    """Go on where a run stopped, in place; ``config`` replaces the stored one to extend it.

    Raises:
        CheckpointError: there is nothing to go on from.
        ConfigError: ``config`` changes what the saved state depends on.
        UsageError: another process is at work in the folder.
        GcnError, Interrupted: see `train_job`.
    """
    folder = folder if folder.is_dir() else folder.parent
    if not machine.ranks.leads:
        course, state = _reopened(folder, config)
        already = course.complete(state)
        complete = already or _follow(course, state, machine, stop)
        return TrainResult(folder, complete, already, course.more)
    with locked(folder) as held:
        course, state = _reopened(folder, config)
        if course.complete(state):
            return TrainResult(folder, complete=True, already=True, more=course.more)
        if held:
            clear_scratch(folder)
        with writing(folder):
            atomic_write_text(folder / "config.yaml", dump(course.config))
            if config is not None:
                save(folder, course, state)  # so that it goes on under this config from now on
                _ask_anew(folder / "meta.json", course.config)
        _tidy_metrics(folder / "metrics.jsonl", course.done(state), progress)
        return _run(Desk(course, folder, machine, progress, save_every, state), stop)


def load_run(path: Path) -> Checkpoint:
    """The checkpoint, or its folder, of a run that is to go on.

    Raises:
        CheckpointError: see `load_learning`; where none was written yet, it tells what to do; a
            copy of a run's checkpoint, beside which another one would be gone on with.
    """
    folder = path if path.is_dir() else path.parent
    try:
        saved = load_learning(path)
    except CheckpointError as error:
        argv = _read_meta(folder / "meta.json").get("argv")
        if (folder / "run.pt").exists() or not isinstance(argv, list):
            raise
        words = shlex.join(["gcn", *map(str, argv[1:])])
        raise CheckpointError(f"{error} to go on from; begin anew: {words}") from error
    if path not in (folder, folder / "run.pt"):
        raise CheckpointError(f"a run goes on from its run.pt, in its folder; {path} is a copy")
    return saved


def _reopened(folder: Path, config: Config | None) -> tuple[Course, State]:
    """A run's course, under a new config if there is one, and where it stands."""
    saved = load_run(folder)
    job = saved.job(folder.name)
    course = open_course(config or saved.config, job)
    if config is not None:
        open_course(saved.config, job).check_extension(course, saved.state)
    return course, saved.state


def _tidy_metrics(path: Path, done: int, progress: Progress) -> None:
    """Drop what is newer than the checkpoint, and tell of lines that no run wrote."""
    try:
        foreign = cut_metrics(path, done)
    except OSError as error:
        progress.message(f"{path} cannot be renewed: {error.strerror}; left as it is")
        return
    if foreign:
        progress.message(f"{path}: left out {foreign} lines that no run wrote")


def _ask_anew(meta: Path, config: Config) -> None:
    """Note the config that an extended run has now."""
    told = _read_meta(meta)
    if "asked" in told:
        told["asked"] = config.model_dump(mode="json")
        atomic_write_text(meta, json.dumps(told, indent=2) + "\n")


def _read_meta(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
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


def _run(desk: Desk, stop: Stop) -> TrainResult:
    course, progress, name = desk.course, desk.progress, desk.course.job.name
    output, state = course.config.output, desk.kept
    stop.agreed(desk.machine.ranks)
    _heed(stop, desk)
    progress.start(course.total_updates, name)
    clock, beat = Clock(), course.beats(state)
    try:
        for now, told in _learned(desk):
            state, last, beat = now, beat, course.beats(now)
            complete = course.complete(state)
            clock.add(told.act, told.work)
            desk.note({**told.record, "seconds": round(clock.elapsed, 3)})
            ending = stop.agreed(desk.machine.ranks)
            due = desk.is_late() or _due(output.checkpoint_every, last, beat)
            if (ending or due) and not complete:
                desk.keep(state)
            if complete or _due(output.grid_every, last, beat):
                desk.machine.ranks.every(partial(desk.show, state))  # all hear of a divergence
            if complete:  # told so when its samples are pictures, and lie there
                desk.keep(state)
            left = {"left": clock_text(clock.left(course.ahead(state)))}
            progress.update(course.done(state), {**told.shown, **left})
            if told.event:
                progress.message(f"{name}: {told.event}")
            if ending and not complete:
                _heed(stop, desk)
                break
    except PeerError as error:
        desk.keep(state)
        raise PeerError(f"{error}; go on with: gcn train --resume {desk.folder}") from error
    finally:
        progress.close()
        desk.close()
    return TrainResult(desk.folder, course.complete(state))


def _follow(course: Course, begun: State, machine: Machine, stop: Stop) -> bool:
    """Learn beside the process that tells and writes; whether the plan was fulfilled."""
    state, beat = begun, course.beats(begun)
    stop.agreed(machine.ranks)
    _leave(stop)
    try:
        for now, _ in course.learn(begun, machine):
            state, last, beat = now, beat, course.beats(now)
            ending = stop.agreed(machine.ranks)
            if course.complete(state) or _due(course.config.output.grid_every, last, beat):
                machine.ranks.every(lambda: None)  # the first process draws: they may diverge
            if ending:
                break
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise DeviceError(f"out of memory; lower {course.spare(state)}") from error
        raise
    complete = course.complete(state)
    if not complete:
        _leave(stop)
    return complete


def _leave(stop: Stop) -> None:
    """Stop at a signal that any of several processes had; raises Interrupted."""
    if stop.signal_exit_code is not None:
        raise Interrupted("stopped with the others", stop.signal_exit_code)


def _due(every: int, last: int, beat: int) -> bool:
    """Whether a multiple of ``every`` was passed; the same however often a run was resumed."""
    return beat // every > last // every


def _heed(stop: Stop, desk: Desk) -> None:
    """Stop at a signal; raises Interrupted."""
    if stop.signal_exit_code is not None:
        folder, done = desk.folder, desk.course.done(desk.kept)
        raise Interrupted(
            f"stopped after {done} of {desk.course.total_updates} updates; saved in "
            f"{folder}, go on with: gcn train --resume {folder}",
            stop.signal_exit_code,
        )


def _learned(desk: Desk) -> Iterator[tuple[State, Told]]:
    """`Course.learn`, its failures told in the user's words; what was learned before is kept."""
    course, last = desk.course, desk.kept
    try:
        for last, told in course.learn(desk.kept, desk.machine):
            yield last, told
    except DivergenceError as error:
        desk.note({"done": course.done(last), "event": str(error)})
        desk.keep(last)
        raise
    except (RuntimeError, MemoryError) as error:
        with contextlib.suppress(Exception):  # memory may not even suffice for this
            desk.keep(last)
        if is_out_of_memory(error):
            raise DeviceError(f"out of memory; lower {course.spare(last)}") from error
        raise
