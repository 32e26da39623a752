"""``gcn inpaint`` and ``gcn seamless``: what is missing of a picture, drawn by a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcn_cli.cli.options import (
    MOST_SAMPLES,
    MOST_SEED,
    AsJson,
    Device,
    Precision,
    Quiet,
    SkipExisting,
    all_there,
    check_existing,
    complete_preset,
    examples,
    print_written,
    say,
)
from gcn_cli.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from gcn_cli.engine import Machine
    from gcn_cli.run.checkpoint import Checkpoint
    from gcn_cli.run.completion import Source
    from gcn_cli.run.outputs import Outputs, Written
    from gcn_cli.run.sampling import Tiling

_INPAINT = examples(
    "gcn inpaint wall.jpg --mask lamp.png",
    "gcn inpaint wall.jpg --mask lamp.png --ckpt runs/00007-wall --n 4",
    "gcn inpaint wall.jpg --pad 64,0,64,0 --ckpt runs/00007-wall -o wider.png",
)
_SEAMLESS = examples(
    "gcn seamless wall.jpg",
    "gcn seamless wall.jpg --ckpt runs/00007-wall --band 48 -o tile.png",
    "gcn seamless wall.jpg --ckpt runs/00007-wall --tile x",
)
_TILINGS = ("x", "y", "xy")

Image = Annotated[Path, typer.Argument(metavar="IMG", help="A picture, or a folder of maps.")]
Run = Annotated[
    Path | None,
    typer.Option(
        "--ckpt", metavar="RUN", help="A run folder; by default one is learned from the picture."
    ),
]
Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="NAME|FILE",
        help="A preset to learn with, without --ckpt.",
        autocompletion=complete_preset,
    ),
]
Runs = Annotated[Path, typer.Option("--runs", help="Where a run folder goes, without --ckpt.")]
Count = Annotated[
    int, typer.Option("--n", min=1, max=MOST_SAMPLES, help="Answers, of seeds --seed and up.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=MOST_SEED, help="First seed.")]
Out = Annotated[
    str | None,
    typer.Option("--out", "-o", metavar="DIR|FILE", help="By default in the run folder."),
]
Depth = Annotated[
    str | None, typer.Option("--depth", help="8, 16, half or float; by default the picture's.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
Preview = Annotated[
    bool, typer.Option("--preview", help="Of a material: its maps under one light, too.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("inpaint", epilog=_INPAINT)(inpaint)
    app.command("seamless", epilog=_SEAMLESS)(seamless)


@dataclass(frozen=True)
class _Wanted:
    """What both commands are asked for alike."""

    image: Path
    seeds: tuple[int, ...]
    out: str | None
    depth: str | None
    overwrite: bool
    skip: bool
    preview: bool
    as_json: bool
    quiet: bool
    verb: str
    tile: Tiling = "none"


def inpaint(
    image: Image,
    mask: Annotated[
        Path | None,
        typer.Option("--mask", metavar="FILE", help="White is drawn anew; so is transparency."),
    ] = None,
    pad: Annotated[
        str | None,
        typer.Option("--pad", metavar="L,T,R,B", help="Room around the picture to draw, px."),
    ] = None,
    ckpt: Run = None,
    config: Config = None,
    runs: Runs = Path("runs"),
    n: Count = 1,
    seed: Seed = 0,
    out: Out = None,
    depth: Depth = None,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    preview: Preview = False,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Draw what is missing of a picture; what is known stays as it is.

    Without --ckpt a model is learned first, from what is known, into a run folder. Of several
    answers their mean is written, too, and their spread: deviation over answers, times 4.
    Prints the path of every file written.
    """
    from gcn_cli.run.completion import padded, read_source

    room = None if pad is None else _parse_pad(pad)
    seeds = tuple(range(seed, seed + n))
    wanted = _Wanted(
        *(image, seeds, out, depth, overwrite, skip_existing, preview, as_json, quiet), "inpainted"
    )
    check_existing(overwrite, skip_existing)
    if ckpt is None:
        if skip_existing and _is_done(wanted):
            return
        _check_missing(image, mask, room)
        _check_out(out, overwrite, n)
    machine, saved, folder = _model(ckpt, config, runs, image, mask, device, precision, quiet)
    source = read_source(saved, image, mask)
    _complete(wanted, source if room is None else padded(source, room), machine, saved, folder)


