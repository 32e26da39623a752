"""Training as a user sees it: images in, a run folder out. Here the core meets the disk.

Run folder: ``run.pt`` (checkpoint), ``config.yaml`` (resolved, replayable), ``meta.json``,
``metrics.jsonl`` (one line per update), ``reals.png``, ``samples-000050.png`` ...
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from gcn_cli.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gcn_cli.clock import Clock, clock_text
from gcn_cli.config import Config, dump
from gcn_cli.core.field import Plan
from gcn_cli.core.guard import StepInfo
from gcn_cli.core.schedule import LearningState, begin, current_model, learn
from gcn_cli.core.support import Machine
from gcn_cli.errors import (
    CheckpointError,
    ConfigError,
    DeviceError,
    DivergenceError,
    ImageError,
    Interrupted,
)
from gcn_cli.imaging import (
    atomic_write_text,
    find_images,
    image_grid,
    load_image,
    resize,
    save_png,
)
from gcn_cli.machine import is_out_of_memory
from gcn_cli.packing import state_to
from gcn_cli.plan import Subject, build_plan, mean_colour
from gcn_cli.progress import Progress
from gcn_cli.rundir import append_jsonl, create_run_dir, read_jsonl, write_meta

_HUGE, _MODERATE = 12, 6  # sides of an image, in fields of view of the network
_GRID_CHAINS = 16


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
class Job:
    """One model to learn: a name, its images (N, C, H, W) in grey levels, their mean colour."""

    name: str
    observed: Tensor
    mean: Tensor
    sources: tuple[Path, ...] = ()


@dataclass(frozen=True)
class TrainResult:
    """Where a run lies and whether its plan was fulfilled."""

    folder: Path
    complete: bool
    already: bool = False


def load_jobs(config: Config, path: Path, mode: str | None = None) -> list[Job]:
    """The models that a file or folder of images asks for, every image read and checked.

    Raises:
        ImageError: nothing to read, an unreadable image, or images that do not agree.
    """
    files = find_images(path)
    images = [prepare_image(config, load_image(file)) for file in files]
    if (mode or config.images.mode) == "each":
        pairs = zip(files, images, strict=True)
        return [_job(file.stem, image[None], (file,)) for file, image in pairs]
    colours = max(image.shape[0] for image in images)
    images = [image.expand(colours, -1, -1) for image in images]
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise ImageError(
            f"one joint model needs images of one size; {path} holds {len(shapes)} sizes "
            "(set images.size to resize them all)"
        )
    name = path.stem if path.is_file() else path.resolve().name
    return [_job(name, torch.stack(images), tuple(files))]


def _job(name: str, observed: Tensor, files: tuple[Path, ...]) -> Job:
    return Job(name, observed, mean_colour(observed), files)


def prepare_image(config: Config, image: Tensor) -> Tensor:
    """One image (C, H, W) in the colours and size that the config asks for."""
    if config.images.colour == "rgb":
        image = image.expand(3, -1, -1)
    elif image.shape[0] == 3:
        grey = torch.equal(image[0], image[1]) and torch.equal(image[1], image[2])
        if config.images.colour == "grey":
            weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
            image = (image * weights).sum(0, keepdim=True)
        elif grey:
            image = image[:1]
    if config.images.size:
        return resize(image, (config.images.size, config.images.size))
    limit = config.images.max_side
    if limit and max(image.shape[-2:]) > limit:
        factor = limit / max(image.shape[-2:])
        h, w = (max(1, round(n * factor)) for n in image.shape[-2:])
        image = resize(image, (h, w))
    return image


def plan_job(config: Config, job: Job) -> Plan:
    """The plan for one job; errors name its image."""
    try:
        return build_plan(config, Subject.of(job.observed, job.mean))
    except ImageError as error:
        where = job.sources[0].name if len(job.sources) == 1 else job.name
        raise ImageError(f"{where}: {error}") from error


def size_hint(job: Job, plan: Plan) -> str | None:
    """What to tell of an image that dwarfs what the network sees of it at a time."""
    field = plan.net.receptive_field
    height, width = job.observed.shape[-2:]
    if min(height, width) < _HUGE * field:
        return None
    side = 64 * round(_MODERATE * field / 64)
    return (
        f"{job.name}: of {width}x{height} px the network sees {field} px at a time; if its motifs "
        f"are wider, let it learn from a smaller copy: --set images.max_side={side}"
    )


def train_job(
    config: Config,
    job: Job,
    out: Path,
    machine: Machine,
    progress: Progress,
    stop: Stop,
    argv: Sequence[str] = (),
) -> TrainResult:
    """Learn one model in a new run folder below ``out``."""
    plan = plan_job(config, job)  # what cannot be learned leaves no folder behind
    folder = create_run_dir(out, job.name)
    open_folder(folder, config, job, machine, argv)
    return _run(config, plan, job, begin(), folder, machine, progress, stop)


def open_folder(
    folder: Path, config: Config, job: Job, machine: Machine, argv: Sequence[str] = ()
) -> None:
    """Write what a run folder holds before anything is learned."""
    atomic_write_text(folder / "config.yaml", dump(config))
    sources = [str(path) for path in job.sources]
    extra = {"name": job.name, "images": sources, "device": str(machine.device)}
    write_meta(folder, list(argv) or sys.argv, extra)
    save_png(folder / "reals.png", image_grid(list(job.observed[:_GRID_CHAINS])))


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
    job = Job(folder.name, saved.observed, saved.mean)
    plan = plan_job(config or saved.config, job)
    if config is not None:
        _check_extension(plan_job(saved.config, job), plan, saved.state)
    config = config or saved.config
    if saved.state.complete(plan):
        return TrainResult(folder, complete=True, already=True)
    done = saved.state.done(plan)
    kept = [r for r in read_jsonl(folder / "metrics.jsonl") if r["done"] <= done]
    text = "".join(_json_line(record) for record in kept)
    atomic_write_text(folder / "metrics.jsonl", text)
    atomic_write_text(folder / "config.yaml", dump(config))
    state = state_to(saved.state, machine.device)
    return _run(config, plan, job, state, folder, machine, progress, stop)


def finished_run(out: Path, name: str) -> Path | None:
    """The complete run of a job of this name below ``out``, if there is one."""
    for meta in sorted(out.glob("*/meta.json")):
        with contextlib.suppress(CheckpointError, OSError, ValueError):
            told = json.loads(meta.read_text(encoding="utf-8"))
            same = isinstance(told, dict) and told.get("name") == name
            if same and load_checkpoint(meta.parent).complete:
                return meta.parent
    return None


def _check_extension(old: Plan, new: Plan, state: LearningState) -> None:
    """Refuse a plan under which the saved state means something else."""
    if _frame(old) != _frame(new):
        raise ConfigError(
            "--resume may change how long and how fast a run learns, not its seed, networks, "
            "canvas or chains; start a new run for those"
        )
    updates = new.stages[state.stage].learning.updates
    if updates < state.update or (updates == state.update and not state.complete(new)):
        raise ConfigError(
            f"this run has done {state.update} updates already; "
            f"learning.updates cannot fall to {updates}"
        )


def _frame(plan: Plan) -> tuple[object, ...]:
    """What a saved state's tensors depend on."""
    depths = tuple(stage.depth for stage in plan.stages)
    kinds = tuple(stage.learning.chains for stage in plan.stages)
    return plan.seed, plan.net, plan.boundary, plan.canvas, plan.chains, depths, kinds


