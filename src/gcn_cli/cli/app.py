"""The Typer app: its commands, its errors, its exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gcn_cli import __version__
from gcn_cli.cli import (
    classify,
    config,
    doctor,
    evaluate,
    export,
    inpaint,
    inspect,
    likelihood,
    mix,
    restore,
    score,
    synthesize,
    train,
)
from gcn_cli.cli.launched import check_verb, one_voice, rank
from gcn_cli.cli.options import examples, refuse_empty
from gcn_cli.errors import DeviceError, GcnError, Interrupted


def wants_traceback(arguments: Sequence[str] = ()) -> bool:
    """Whether the user asked for tracebacks."""
    return "--debug" in arguments or os.environ.get("GCN_DEBUG", "") not in ("", "0")


class _Group(TyperGroup):
    """Commands whose `GcnError` becomes one sentence on stderr and its exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """``--debug`` may stand anywhere, since it is added to a command line that failed."""
        if "--debug" in args:
            ctx.meta["gcn.debug"] = True
            args = ["--debug", *(word for word in args if word != "--debug")]
        ctx.meta["gcn.words"] = list(args)
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **words: Any) -> Any:
        """Run the program; of several processes one speaks."""
        with one_voice():
            return super().main(*args, **words)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            refuse_empty(ctx.meta["gcn.words"])
            return super().invoke(ctx)
        except GcnError as error:
            if ctx.meta.get("gcn.debug") or wants_traceback():
                traceback.print_exc()
            prefix = "" if isinstance(error, Interrupted) else "error: "
            typer.echo(f"{prefix}{error}", err=True)
            if rank() and isinstance(error, DeviceError):  # the first process cannot know of it
                print(f"process {rank()}: error: {error}", file=sys.__stderr__)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from error


app = typer.Typer(
    name="gcn",
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: quick to print, easy to grep
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples("gcn train --images brick.png", "gcn synthesize --ckpt runs/00000-brick"),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gcn {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of errors (also GCN_DEBUG=1).")
    ] = False,
) -> None:
    """Texture synthesis with a generative ConvNet: learn from one image, sample any size."""
    check_verb(ctx.invoked_subcommand)


_VERBS = (
    train,
    synthesize,
    inpaint,
    mix,
    restore,
    inspect,
    score,
    classify,
    likelihood,
    evaluate,
    export,
    doctor,
)
for _module in _VERBS:
    _module.register(app)
app.add_typer(config.app, name="config")
