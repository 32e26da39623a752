"""What a run writes into its folder while it learns; the checkpoint is what counts."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from gcn_cli.engine import Machine, is_out_of_memory
from gcn_cli.errors import DivergenceError
from gcn_cli.images.files import atomic_write_text, save_png
from gcn_cli.images.sheets import image_grid
from gcn_cli.run.board import Board
from gcn_cli.run.checkpoint import Checkpoint, save_checkpoint, writing
from gcn_cli.run.config import dump
from gcn_cli.run.course import Course, State
from gcn_cli.run.jobs import Job
from gcn_cli.run.progress import Progress
from gcn_cli.run.rundir import append_jsonl, write_meta
from gcn_cli.run.schema import Config

_REALS = 16


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

    Raises:
        GcnError: the disk refuses.
    """
    sources = [str(path) for path in job.sources]
    extra = {"name": job.name, "images": sources, "device": str(machine.device)}
    told = {"content": job.content, "asked": asked.model_dump(mode="json")}
    with writing(folder):
        atomic_write_text(folder / "config.yaml", dump(config))
        write_meta(folder, list(argv) or sys.argv, {**extra, **told})
        save_png(folder / "reals.png", image_grid(job.shown(list(job.observed[:_REALS]))))


def save(folder: Path, course: Course, state: State) -> None:
    """Write the checkpoint of a state.

    Raises:
        GcnError: the disk refuses; an old checkpoint is then left as it was.
    """
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
        job.origin,
    )
    save_checkpoint(folder / "run.pt", checkpoint)


@dataclass
class Desk:
    """A run at work: what it writes into its folder.

    The checkpoint is what counts. Anything else that cannot be written is told once and left out.
    ``kept`` is the state that the checkpoint holds.
    """

    course: Course
    folder: Path
    machine: Machine
    progress: Progress
    save_every: float
    kept: State
    _kept_at: float = field(init=False)
    _missing: set[str] = field(default_factory=set)
    _board: Board = field(init=False)

    def __post_init__(self) -> None:
        self._kept_at = time.monotonic()
        done = self.course.done(self.kept)
        self._board = Board(self.folder, False, done)
        with self._spared("event files"):
            self._board = Board(self.folder, self.course.config.output.tensorboard, done)

    def keep(self, state: State) -> None:
        """Write the checkpoint, unless it holds this state already."""
        if state is not self.kept:
            save(self.folder, self.course, state)
            self.kept, self._kept_at = state, time.monotonic()

    def is_late(self) -> bool:
        """Whether the last checkpoint is as old as any may become."""
        return 0 < self.save_every <= time.monotonic() - self._kept_at

    def note(self, record: Mapping[str, object]) -> None:
        """Add a line of metrics."""
        with self._spared("metrics.jsonl"):
            append_jsonl(self.folder / "metrics.jsonl", record)
        with self._spared("event files"):
            self._board.add(record)

    def show(self, state: State) -> None:
        """Write a grid of samples.

        Raises:
            DivergenceError: they are no pictures any more.
        """
        with self._spared("samples"):
            grid = image_grid(self.course.job.shown(self.course.pictures(state, self.machine)))
            if not bool(torch.isfinite(grid).all()):
                done = self.course.done(state)
                raise DivergenceError(
                    f"samples are not finite after {done} updates; lower the rate"
                )
            save_png(self.folder / f"samples-{self.course.done(state):06d}.png", grid)
            self._board.show(grid, self.course.done(state))

    def close(self) -> None:
        """Write what is left."""
        with self._spared("event files"):
            self._board.close()

    @contextlib.contextmanager
    def _spared(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, MemoryError) as error:
            if not isinstance(error, OSError) and not is_out_of_memory(error):
                raise
            why = error.strerror if isinstance(error, OSError) else "out of memory"
            if what not in self._missing:
                self.progress.message(
                    f"{self.course.job.name}: {what} cannot be written: {why}; learning goes on"
                )
            self._missing.add(what)