def _json_line(record: object) -> str:
    return json.dumps(record) + "\n"


def _run(
    config: Config,
    plan: Plan,
    job: Job,
    begun: LearningState,
    folder: Path,
    machine: Machine,
    progress: Progress,
    stop: Stop,
) -> TrainResult:
    progress.start(plan.total_updates, job.name)
    clock = Clock(job.observed.shape)
    state, saved_at = begun, begun.done(plan)
    try:
        for now, info in _learned(config, plan, job, begun, folder, machine):
            clock.add(plan, info)
            state, done = now, now.done(plan)
            append_jsonl(folder / "metrics.jsonl", _record(info, done, clock.elapsed))
            progress.update(done, _fields(info, clock.left(plan, state)))
            if info.event:
                progress.message(f"{job.name}: {info.event}")
            complete = state.complete(plan)
            if complete or done % config.output.grid_every == 0:
                _write_grid(folder, done, state, job.mean)
            if complete or stop.wanted or done - saved_at >= config.output.checkpoint_every:
                _save(folder, config, plan, job, state)
                saved_at = done
            if stop.wanted and not complete:
                if stop.signal_exit_code is not None:
                    raise Interrupted(
                        f"stopped after {done} of {plan.total_updates} updates; saved in {folder}, "
                        f"go on with: gcn train --resume {folder}",
                        stop.signal_exit_code,
                    )
                break
    finally:
        progress.close()
    return TrainResult(folder, state.complete(plan))


def _learned(
    config: Config, plan: Plan, job: Job, begun: LearningState, folder: Path, machine: Machine
) -> Iterator[tuple[LearningState, StepInfo]]:
    """`learn`, its failures told in the user's words; what was learned before is kept."""
    last = begun
    try:
        for last, info in learn(plan, job.observed, job.mean, begun, machine):
            yield last, info
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise DeviceError("out of memory; lower learning.count (chains) or canvas") from error
        raise
    except DivergenceError as error:
        event = {"done": last.done(plan), "event": str(error)}
        append_jsonl(folder / "metrics.jsonl", event)
        if last.weights:
            _save(folder, config, plan, job, last)
        raise


def _save(folder: Path, config: Config, plan: Plan, job: Job, state: LearningState) -> None:
    model = current_model(plan, state, job.mean)
    complete = state.complete(plan)
    save_checkpoint(
        folder / "run.pt", Checkpoint(config, job.observed, job.mean, state, model, complete)
    )


def _write_grid(folder: Path, done: int, state: LearningState, mean: Tensor) -> None:
    grid = image_grid(list(state.chains.images[:_GRID_CHAINS].cpu() + mean))
    save_png(folder / f"samples-{done:06d}.png", grid)


def _record(info: StepInfo, done: int, elapsed: float) -> dict[str, object]:
    """One update for ``metrics.jsonl``."""
    told = {"done": done, **asdict(info), "gap": info.gap, "active": list(info.active)}
    return {**told, "seconds": round(elapsed, 3)}


def _fields(info: StepInfo, left: float) -> dict[str, str]:
    """One update for the progress line."""
    return {
        "f(obs)-f(syn)": f"{info.gap:+.2f}",
        "B": f"{info.spread_basis:.1f}",
        "chains": f"{info.spread_chains:.1f}/{info.spread_data:.1f}",
        "left": clock_text(left),
    }
