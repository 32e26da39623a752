"""``gcn config``: presets and config files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gcn_cli.cli.options import examples, say

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List, show and check configs.",
    epilog=examples("gcn config list", "gcn config show texture > mine.yaml"),
)


@app.command("list", epilog=examples("gcn config list"))
def list_presets() -> None:
    """Print every preset and what it is for."""
    from gcn_cli.run.config import preset_names, resolve

    names = preset_names()
    width = max((len(name) for name in names), default=0)
    for name in names:
        typer.echo(f"{name.ljust(width)}  {resolve(name).description}".rstrip())


@app.command("show", epilog=examples("gcn config show texture > mine.yaml"))
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A preset or a YAML file.")],
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the config."),
    ] = None,
) -> None:
    """Print the resolved YAML, every default filled in."""
    from gcn_cli.run.config import choose, dump

    typer.echo(dump(choose(name, None, sets or [])), nl=False)


@app.command("validate", epilog=examples("gcn config validate mine.yaml"))
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="A YAML file.")]) -> None:
    """Check a config file.

    Silent on stdout; exit code 2 and one sentence if something is wrong.
    """
    from gcn_cli.run.config import resolve

    config = resolve(None, file)
    layers = len(config.layers)
    say(f"{file} is valid: kind {config.kind}, {layers} layer{'s' if layers > 1 else ''}")
