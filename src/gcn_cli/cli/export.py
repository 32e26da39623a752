"""``gcn export``: a model as one safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gcn_cli.cli.options import examples
from gcn_cli.errors import UsageError

_EXAMPLES = examples(
    "gcn export runs/00007-brick",
    "gcn export runs/00007-brick -o brick.safetensors --note 'CC0, my own wall'",
    "gcn export brick.safetensors --card > brick.md",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export", epilog=_EXAMPLES)(export)


def export(
    ckpt: Annotated[
        Path, typer.Argument(metavar="CKPT", help="A run folder, its run.pt, or an export.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="By default model.safetensors beside it.",
        ),
    ] = None,
    note: Annotated[
        str | None,
        typer.Option("--note", metavar="TEXT", help="A line to carry along instead of the run's."),
    ] = None,
    card: Annotated[
        bool, typer.Option("--card", help="Print the model's card, Markdown; write nothing.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that exists.")
    ] = False,
) -> None:
    """Write a model as safetensors, for other programs and to be passed on.

    Prints the file's path. Its header holds config, model, origin and card as JSON; what learning
    needs besides is left out. Every --ckpt takes the file, and draws the same from it.
    """
    from dataclasses import replace

    from gcn_cli.run.card import card as told
    from gcn_cli.run.checkpoint import export_checkpoint, load_checkpoint
    from gcn_cli.run.export import SUFFIX
    from gcn_cli.run.origin import check_note
    from gcn_cli.run.outputs import check_new

    if card and out is not None:
        raise UsageError("--card prints and writes nothing; leave out --out")
    folder = ckpt if ckpt.is_dir() else ckpt.parent
    target = folder / f"model{SUFFIX}" if out is None else out
    if target.suffix != SUFFIX:
        raise UsageError(f"an export's name ends in {SUFFIX}; {target} does not")
    given = None if note is None else check_note(note)
    saved = load_checkpoint(ckpt)
    if given is not None:
        saved = replace(saved, origin=replace(saved.origin, note=given))
    if card:
        typer.echo(told(saved), nl=False)
        return
    check_new([target], folder, overwrite, [ckpt])
    export_checkpoint(target, saved, told(saved))
    typer.echo(str(target))
