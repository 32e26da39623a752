"""``gcn classify``: which of several models a picture most likely comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcn_cli.cli.options import (
    MOST_SAMPLES,
    MOST_SEED,
    AsJson,
    Device,
    examples,
    finite,
    print_json,
    print_table,
)
from gcn_cli.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from gcn_cli.report.classes import Class, Classified

_EXAMPLES = examples(
    "gcn classify --ckpt runs/00000-brick --ckpt runs/00001-grass photo.jpg",
    "gcn classify --ckpt runs/00000-brick --ckpt runs/00001-grass crops --json",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("classify", epilog=_EXAMPLES)(classify)


def classify(
    images: Annotated[list[Path], typer.Argument(metavar="IMG...", help="Pictures or folders.")],
    ckpt: Annotated[
        list[Path],
        typer.Option("--ckpt", metavar="RUN", help="A run folder, or its run.pt; two or more."),
    ],
    lowest: Annotated[
        float | None,
        typer.Option(
            "--lowest",
            min=0.01,
            max=255,
            callback=finite,
            help="Least noise that counts, grey levels; by default the least that all models know.",
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option("--draws", min=1, max=MOST_SAMPLES, help="Draws of noise.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MOST_SEED, help="Of the noise.")] = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Tell which of several models every picture most likely comes from.

    A model's evidence is the logarithm of its density. Z is not needed: the evidence is what noise
    takes from the picture and the model does not give back, |D - x|^2 over the noise's variance,
    summed over all noise levels, evenly in their logarithm, and over all sizes; the same noise for
    all models. The difference to the best is told in bits per value, and as posterior shares, all
    models being as likely before. Shares are those of densities of thousands of values: they are
    nearly always 0 or 1, also where all models are wrong. `gcn score` tells that.
    """
    from gcn_cli.engine import choose_machine
    from gcn_cli.images.files import find_images
    from gcn_cli.report.classes import classify as judge
    from gcn_cli.report.classes import named
    from gcn_cli.run.checkpoint import load_checkpoint

    if len(ckpt) < 2:
        raise UsageError("a class is one of several: give --ckpt twice or more")
    files_of = {(path / "run.pt" if path.is_dir() else path).resolve() for path in ckpt}
    if len(files_of) < len(ckpt):
        raise UsageError("every class is a model of its own; one --ckpt is given twice")
    machine = choose_machine(device, "auto")
    classes = named([(path, load_checkpoint(path)) for path in ckpt])
    for each in classes:
        _check(each)
    files = [file for path in images for file in find_images(path)]
    found = judge(classes, files, machine, lowest, draws, seed)
    if as_json:
        for one in found:
            print_json(_data(classes, one))
        return
    heads = ["image", "class", "share", "bits per value to the next"]
    rows = [
        [str(one.file), one.name, f"{one.shares[one.name]:.3f}", f"{one.margin:.4f}"]
        for one in found
    ]
    print_table(f"{len(classes)} models", heads, rows)


def _check(one: Class) -> None:
    if one.saved.config.kind != "texture":
        raise CheckpointError(
            f"{one.path} has a field of a single noise level; evidence needs all of them"
        )
    if one.saved.material is not None or one.saved.model.place is not None:
        raise CheckpointError(
            f"{one.path} is no model of a textured picture; none else is compared"
        )


def _data(classes: list[Class], found: Classified) -> dict[str, Any]:
    return {
        "image": found.file,
        "class": found.name,
        "shares": found.shares,
        "bits_per_value": found.bits,
        "margin": found.margin,
        "models": {one.name: one.path for one in classes},
    }