def seamless(
    image: Image,
    band: Annotated[
        int | None,
        typer.Option(
            "--band",
            min=2,
            max=32768,
            metavar="PX",
            help="Drawn anew at a seam; by default a quarter.",
        ),
    ] = None,
    tile: Annotated[str, typer.Option("--tile", help="x, y or xy: the seams to close.")] = "xy",
    ckpt: Run = None,
    config: Config = None,
    runs: Runs = Path("runs"),
    n: Count = 1,
    seed: Seed = 0,
    out: Out = None,
    depth: Depth = None,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    preview: Preview = False,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a picture tile: its middle stays as it is, a band at every seam is drawn anew.

    Without --ckpt a model is learned first, from the picture, into a run folder. Sides are cut to
    what the model can tile. Prints the path of every file written.
    """
    from gcn_cli.run.completion import banded, read_source

    if tile not in _TILINGS:
        raise UsageError(f"--tile is one of {', '.join(_TILINGS)}, not '{tile}'")
    seeds = tuple(range(seed, seed + n))
    wanted = _Wanted(
        *(image, seeds, out, depth, overwrite, skip_existing, preview, as_json, quiet),
        "seamless",
        tile,  # type: ignore[arg-type]
    )
    check_existing(overwrite, skip_existing)
    if ckpt is None:
        if skip_existing and _is_done(wanted):
            return
        _check_out(out, overwrite, n)
        _check_band(image, band)
    machine, saved, folder = _model(ckpt, config, runs, image, None, device, precision, quiet)
    multiple = getattr(saved.model, "multiple", 1)
    source = banded(read_source(saved, image, None), wanted.tile, multiple, band)
    _complete(wanted, source, machine, saved, folder)


def _check_missing(image: Path, mask: Path | None, room: tuple[int, int, int, int] | None) -> None:
    """Refuse, before minutes of learning, a picture of which nothing is missing."""
    from gcn_cli.images.files import read_picture

    asked = mask is not None or any(room or ()) or not image.is_file()
    if not asked and read_picture(image).known is None:
        raise UsageError("nothing is missing: give --mask, --pad or a picture that is cut out")


def _check_band(image: Path, band: int | None) -> None:
    """Refuse, before minutes of learning, a band that leaves nothing."""
    from gcn_cli.images.files import read_picture
    from gcn_cli.run.completion import check_band

    if band is not None and image.is_file():
        height, width = read_picture(image).levels.shape[-2:]
        check_band(band, height, width)


def _check_out(out: str | None, overwrite: bool, count: int) -> None:
    """Refuse, before minutes of learning, a file of no known format, in the way, or for several."""
    from gcn_cli.run.outputs import is_file_name

    if out is None or not is_file_name(Path(out)):
        return
    if count > 1:
        raise UsageError(f"{out} is one file for {count} pictures; give a folder")
    if Path(out).exists() and not overwrite:
        raise UsageError(f"{out} exists already; --overwrite replaces it")


def _is_done(wanted: _Wanted) -> bool:
    """Whether FILE is there, so that no model need be learned for it."""
    from gcn_cli.images.files import read_picture
    from gcn_cli.run.outputs import Written, is_file_name
    from gcn_cli.run.sampling import Request

    if wanted.out is None or not is_file_name(Path(wanted.out)):
        raise UsageError("--skip-existing looks before a model is learned: give -o FILE, or --ckpt")
    path = Path(wanted.out)
    if not path.exists():
        return False
    height, width = read_picture(path).levels.shape[-2:]
    made = [Written(path, "sample", wanted.seeds[0])]
    return all_there(made, Request(width, height, wanted.seeds), wanted.as_json, wanted.quiet)


def _parse_pad(text: str) -> tuple[int, int, int, int]:
    """Left, top, right and bottom from ``64,0,64,0``."""
    from gcn_cli.run.numbers import whole
    from gcn_cli.run.sampling import MAX_SIDE

    parts = [n for n in (whole(part, MAX_SIDE) for part in text.split(",")) if n is not None]
    if len(parts) != 4 or text.count(",") != 3:
        raise UsageError(
            f"room reads like 64,0,64,0 (left, top, right, bottom), each at most {MAX_SIDE} px; "
            f"'{text}' does not"
        )
    left, top, right, bottom = parts
    return left, top, right, bottom


def _model(
    ckpt: Path | None,
    config: str | None,
    runs: Path,
    image: Path,
    mask: Path | None,
    device: str,
    precision: str,
    quiet: bool,
) -> tuple[Machine, Checkpoint, Path]:
    """The machine, the model that is given or learned now, and its run folder."""
    from gcn_cli.engine import choose_machine
    from gcn_cli.run.checkpoint import load_checkpoint

    if ckpt is not None:
        if config is not None:
            raise UsageError("--config is to learn with; with --ckpt leave it out")
        saved = load_checkpoint(ckpt)
        folder = ckpt if ckpt.is_dir() else ckpt.parent
        return choose_machine(device, precision, saved.config.precision), saved, folder
    folder = _learned(config, runs, image, mask, device, precision, quiet)
    saved = load_checkpoint(folder)
    return choose_machine(device, precision, saved.config.precision), saved, folder


def _learned(
    config: str | None,
    runs: Path,
    image: Path,
    mask: Path | None,
    device: str,
    precision: str,
    quiet: bool,
) -> Path:
    """A run folder of a model of what is known of a picture."""
    from gcn_cli.cli.signals import stopping
    from gcn_cli.engine import choose_machine, describe
    from gcn_cli.images.materials import group_files
    from gcn_cli.run.board import check_board
    from gcn_cli.run.config import choose
    from gcn_cli.run.experiment import Stop, train_job
    from gcn_cli.run.jobs import Wish, choose_files, set_job
    from gcn_cli.run.kinds import open_course
    from gcn_cli.run.progress import make_progress

    chosen = choose(config, None, [])
    check_board(chosen)
    machine = choose_machine(device, precision, chosen.precision)
    sets = group_files(choose_files([image])[0])
    if len(sets) != 1:
        raise UsageError(f"{image} holds {len(sets)} pictures; one is completed at a time")
    course = open_course(chosen, set_job(chosen, sets[0], Wish(mask)).noted(""))
    say(f"learning {course.job.name} with {chosen.name} on {describe(machine)}", quiet)
    stop = Stop()
    with stopping(stop):
        result = train_job(course, runs, machine, make_progress(quiet), stop)
    if not result.complete:
        raise Interrupted(f"stopped; go on with: gcn train --resume {result.folder}", 130)
    say(f"learned {result.folder}; next time: --ckpt {result.folder}", quiet)
    return result.folder


def _complete(
    wanted: _Wanted, source: Source, machine: Machine, saved: Checkpoint, folder: Path
) -> None:
    """Draw every answer and write it."""
    from gcn_cli.run.completion import asked, mean_and_spread
    from gcn_cli.run.gallery import Gallery, artist_of, draw
    from gcn_cli.run.outputs import check_new, is_file_name, plan_outputs
    from gcn_cli.run.progress import make_progress

    for note in source.notes:
        say(note, wanted.quiet)
    request = asked(source, wanted.seeds, wanted.tile)
    saved = replace(saved, depth=source.depth)
    artist = artist_of(saved)
    artist.canvas(request)  # refuses sizes that do not fit
    target = folder / wanted.verb if wanted.out is None else Path(wanted.out)
    stem = wanted.image.stem if wanted.image.is_file() else wanted.image.resolve().name
    name = None if is_file_name(target) else f"{{stem}}-{wanted.verb}-seed{{seed}}"
    outputs = plan_outputs(saved, request, target, stem, wanted.depth, name, wanted.preview)
    summary = _summary(outputs)
    every = [*outputs.shown(request.seeds), *summary]
    if wanted.skip and all_there(every, request, wanted.as_json, wanted.quiet):
        return
    replaced = wanted.overwrite or wanted.skip
    check_new([one.path for one in every], folder, replaced, [wanted.image])
    gallery = Gallery(saved, request, machine, outputs)
    answers = []
    batch = artist.batch(request, machine, None)
    for number, picture in draw(artist, request, machine, make_progress(wanted.quiet), batch):
        assert request.kept is not None
        answer = request.kept.put(picture)
        gallery.add(number, answer)
        answers += [answer] if summary else []
    gallery.add_grid()
    for one, whole in zip(summary, mean_and_spread(answers) if summary else (), strict=True):
        gallery.write(one.path, whole, None, outputs.depth, outputs.role, one.what)
    print_written(gallery.written, request, wanted.as_json)


def _summary(outputs: Outputs) -> list[Written]:
    """Where mean and spread of several answers go; of a material nowhere."""
    from gcn_cli.run.outputs import Written

    if len(outputs.files) < 2 or outputs.maps:
        return []
    first = outputs.files[0]
    stem, names = first.stem.rpartition("-seed")[0], ("mean", "spread")
    return [Written(first.with_name(f"{stem}-{what}{first.suffix}"), what) for what in names]
