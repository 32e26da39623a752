"""``gcn restore``: a noisy, blurred or small picture of a texture, as the model would have it."""

from __future__ import annotations

from dataclasses import replace
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
    examples,
    print_written,
    say,
)

if TYPE_CHECKING:
    from gcn_cli.run.gallery import Gallery
    from gcn_cli.run.outputs import Written
    from gcn_cli.run.progress import Progress
    from gcn_cli.run.restoration import RestoreArtist

_EXAMPLES = examples(
    "gcn restore noisy.png --ckpt runs/00007-wall --noise 25",
    "gcn restore soft.png --ckpt runs/00007-wall --blur 2 --noise 2 --n 4",
    "gcn restore small.png --ckpt runs/00007-wall --upscale 4 -o large.png",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("restore", epilog=_EXAMPLES)(restore)


def restore(
    image: Annotated[Path, typer.Argument(metavar="IMG", help="A picture.")],
    ckpt: Annotated[
        Path, typer.Option("--ckpt", metavar="RUN", help="A run folder, of the same texture.")
    ],
    noise: Annotated[
        float, typer.Option("--noise", metavar="SIGMA", help="White noise in it, grey levels.")
    ] = 0.0,
    blur: Annotated[
        float,
        typer.Option("--blur", metavar="SIGMA", help="Gaussian blur in it, px of the clean x."),
    ] = 0.0,
    upscale: Annotated[
        int, typer.Option("--upscale", metavar="2|4", help="How many times x is as wide and high.")
    ] = 1,
    n: Annotated[
        int,
        typer.Option(
            "--n", min=0, max=MOST_SAMPLES, help="Samples of what x may be, of seeds --seed and up."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MOST_SEED, help="First seed.")] = 0,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="DIR|FILE", help="By default in the run folder."),
    ] = None,
    depth: Annotated[
        str | None,
        typer.Option("--depth", help="8, 16, half or float; by default the picture's."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.")
    ] = False,
    skip_existing: SkipExisting = False,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Undo noise, blur and reduction of a picture of the texture that a model knows.

    The picture is taken to be obs = K x + SIGMA n: x, the clean picture, blurred, then reduced
    (bicubic), and white noise n. Beyond its frame it is taken to be mirrored. What is written is
    an estimate of the mean of x given obs: the best guess pixel by pixel, smoother than any x.
    Samples, with --n, are sharp and differ in what obs leaves open; they lie beside it, and so do
    their own mean and their spread: deviation over samples, times 4.
    Pixels of x must be as large as those that the model learned from.
    Prints the path of every file written.
    """
    from gcn_cli.engine import choose_machine
    from gcn_cli.images.files import read_picture
    from gcn_cli.run.checkpoint import load_checkpoint
    from gcn_cli.run.gallery import Gallery
    from gcn_cli.run.outputs import Written, check_new, is_file_name, plan_outputs
    from gcn_cli.run.progress import make_progress
    from gcn_cli.run.restoration import Damage, best_guess, restorer

    check_existing(overwrite, skip_existing)
    damage = Damage(noise, blur, upscale)
    damage.check()
    saved = load_checkpoint(ckpt)
    picture = read_picture(image, saved.config.images.role)
    for note in picture.notes:
        say(note, quiet)
    artist = restorer(saved, picture, damage)
    request = artist.request((seed,))
    artist.canvas(request)  # refuses sizes that do not fit
    folder = ckpt if ckpt.is_dir() else ckpt.parent
    target = folder / "restored" if out is None else Path(out)
    saved = replace(saved, depth=picture.depth)
    name = None if is_file_name(target) else "{stem}-restored"
    guess = plan_outputs(saved, request, target, image.stem, depth, name)
    if guess.note is not None:
        say(guess.note.replace("the exemplar", "the picture"), quiet)
    seeds = tuple(range(seed, seed + n))
    samples = replace(guess, files=_beside(guess.files[0], [f"seed{k}" for k in seeds]))
    names = ["mean", "spread"] if n > 1 else []
    summary = [*map(Written, _beside(guess.files[0], names), names)]
    every = [Written(guess.files[0], "guess"), *samples.shown(seeds), *summary]
    if skip_existing and all_there(every, request, as_json, quiet):
        return
    check_new([one.path for one in every], folder, overwrite or skip_existing, [image])
    machine = choose_machine(device, precision, saved.config.precision)
    gallery = Gallery(saved, replace(request, seeds=seeds), machine, samples)
    told = best_guess(saved, picture, damage, seed, machine, make_progress(quiet))
    gallery.write(guess.files[0], told, depth=guess.depth, role=guess.role, what="guess")
    _add_samples(artist, gallery, summary, make_progress(quiet))
    print_written(gallery.written, request, as_json)


def _beside(file: Path, names: list[str]) -> tuple[Path, ...]:
    """Files named after another one."""
    return tuple(file.with_name(f"{file.stem}-{name}{file.suffix}") for name in names)


def _add_samples(
    artist: RestoreArtist, gallery: Gallery, summary: list[Written], progress: Progress
) -> None:
    """All samples, in the end their mean and spread."""
    from gcn_cli.run.completion import mean_and_spread
    from gcn_cli.run.gallery import draw

    machine, outputs, samples = gallery.machine, gallery.outputs, []
    batch = artist.batch(gallery.request, machine, None)
    for number, picture in draw(artist, gallery.request, machine, progress, batch):
        gallery.add(number, picture)
        samples += [picture] if summary else []
    for one, picture in zip(summary, mean_and_spread(samples) if summary else (), strict=True):
        gallery.write(one.path, picture, None, outputs.depth, outputs.role, one.what)
