"""What several commands share: options, durations, tables. Never imports PyTorch."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from gcn_cli.errors import UsageError

Checkpoint = Annotated[
    Path, typer.Option("--ckpt", metavar="RUN", help="A run folder, or its run.pt.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[
    str,
    typer.Option("--precision", help="auto, fp32, bf16 or tf32; auto takes bf16 where it is fast."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No words on stderr except errors.")]

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


def examples(*lines: str) -> str:
    """The last paragraph of a help text; the marks keep its line breaks."""
    return "\b\n" + "\n".join(("Examples:", *(f"  {line}" for line in lines)))


def say(text: str, quiet: bool = False) -> None:
    """Words, which go to stderr: stdout carries results only."""
    if not quiet:
        typer.echo(text, err=True)


def parse_duration(text: str) -> float:
    """Seconds from ``90``, ``90s``, ``55m`` or ``1h30m``.

    Raises:
        UsageError: anything else, or no time at all.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    hours, minutes, seconds = (float(part or 0) for part in (match.groups() if match else (0,) * 3))
    total = 3600 * hours + 60 * minutes + seconds
    if not 0 < total < math.inf:
        raise UsageError(f"a time reads like 90s, 55m or 1h30m; '{text}' does not")
    return total


def print_json(data: Any) -> None:
    """One JSON object on stdout; numbers that JSON has no word for become null."""
    typer.echo(json.dumps(_plain(data), indent=2, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout: drawn on a terminal, plain aligned text when piped."""
    if sys.stdout.isatty():
        _print_rich(title, columns, rows)
        return
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(columns))]
    if title:
        typer.echo(title)
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo(("  " + "  ".join(cells)).rstrip())
    typer.echo("")


def _print_rich(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=title or None, title_justify="left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
