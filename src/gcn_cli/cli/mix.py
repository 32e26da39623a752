"""``gcn mix``: one picture of several models."""

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
    check_existing,
    examples,
    left_to_draw,
    print_written,
)
from gcn_cli.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from gcn_cli.run.sampling import Request

_EXAMPLES = examples(
    "gcn mix runs/00000-grass:0.7 runs/00001-gravel:0.3",
    "gcn mix runs/00000-grass runs/00001-gravel --map path.png --size 512",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("mix", epilog=_EXAMPLES)(mix)


def mix(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN[:WEIGHT]...",
            help="Run folders; weights count by their sum; --map takes their place.",
        ),
    ],
    share: Annotated[
        Path | None,
        typer.Option("--map", metavar="FILE", help="Black: the first model; white: the second."),
    ] = None,
    blend: Annotated[
        str,
        typer.Option("--blend", help="patches: models take turns; product: all at every pixel."),
    ] = "patches",
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="WxH", help="In px; by default the map's, or 256."),
    ] = None,
    n: Annotated[
        int, typer.Option("--n", min=1, max=MOST_SAMPLES, help="Samples, of seeds --seed and up.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MOST_SEED, help="First seed.")] = 0,
    tile: Annotated[
        str, typer.Option("--tile", help="none, x, y or xy: axes along which copies join up.")
    ] = "none",
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="DIR|FILE", help="By default in the first run."),
    ] = None,
    depth: Annotated[
        str | None, typer.Option("--depth", help="8, 16, half or float; by default the first's.")
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
    """Draw from several models at once: the product of their densities, each to its weight.

    Weights are shares of the area, or with --blend product the same at every pixel. With --map they
    vary over the picture, so that one texture grows into the other. Models must agree in channels
    and in the sizes that they were learned at.
    Prints the path of every file written.
    """
    from gcn_cli.engine import choose_machine
    from gcn_cli.run.checkpoint import load_checkpoint
    from gcn_cli.run.gallery import Gallery, draw
    from gcn_cli.run.origin import joined
    from gcn_cli.run.outputs import check_new, plan_outputs, run_stem
    from gcn_cli.run.progress import make_progress
    from gcn_cli.run.texture_mixing import BLENDS, MixArtist, check_mixable, parse_part

    check_existing(overwrite, skip_existing)
    if blend not in BLENDS:
        raise UsageError(f"--blend is one of {', '.join(BLENDS)}, not '{blend}'")
    named = [parse_part(text) for text in runs]
    paths = [path for path, _ in named]
    every = [load_checkpoint(path) for path in paths]
    check_mixable([str(path) for path in paths], every)
    if share is not None and len(every) != 2:
        raise UsageError(f"--map fades between two models, not {len(every)}")
    request, shares = _request(size, tuple(range(seed, seed + n)), tile, share)
    models = tuple(saved.model for saved in every)
    weights = tuple(weight for _, weight in named)
    artist = MixArtist(models, weights, shares, blend, seed)  # type: ignore[arg-type]
    artist.canvas(request)  # refuses sizes that do not fit
    machine = choose_machine(device, precision, every[0].config.precision)
    folders = [path if path.is_dir() else path.parent for path in paths]
    target = folders[0] / "mixed" if out is None else Path(out)
    stem = "-".join(run_stem(folder) for folder in folders)
    outputs = plan_outputs(every[0], request, target, stem, depth, _name(out, target))
    outputs, request, kept = left_to_draw(outputs, request, skip_existing, quiet)
    given = [] if share is None else [share]
    for folder in folders:
        check_new(outputs.every(), folder, overwrite or skip_existing, given)
    told = replace(every[0], origin=joined([saved.origin for saved in every]))
    gallery = Gallery(told, request, machine, outputs)
    batch = artist.batch(request, machine, None)
    for number, picture in draw(artist, request, machine, make_progress(quiet), batch):
        gallery.add(number, picture)
    gallery.add_grid()
    print_written([*kept, *gallery.written], request, as_json)


def _request(
    size: str | None, seeds: tuple[int, ...], tile: str, share: Path | None
) -> tuple[Request, Tensor | None]:
    """What to draw, and the second model's weight (H, W) at every pixel of it."""
    from gcn_cli.images.files import read_picture
    from gcn_cli.images.sheets import resize
    from gcn_cli.run.sampling import TILINGS, USUAL, Request, parse_size

    if tile not in TILINGS:
        raise UsageError(f"--tile is one of {', '.join(TILINGS)}, not '{tile}'")
    if share is None:
        width, height = parse_size(size or str(USUAL))
        return Request(width, height, seeds, tile), None  # type: ignore[arg-type]
    levels = read_picture(share, "data").levels.mean(0, keepdim=True)
    width, height = (levels.shape[2], levels.shape[1]) if size is None else parse_size(size)
    fitted = resize(levels, (height, width))[0]
    return Request(width, height, seeds, tile), (fitted / 255).clamp(0, 1)  # type: ignore[arg-type]


def _name(out: str | None, target: Path) -> str | None:
    from gcn_cli.run.outputs import is_file_name

    return None if out is not None and is_file_name(target) else "{stem}-{size}-seed{seed}"
