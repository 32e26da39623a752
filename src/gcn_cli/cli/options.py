"""What several commands share: options, durations, tables. Never imports PyTorch."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcn_cli.errors import UsageError

if TYPE_CHECKING:
    from gcn_cli.run.outputs import Outputs, Written
    from gcn_cli.run.sampling import Request

Checkpoint = Annotated[
    Path, typer.Option("--ckpt", metavar="RUN", help="A run folder, or its run.pt.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[
    str,
    typer.Option("--precision", help="auto, fp32, bf16 or tf32; auto takes bf16 where it is fast."),
]
MOST_SEED = 2**63 - 1
MOST_SAMPLES = 10_000
AsJson = Annotated[
    bool, typer.Option("--json", help="Print every result as a line that is one JSON object.")
]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Leave what is there already; print its path.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No words on stderr except errors.")]

_NOTE = "--note"
_LONE = re.compile("[\ud800-\udfff]")
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


def finite(value: float | None) -> float | None:
    """The value of an option; refuses what is no number, which lies within any range."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter("it must be a finite number")
    return value


def refuse_empty(words: Sequence[str]) -> None:
    """Refuse words that hold nothing: as a path, that would be the folder one is in.

    Raises:
        UsageError: there is one, as where a shell's variable is empty.
    """
    for before, word in zip(["", *words], words, strict=False):
        if _NOTE in (before, word.rstrip("=")):
            continue  # no note is one, too
        if not word.strip() or (word.startswith("--") and word.endswith("=")):
            name = before if before.startswith("-") else word.rstrip("=").strip()
            told = f"{name} was given nothing" if name else "an argument is empty"
            raise UsageError(f"{told}; is a variable of the shell empty?")


def examples(*lines: str) -> str:
    """The last paragraph of a help text; the marks keep its line breaks."""
    return "\b\n" + "\n".join(("Examples:", *(f"  {line}" for line in lines)))


def complete_preset() -> list[str]:
    """What a shell offers where a preset is named; where none fits, it offers files."""
    from gcn_cli.run.presets import preset_names

    return preset_names()


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


def parse_interval(text: str) -> float:
    """`parse_duration`, or 0, which is never."""
    return 0.0 if text.strip() in ("0", "0s") else parse_duration(text)


def json_line(data: Any, indent: int | None = None) -> str:
    r"""One JSON object, on one line; numbers that JSON has no word for become null.

    Bytes of a file's name that are no UTF-8 are written as Python knows them, as ``\udce9``.
    """
    text = json.dumps(_plain(data), indent=indent, ensure_ascii=False)
    return _LONE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_json(data: Any, indent: int | None = None) -> None:
    """`json_line` on stdout."""
    typer.echo(json_line(data, indent))


def print_written(files: Sequence[Written], request: Request, as_json: bool) -> None:
    """Paths of files on stdout, or what they are; ``size`` is that of one sample."""
    size = f"{request.width}x{request.height}"
    for one in files:
        if as_json:
            print_json({"path": one.path, "what": one.what, "seed": one.seed, "size": size})
        else:
            typer.echo(str(one.path))


def check_existing(overwrite: bool, skip: bool) -> None:
    """Refuse what contradicts itself.

    Raises:
        UsageError: existing files are to be replaced and left.
    """
    if overwrite and skip:
        raise UsageError("--overwrite replaces what --skip-existing leaves; give one of them")


def all_there(files: Sequence[Written], request: Request, as_json: bool, quiet: bool) -> bool:
    """Whether all files of a call exist; then they are told like new ones."""
    if not all(one.path.exists() for one in files):
        return False
    say(f"all {len(files)} files are there already", quiet)
    print_written(files, request, as_json)
    return True


def left_to_draw(
    outputs: Outputs, request: Request, skip: bool, quiet: bool
) -> tuple[Outputs, Request, list[Written]]:
    """Files and seeds that are still to be drawn, and the files that are left as they are."""
    from gcn_cli.run.outputs import without_existing

    if not skip:
        return outputs, request, []
    left, asked, kept = without_existing(outputs, request)
    done = len(request.seeds) - len(asked.seeds)
    if done:
        say(f"{done} of {len(request.seeds)} samples are there already", quiet)
    return left, asked, kept


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
    if sys.stdout is not None and sys.stdout.isatty():
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
