"""``gcn synthesize``: fresh samples of any size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcn_cli.cli.options import (
    MOST_SAMPLES,
    MOST_SEED,
    AsJson,
    Checkpoint,
    Device,
    Precision,
    Quiet,
    SkipExisting,
    check_existing,
    examples,
    finite,
    left_to_draw,
    print_written,
    say,
)
from gcn_cli.cli.streams import print_bytes
from gcn_cli.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from gcn_cli.images.video import Film
    from gcn_cli.run.gallery import Gallery
    from gcn_cli.run.sampling import Artist, Request

_EXAMPLES = examples(
    "gcn synthesize --ckpt runs/00007-brick --size 512x384 --n 4",
    "gcn synthesize --ckpt runs/00007-brick --tile xy --out tiles",
    "gcn synthesize --ckpt runs/00007-brick --seeds 0,3,10-20",
    "gcn synthesize --ckpt runs/00007-brick -o brick.tif --depth 16",
    "gcn synthesize --ckpt runs/00007-brick --name '{stem}-{seed:04d}-{size}' --n 4",
    "gcn synthesize --ckpt runs/00007-brick -o - > brick.png",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("synthesize", epilog=_EXAMPLES)(synthesize)


def synthesize(
    ckpt: Checkpoint,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="WxH",
            help="In px; a number is a square; by default 256.",
        ),
    ] = None,
    n: Annotated[
        int, typer.Option("--n", min=1, max=MOST_SAMPLES, help="Samples, of seeds --seed and up.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MOST_SEED, help="First seed.")] = 0,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="0,3,10-20", help="Instead of --seed and --n.")
    ] = None,
    tile: Annotated[
        str, typer.Option("--tile", help="none, x, y or xy: axes along which copies join up.")
    ] = "none",
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature",
            min=0,
            max=100,
            callback=finite,
            help="Of the chains; 1 is the model's own.",
        ),
    ] = 1.0,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", "-o", metavar="DIR|FILE|-", help="By default RUN/synthesized; - is stdout."
        ),
    ] = None,
    depth: Annotated[
        str | None,
        typer.Option("--depth", help="8, 16, half or float; by default the exemplar's."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="TEXT", help="Of files in DIR: {stem}, {seed}, {size}."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.")
    ] = False,
    skip_existing: SkipExisting = False,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch", min=1, max=MOST_SAMPLES, help="Samples at once on a card; else one by one."
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    video: Annotated[
        Path | None,
        typer.Option(
            "--video", metavar="FILE", help="Film the first sample's chain: .gif or .mp4."
        ),
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Of a material: its maps under one light, too.")
    ] = False,
    guide: Annotated[
        Path | None,
        typer.Option(
            "--guide", metavar="IMG", help="A sketch: light and dark lie as they do there."
        ),
    ] = None,
    init: Annotated[
        Path | None, typer.Option("--init", metavar="IMG", help="Begin with this picture.")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="FILE", help="White: what of --init stays as it is."),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            "--strength",
            min=0,
            max=1,
            callback=finite,
            help="0: nothing of --guide or --init; by default 0.5.",
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Draw fresh samples of any size.

    Prints the path of every file written: one picture per seed, and a grid of several. The suffix
    of FILE says the format: .png, .tif, .exr, .jpg, .webp, .tga, .bmp. Nothing that exists is
    replaced without --overwrite. Of a material it is one folder per seed, which holds every map
    under its own name.
    A seed gives the same picture alone or among others, on the same kind of machine.
    """
    from gcn_cli.engine import choose_machine, joined
    from gcn_cli.images.video import Film, check_video
    from gcn_cli.run.checkpoint import load_checkpoint
    from gcn_cli.run.gallery import Gallery, artist_of
    from gcn_cli.run.outputs import Written, check_new, is_file_name, plan_outputs, run_stem
    from gcn_cli.run.sampling import USUAL
    from gcn_cli.run.steering import Steering, steered

    request = _request(size or str(USUAL), n, seed, seeds, tile, temperature)
    check_existing(overwrite, skip_existing)
    stream = out == "-"
    if stream:
        _check_stream(len(request.seeds), as_json)
    if video is not None and skip_existing:
        raise UsageError("--video films a chain that is drawn; leave out --skip-existing")
    if out is not None and not stream:
        is_file_name(Path(out))  # refuses before a checkpoint is read
    if video is not None:
        check_video(video)
    saved = load_checkpoint(ckpt)
    _check_material(saved.material is not None, out, preview)
    machine = joined(choose_machine(device, precision, saved.config.precision))
    ranks = machine.ranks
    artist = artist_of(saved)
    if size is None:
        height, width = artist.usual
        request = replace(request, height=height, width=width)
    request = steered(saved, request, Steering(guide, init, keep, strength))
    artist.canvas(request)  # refuses sizes that do not fit
    folder = ckpt if ckpt.is_dir() else ckpt.parent
    target = folder / "synthesized" if out is None else Path("stdout.png" if stream else out)
    outputs = plan_outputs(saved, request, target, run_stem(folder), depth, name, preview)
    outputs, request, kept = left_to_draw(outputs, request, skip_existing and not stream, quiet)
    films = [] if video is None else [video]
    new = [*([] if stream else outputs.every()), *films]
    again = overwrite or skip_existing
    given = [path for path in (guide, init, keep) if path is not None]
    ranks.every(lambda: check_new(new, folder, again, given))  # before any process writes
    if outputs.note:
        say(outputs.note, quiet)
    film = Film() if video is not None and ranks.leads else None
    gallery = Gallery(saved, request, machine, outputs)
    at_once = artist.batch(request, machine, batch)
    _draw(artist, gallery, at_once, film, stream, quiet)
    if not ranks.leads:
        return
    if film is not None and video is not None:
        film.write(video)
    if not stream:
        made = [*kept, *gallery.written, *(Written(path, "film") for path in films)]
        print_written(made, request, as_json)


