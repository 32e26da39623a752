"""stdout and stderr as a shell leaves them: closed, full, or read by nobody any more.

Words on stderr that cannot be written are dropped: no work is lost for them. Results on stdout are
not; but whoever reads only their beginning is no error either.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING

from gcn_cli.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Buffer

READER_LEFT = 141
"""Exit code where nobody reads stdout any more: 128 + SIGPIPE, as shells tell it."""


class _Words(io.FileIO):
    """A file of which it does not matter whether it can be written to."""

    def write(self, words: Buffer, /) -> int:
        """Drop what cannot be written, or only by waiting."""
        with contextlib.suppress(OSError):
            return super().write(words) or len(memoryview(words))
        return len(memoryview(words))


def settle_streams() -> None:
    """Make stderr one that never fails, and let no file of ours take a closed stream's place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    encoding = sys.stderr.encoding if sys.stderr is not None else "utf-8"
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_Words(2, "w", closefd=False)),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


def print_result(text: str) -> None:
    """A result of work that goes on, and is kept, even if nobody reads of it any more."""
    import typer  # here, so that Ctrl-C while it loads is heard in `main`

    try:
        typer.echo(text)
    except BrokenPipeError:
        drop_results()


def print_bytes(data: bytes) -> None:
    """A result that is a file.

    Raises:
        UsageError: stdout is closed.
        OSError: it cannot be written to.
    """
    if sys.stdout is None:
        raise UsageError("-o - writes to stdout, and stdout is closed")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def drop_results() -> None:
    """Send what is left for stdout nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
