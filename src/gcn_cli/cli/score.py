"""``gcn score``: how a picture stands among a model's own samples, and where it is odd."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcn_cli.cli.options import (
    MOST_SEED,
    AsJson,
    Checkpoint,
    Device,
    examples,
    print_json,
    print_table,
    say,
)
from gcn_cli.errors import CheckpointError, GcnError, ImageError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from gcn_cli.engine import Machine
    from gcn_cli.report.score import Judge, Score
    from gcn_cli.run.checkpoint import Checkpoint as Saved

_EXAMPLES = examples(
    "gcn score photo.jpg --ckpt runs/00000-stones",
    "gcn score photo.jpg --ckpt runs/00000-stones --map odd.png",
    "gcn score crops --ckpt runs/00000-stones --n 32 --json | jq .strangeness",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("score", epilog=_EXAMPLES)(score)


def score(
    images: Annotated[list[Path], typer.Argument(metavar="IMG...", help="Pictures or folders.")],
    ckpt: Checkpoint,
    n: Annotated[
        int,
        typer.Option("--n", min=3, max=4096, help="Own samples to stand among."),
    ] = 16,
    odd: Annotated[
        Path | None,
        typer.Option("--map", metavar="FILE", help="Of one picture: paint where it is odd."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.")] = False,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=MOST_SEED, help="Of samples and noise.")
    ] = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Tell how pictures stand among a model's own samples of their size.

    At every size and noise level: the energy U = |y|^2 / (2 (1 + s^2)) - f of the picture with
    noise, in nats per pixel, beside the own samples'; z, how many of their deviations it lies off;
    how many of them have less. All levels in one figure: strangeness, the root mean square of z.
    Own samples have one, too, most of them near 1; share is that of the model's samples that are as
    strange, at least 1 / (N + 1). A small share says that the model would hardly draw such a
    picture; the picture that it learned from may have one, where learning was short.

    The map says where: the picture's local error of reconstruction, at all levels together, is so
    many deviations odder than that of the exemplar: black up to 2, red at 4, yellow at 6, white
    from 8. What is reconstructed too well is odd, too.
    """
    from gcn_cli.engine import choose_machine
    from gcn_cli.report.at_size import Settings
    from gcn_cli.report.score import Judge
    from gcn_cli.run.checkpoint import load_checkpoint

    if odd is not None:
        _check_map(odd, images, overwrite)
    machine = choose_machine(device, "auto")
    saved = load_checkpoint(ckpt)
    if saved.config.kind != "texture":
        raise CheckpointError(
            f"{ckpt} has a field of a single noise level; gcn inspect --image measures that"
        )
    files = _files(saved, images)
    if odd is not None and len(files) > 1:
        raise UsageError(f"--map is of one picture, not of {len(files)}")
    pictures = [_read(saved, file) for file in files]
    judge = Judge(saved.model, machine, Settings(chains=n, seed=seed), saved.material is None)
    found, left = _scored(judge, files, pictures)
    if odd is not None:
        _paint(saved, pictures[0], machine, odd)  # before anything is told: who listens may leave
    if as_json:
        for file, one in found:
            print_json({**_data(file, one), "model": saved.fingerprint, "samples": n})
    else:
        for file, one in found:
            _print(file, one, alone=len(files) == 1)
    if odd is not None:
        typer.echo(str(odd), err=as_json)
    if left:
        raise GcnError(f"{left} of {len(files)} pictures could not be scored and were left out")


def _scored(
    judge: Judge, files: list[Path], pictures: list[Tensor]
) -> tuple[list[tuple[Path, Score]], int]:
    """Pictures that are large enough, with their scores; how many are not, which is told."""
    found: list[tuple[Path, Score]] = []
    for file, picture in zip(files, pictures, strict=True):
        try:
            found.append((file, judge.score(picture)))
        except ImageError as error:
            if len(files) == 1:
                raise ImageError(f"{file}: {error}") from error
            say(f"error: {file}: {error}")
    return found, len(files) - len(found)


def _check_map(file: Path, images: list[Path], overwrite: bool) -> None:
    from gcn_cli.images.files import check_folder, check_format

    check_format(file, "8")
    check_folder(file.parent)
    if file.exists() and (not overwrite or any(file.samefile(i) for i in images if i.exists())):
        way = "is a picture that is scored" if overwrite else "exists already; --overwrite"
        raise UsageError(f"{file} {way}{'' if overwrite else ' replaces it'}")


def _files(saved: Saved, images: list[Path]) -> list[Path]:
    """The pictures that paths stand for; of a material each is a folder of maps."""
    from gcn_cli.images.files import find_images

    if saved.material is not None:
        return images
    return [file for path in images for file in find_images(path)]


def _read(saved: Saved, file: Path) -> Tensor:
    from gcn_cli.run.jobs import read_whole

    levels = read_whole(saved.config, saved.material, file)
    told: Tensor = saved.model.in_units(levels[None])[0]
    return told


def _print(file: Path, found: Score, alone: bool) -> None:
    count = len(found.own_strangeness)
    if alone:
        heads = ["size", "s", "U, nats/px", "U of samples", "z", "less"]
        rows = [
            [
                f"1/{level.reduction}",
                f"{level.s:.3g}",
                f"{level.energy:.3f}",
                f"{level.own_energy:.3f} ± {level.own_spread:.3f}",
                f"{level.z:+.1f}",
                f"{level.rank} of {count}",
            ]
            for level in found.levels
        ]
        print_table("energy by size and noise level", heads, rows)
    typer.echo(
        f"{file}: strangeness {found.strangeness:.2f}; {found.stranger} of {count} own samples "
        f"are as strange, share {found.share:.3f}"
    )


def _data(file: Path, found: Score) -> dict[str, Any]:
    return {
        "image": file,
        "strangeness": found.strangeness,
        "stranger": found.stranger,
        "share": found.share,
        "own_strangeness": found.own_strangeness,
        "levels": [asdict(level) for level in found.levels],
    }


def _paint(saved: Saved, picture: Tensor, machine: Machine, file: Path) -> None:
    from gcn_cli.images.files import save_picture
    from gcn_cli.report.local import heat, oddity_map

    painted = heat(oddity_map(saved.model, saved.observed, picture, machine))
    try:
        save_picture(file, painted)
    except OSError as error:
        raise GcnError(f"cannot write {file}: {error.strerror}") from error