def _draw(
    artist: Artist, gallery: Gallery, at_once: int, film: Film | None, stream: bool, quiet: bool
) -> None:
    """Every picture to its file, or the one to stdout."""
    from gcn_cli.run.gallery import draw
    from gcn_cli.run.jobs import shown
    from gcn_cli.run.progress import make_progress

    request, material = gallery.request, gallery.saved.material
    watch = None if film is None else lambda image: film.add(shown(material, image))
    ranks = gallery.machine.ranks
    mine = replace(request, seeds=ranks.own(request.seeds))
    pictures = draw(artist, mine, gallery.machine, make_progress(quiet), at_once, watch)
    gallery.share(ranks, lambda: _fill(gallery, pictures, stream))
    if ranks.leads and not stream:
        gallery.add_grid()


def _check_stream(count: int, as_json: bool) -> None:
    if count > 1:
        raise UsageError(f"-o - writes one picture to stdout; {count} were asked for")
    if as_json:
        raise UsageError("-o - writes the picture to stdout; leave out --json")


def _fill(gallery: Gallery, pictures: Iterable[tuple[int, Tensor]], stream: bool) -> None:
    """Write pictures as they come: files, or one to stdout."""
    kept = gallery.request.kept
    for number, drawn in pictures:
        picture = drawn if kept is None else kept.put(drawn)
        if stream:
            print_bytes(gallery.encoded(number, picture))
        else:
            gallery.add(number, picture)


def _request(
    size: str, n: int, seed: int, seeds: str | None, tile: str, temperature: float
) -> Request:
    from gcn_cli.run.sampling import TILINGS, Request, parse_seeds, parse_size

    if tile not in TILINGS:
        raise UsageError(f"--tile is one of {', '.join(TILINGS)}, not '{tile}'")
    if seeds is not None and (n, seed) != (1, 0):
        raise UsageError("--seeds says which samples; leave out --n and --seed")
    width, height = parse_size(size)
    numbers = parse_seeds(seeds) if seeds is not None else tuple(range(seed, seed + n))
    return Request(width, height, numbers, tile, temperature)  # type: ignore[arg-type]


def _check_material(is_one: bool, out: str | None, preview: bool) -> None:
    if preview and not is_one:
        raise UsageError("--preview lights a material's maps; this model is of a picture")
    if is_one and out == "-":
        raise UsageError("a material is several files; - is one: give a folder")
