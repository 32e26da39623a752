"""``gcn train``: learn from images."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcn_cli.cli.options import (
    MOST_SEED,
    AsJson,
    Device,
    Precision,
    Quiet,
    complete_preset,
    examples,
    json_line,
    parse_duration,
    parse_interval,
    say,
)
from gcn_cli.cli.signals import stopping
from gcn_cli.cli.streams import print_result
from gcn_cli.errors import DivergenceError, GcnError, ImageError, Interrupted, UsageError

if TYPE_CHECKING:
    from gcn_cli.engine import Machine
    from gcn_cli.images.materials import FileSet
    from gcn_cli.run.course import Course
    from gcn_cli.run.experiment import Stop, TrainResult
    from gcn_cli.run.jobs import Wish
    from gcn_cli.run.schema import Config

_EXAMPLES = examples(
    "gcn train --images brick.png",
    "gcn train --images ./textures --config texture-quick --max-time 55m",
    "gcn train --images brick.png --config paper-texture --dry-run",
    "gcn train --maps color=a.png --maps normal=b.png",
    "gcn train --resume runs/00007-brick --set likelihood.updates=80",
)


@dataclass(frozen=True)
class _Manner:
    """How runs are saved, seconds between two checkpoints, and told."""

    save_every: float
    as_json: bool
    quiet: bool


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train", epilog=_EXAMPLES)(train)


def train(
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", help="An image or a folder of images; several add up."),
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option("--maps", metavar="MAP=FILE", help="Maps of one material, named by hand."),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Folders within a folder, too.")
    ] = False,
    crop: Annotated[
        str | None,
        typer.Option("--crop", metavar="X,Y,W,H", help="Learn from this part, px from top left."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse all if one image cannot be used.")
    ] = False,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="NAME|FILE",
            help="A preset or a YAML file.",
            autocompletion=complete_preset,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="What --config FILE changes; by default 'texture'.",
            autocompletion=complete_preset,
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the config."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Where run folders go.")] = Path("runs"),
    mask: Annotated[
        Path | None,
        typer.Option("--mask", metavar="FILE", help="White is left out, like a hole to be filled."),
    ] = None,
    each: Annotated[
        bool | None,
        typer.Option("--each/--joint", help="One model per image, or one of all images."),
    ] = None,
    flatten: Annotated[
        bool, typer.Option("--flatten", help="Even out uneven light, as of photographs.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=MOST_SEED, help="Same as --set seed=.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    max_time: Annotated[
        str | None,
        typer.Option("--max-time", metavar="1h30m", help="Save and stop after this time in all."),
    ] = None,
    save_every: Annotated[
        str,
        typer.Option(
            "--save-every", metavar="60s", help="Time between checkpoints, at most; 0: any."
        ),
    ] = "60s",
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Go on with a run; --set may extend it."),
    ] = None,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Leave what has a complete run in --out; print it."),
    ] = False,
    as_json: AsJson = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the config and the cost; write nothing.")
    ] = False,
    note: Annotated[
        str,
        typer.Option("--note", metavar="TEXT", help="A line that models and samples carry along."),
    ] = "",
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Metrics and grids as TensorBoard's event files, too."),
    ] = False,
    quiet: Quiet = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell the network too.")] = False,
) -> None:
    """Learn a texture model of each image, or of each set of maps.

    Files such as rock_Color.png and rock_Normal.png are maps of one material: one model of both.

    Prints the folder of every complete run: checkpoint, config, metrics and grids of samples.
    Of several images, one that cannot be used is told and left out. Ctrl-C, SIGTERM and --max-time
    save first; --resume goes on. Exit codes: 0 done or out of time, 1 an image was left out, 2
    wrong usage, 3 diverged, 129, 130 or 143 interrupted.
    """
    deadline = time.monotonic() + parse_duration(max_time) if max_time else None
    manner = _Manner(parse_interval(save_every), as_json, quiet)
    overrides = [*(sets or []), *(["output.tensorboard=true"] if tensorboard else [])]
    if resume is not None:
        _refuse_beside_resume(
            {
                "--images": bool(images),
                "--maps": bool(maps),
                "--recursive": recursive,
                "--crop": crop is not None,
                "--strict": strict,
                "--flatten": flatten,
                "--config": config is not None,
                "--preset": preset is not None,
                "--mask": mask is not None,
                "--each/--joint": each is not None,
                "--seed": seed is not None,
                "--note": bool(note),
                "--skip-existing": skip_existing,
                "--dry-run": dry_run,
            }
        )
        _resume(resume, overrides, device, precision, deadline, manner)
        return
    overrides += _as_keys(each, flatten, seed)

    from gcn_cli.engine import choose_machine, describe, joined
    from gcn_cli.images.files import check_folder
    from gcn_cli.run.config import choose
    from gcn_cli.run.jobs import Wish

    if not dry_run:
        check_folder(out)  # before pictures are read and budgets measured
    exemplars, left_out = _exemplars(images or [], maps or [], recursive)
    wish = Wish(mask, None if crop is None else _parse_crop(crop))
    chosen = choose(config, preset, overrides)
    machine = joined(choose_machine(device, precision, chosen.precision))
    first = (images or [Path()])[0]
    courses, skipped = _open_courses(chosen, first, exemplars, wish, strict, note)
    say(f"{chosen.name} on {describe(machine)}", quiet)
    _tell_reading(courses, left_out, skipped, quiet)
    _tell_idle(courses, machine, quiet)
    if dry_run:
        _tell_cost(courses, machine, quiet)
        _end(skipped, len(exemplars))
        return
    if verbose:
        _tell_courses(courses)
    if skip_existing:
        courses = _without_finished(courses, out, machine, manner)
    _train_all(courses, out, machine, deadline, manner)
    _end(skipped, len(exemplars))


def _as_keys(each: bool | None, flatten: bool, seed: int | None) -> list[str]:
    """What options change that are short for a key."""
    keys = [] if each is None else [f"images.mode={'each' if each else 'joint'}"]
    keys += ["images.flatten=true"] if flatten else []
    return keys + ([] if seed is None else [f"seed={seed}"])


def _exemplars(
    images: list[Path], maps: list[str], recursive: bool
) -> tuple[list[FileSet], list[str]]:
    """The pictures and materials that are asked for; what was left out of folders."""
    if not images and not maps:
        raise UsageError("what to learn from? give --images, or --resume to go on with a run")
    if images and maps:
        raise UsageError("--maps names the files of one material; leave out --images")
    from gcn_cli.images.materials import group_files, named_files
    from gcn_cli.run.jobs import choose_files

    if maps:
        return [named_files(maps)], []
    files, left_out = choose_files(images, recursive)
    return group_files(files), left_out


def _open_courses(
    config: Config, first: Path, sets: list[FileSet], wish: Wish, strict: bool, note: str
) -> tuple[list[Course], list[ImageError]]:
    """A course of every exemplar that can be learned from; what is wrong with the others."""
    from gcn_cli.run.board import check_board
    from gcn_cli.run.jobs import each_job, joint_job
    from gcn_cli.run.kinds import open_course
    from gcn_cli.run.origin import check_note

    check_board(config)
    note = check_note(note)
    if config.images.mode == "joint":
        name = first.stem if first.is_file() else first.resolve().name
        return [open_course(config, joint_job(config, sets, name, wish).noted(note))], []
    jobs, failed = each_job(config, sets, wish, strict)
    courses = []
    for job in jobs:
        try:
            courses.append(open_course(config, job.noted(note)))
        except ImageError as error:
            if strict:
                raise
            failed.append(error)
    if failed and not courses:
        raise failed[0]
    return courses, failed


def _tell_reading(
    courses: list[Course], left_out: list[str], skipped: list[ImageError], quiet: bool
) -> None:
    """What was left out, what was done on reading, and what does not suit the network."""
    for note in (*left_out, *(note for course in courses for note in course.job.notes)):
        say(note, quiet)
    for error in skipped:
        say(f"error: {error}; left out")
    for hint in (course.hint() for course in courses):
        if hint is not None:
            say(hint, quiet)


def _tell_idle(courses: list[Course], machine: Machine, quiet: bool) -> None:
    """That there are more processes than an update has crops or chains for."""
    for course in courses:
        if course.width < machine.ranks.size:
            say(
                f"{course.job.name}: an update has work for {course.width} processes of "
                f"{machine.ranks.size}; a larger batch or more chains would employ the others",
                quiet,
            )


def _end(skipped: list[ImageError], count: int) -> None:
    """Exit code 1 where images were left out."""
    if skipped:
        raise GcnError(f"{len(skipped)} of {count} images could not be used and were left out")


def _parse_crop(text: str) -> tuple[int, int, int, int]:
    """Left, top, width and height from ``10,20,300,200``."""
    from gcn_cli.run.numbers import whole

    parts = [n for n in (whole(part) for part in text.split(",")) if n is not None]
    if len(parts) != 4 or text.count(",") != 3 or 0 in parts[2:]:
        raise UsageError(f"a crop reads like 10,20,300,200; '{text}' does not")
    left, top, width, height = parts
    return left, top, width, height


def _train_all(
    courses: list[Course], out: Path, machine: Machine, deadline: float | None, manner: _Manner
) -> None:
    from gcn_cli.run.experiment import Stop

    stop = Stop(deadline)
    with stopping(stop):
        diverged = _trained(courses, out, machine, stop, manner)
    if diverged:
        raise DivergenceError(
            f"{len(diverged)} of {len(courses)} models diverged: {', '.join(diverged)}"
        )


def _trained(
    courses: list[Course], out: Path, machine: Machine, stop: Stop, manner: _Manner
) -> list[str]:
    """Learn one model after the other; the names of those that diverged."""
    from gcn_cli.run.experiment import train_job
    from gcn_cli.run.progress import make_progress

    diverged: list[str] = []
    for number, course in enumerate(courses):
        name = course.job.name
        if stop.agreed(machine.ranks):
            if stop.signal_exit_code is not None:
                raise Interrupted(f"stopped before {name}", stop.signal_exit_code)
            names = ", ".join(left.job.name for left in courses[number:])
            say(f"time is up; not begun: {names}", manner.quiet)
            break
        try:
            progress = make_progress(manner.quiet)
            result = train_job(course, out, machine, progress, stop, save_every=manner.save_every)
            _tell(result, course.config.seed, manner)
        except DivergenceError as error:
            if len(courses) == 1:
                raise
            say(f"error: {name}: {error}")
            diverged.append(name)
    return diverged


def _resume(
    folder: Path,
    overrides: list[str],
    device: str,
    precision: str,
    deadline: float | None,
    manner: _Manner,
) -> None:
    from gcn_cli.engine import choose_machine, describe, joined
    from gcn_cli.run.board import check_board
    from gcn_cli.run.config import resolve
    from gcn_cli.run.experiment import Stop, load_run, resume_job
    from gcn_cli.run.progress import make_progress

    saved = load_run(folder)  # a missing or damaged one is the first thing to tell
    folder = folder if folder.is_dir() else folder.parent
    machine = joined(choose_machine(device, precision, saved.config.precision))
    config = resolve(None, folder / "config.yaml", overrides) if overrides else None
    check_board(config or saved.config)
    say(f"{folder} on {describe(machine)}", manner.quiet)
    stop = Stop(deadline)
    with stopping(stop):
        progress = make_progress(manner.quiet)
        result = resume_job(folder, config, machine, progress, stop, manner.save_every)
    if result.already:
        say(f"{folder} is complete already; extend it with --set {result.more}=...", manner.quiet)
    _tell(result, saved.config.seed, manner)


def _tell(result: TrainResult, seed: int, manner: _Manner) -> None:
    if manner.as_json:
        told = {"path": result.folder, "what": "run", "seed": seed, "complete": result.complete}
        print_result(json_line(told))
    elif result.complete:
        print_result(str(result.folder))
    if not result.complete:
        say(f"time is up; go on with: gcn train --resume {result.folder}", manner.quiet)


def _refuse_beside_resume(given: dict[str, bool]) -> None:
    for name, present in given.items():
        if present:
            raise UsageError(
                f"--resume goes on with the run's own images and config; leave out {name}"
            )


def _without_finished(
    courses: list[Course], out: Path, machine: Machine, manner: _Manner
) -> list[Course]:
    from gcn_cli.run.experiment import TrainResult, finished_run

    left = []
    for course in courses:
        folder, why = machine.ranks.agreed(finished_run(out, course))
        if folder is not None:
            say(f"{course.job.name}: complete in {folder}", manner.quiet)
            _tell(TrainResult(folder, complete=True), course.config.seed, manner)
            continue
        if why:
            say(f"{course.job.name}: learned anew, for {why}", manner.quiet)
        left.append(course)
    return left


def _tell_cost(courses: list[Course], machine: Machine, quiet: bool) -> None:
    from gcn_cli.run.clock import clock_text
    from gcn_cli.run.config import dump

    typer.echo(dump(courses[0].config), nl=False)
    if quiet:
        return
    _tell_courses(courses)
    total = 0.0
    for course in courses:
        cost = course.estimate(machine)
        total += cost.seconds
        say(
            f"{course.job.name}: {cost.parameters:,} parameters, {course.total_updates} updates, "
            f"about {_bytes_text(cost.memory)} and {clock_text(cost.seconds)}"
        )
        if cost.note:
            say(f"  {cost.note}")
    if len(courses) > 1:
        say(f"{len(courses)} models, about {clock_text(total)} in all")


def _bytes_text(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{-(-count // 2**20)} MiB"


def _tell_courses(courses: list[Course]) -> None:
    for course in courses:
        for line in course.told():
            say(line)
