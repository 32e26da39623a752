"""``gcn likelihood``: how likely a picture is, in bits, where two ways to it agree."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcn_cli.cli.options import (
    MOST_SAMPLES,
    MOST_SEED,
    AsJson,
    Checkpoint,
    Device,
    examples,
    finite,
    print_json,
    print_table,
)
from gcn_cli.errors import CheckpointError

if TYPE_CHECKING:
    from gcn_cli.report.likely import Likely

_EXAMPLES = examples(
    "gcn likelihood photo.jpg --ckpt runs/00000-stones",
    "gcn likelihood photo.jpg --ckpt runs/00000-stones --steps 800 --json",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("likelihood", epilog=_EXAMPLES)(likelihood)


def likelihood(
    image: Annotated[Path, typer.Argument(metavar="IMG", help="A picture.")],
    ckpt: Checkpoint,
    lowest: Annotated[
        float | None,
        typer.Option(
            "--lowest",
            min=0.001,
            max=1000,
            callback=finite,
            help="Level of the noise on it, contrasts; if not given it is searched.",
        ),
    ] = None,
    side: Annotated[
        int, typer.Option("--side", min=1, max=512, help="Most px a side that are looked at.")
    ] = 64,
    steps: Annotated[
        int, typer.Option("--steps", min=2, max=100_000, help="Levels of either way.")
    ] = 200,
    moves: Annotated[
        int,
        typer.Option("--moves", min=1, max=10_000, help="Leaps of a trajectory at every level."),
    ] = 10,
    chains: Annotated[
        int, typer.Option("--chains", min=2, max=MOST_SAMPLES, help="Chains, and draws of noise.")
    ] = 4,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MOST_SEED, help="Of all noise.")] = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Tell -log2 p of a picture, in bits per value, by two ways that must agree.

    Of the middle of the picture at the model's coarsest size, as a torus, with noise on it, as a
    density per grey level. One way: ln Z by annealed importance sampling down the ladder of levels
    from the Gaussian reference, and up it from the picture, which bound it from both sides. The
    other: the integral of denoising errors over all levels, which needs no Z. They are two views of
    one number where every p_s is the blurred p of the level below. The noise is the least, below
    the picture's own contrast, down to which both are sure and agree; where they do at none, or
    not at --lowest, no number is printed, and the exit code is 1.
    """
    from gcn_cli.engine import choose_machine
    from gcn_cli.report.likely import Wanted, likely
    from gcn_cli.run.checkpoint import load_checkpoint
    from gcn_cli.run.jobs import read_whole

    machine = choose_machine(device, "fp32")
    saved = load_checkpoint(ckpt)
    if saved.config.kind != "texture" or saved.material is not None:
        raise CheckpointError(
            f"{ckpt} is no model of pictures at all noise levels; there is but one way to its p"
        )
    picture = read_whole(saved.config, None, image)
    found = likely(saved.model, picture, machine, Wanted(lowest, side, steps, moves, chains, seed))
    if as_json:
        print_json(_data(image, found))
    else:
        _print(image, found)
    if not found.agree:
        raise typer.Exit(1)


def _data(image: Path, found: Likely) -> dict[str, Any]:
    told = asdict(found)
    return {"image": image, "agree": found.agree, "bits_per_value": found.bits, **told}


def _print(image: Path, found: Likely) -> None:
    heads = ["", "bits per value", "error"]
    rows = [
        ["annealed importance sampling", f"{found.annealed:.4f}", f"{found.annealed_error:.4f}"],
        ["denoising errors", f"{found.denoised:.4f}", f"{found.denoised_error:.4f}"],
        ["white noise of its contrast", f"{found.white:.4f}", ""],
    ]
    if found.bits is not None:
        print_table(f"{image}: {found.told}", heads, rows)
        typer.echo(f"{image}: {found.bits:.4f} ± {found.error:.4f} bits per value")
        return
    why = "the model's densities are not one another's blurred"
    if found.apart <= found.together:
        why = "errors that large say nothing; more --steps and --moves may help"
    typer.echo(
        f"{image}: not known; under noise of {found.noise:.3g} grey levels the two ways are "
        f"{found.apart:.4f} bits per value apart, their errors together {found.together:.4f}: "
        f"{why}",
        err=True,
    )
