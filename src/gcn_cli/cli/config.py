"""``gcn config``: presets and config files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gcn_cli.cli.options import complete_preset, examples, print_json, say

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List, show, explain and check configs.",
    epilog=examples("gcn config list", "gcn config show texture > mine.yaml"),
)


@app.command("list", epilog=examples("gcn config list"))
def list_presets() -> None:
    """Print every preset and what it is for."""
    from gcn_cli.run.config import resolve
    from gcn_cli.run.presets import preset_names

    names = preset_names()
    width = max((len(name) for name in names), default=0)
    for name in names:
        typer.echo(f"{name.ljust(width)}  {resolve(name).description}".rstrip())


@app.command(
    "show",
    epilog=examples("gcn config show texture > mine.yaml", "gcn config show texture --explain"),
)
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE", help="A preset or a YAML file.", autocompletion=complete_preset
        ),
    ],
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the config."),
    ] = None,
    explained: Annotated[
        bool, typer.Option("--explain", help="Tell beside every key what it is, in which unit.")
    ] = False,
) -> None:
    """Print the resolved YAML, every default filled in."""
    from gcn_cli.run.config import choose, dump
    from gcn_cli.run.keys import explain

    config = choose(name, None, sets or [])
    typer.echo(explain(config) if explained else dump(config), nl=False)


@app.command("validate", epilog=examples("gcn config validate mine.yaml"))
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="A YAML file.")]) -> None:
    """Check a config file.

    Silent on stdout; exit code 2 and one sentence if something is wrong.
    """
    from gcn_cli.run.config import resolve

    config = resolve(None, file)
    layers = len(config.layers)
    say(f"{file} is valid: kind {config.kind}, {layers} layer{'s' if layers > 1 else ''}")


@app.command("keys", epilog=examples("gcn config keys > keys.md"))
def print_keys() -> None:
    """Print every key with its meaning, values and default, as Markdown."""
    from gcn_cli.run.keys import reference

    typer.echo(reference(), nl=False)


@app.command("schema", epilog=examples("gcn config schema > gcn.schema.json"))
def print_schema() -> None:
    """Print the JSON schema of a config, by which editors check and complete it."""
    from gcn_cli.run.keys import json_schema

    print_json(json_schema(), indent=2)
