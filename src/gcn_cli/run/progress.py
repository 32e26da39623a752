"""Progress as an object: a bar on a terminal, plain lines elsewhere, nothing when quiet.

Whatever runs long takes a `Progress` and reports to it; all words go to stderr, since stdout is
for results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TextIO

from tqdm import tqdm

if TYPE_CHECKING:
    from typing_extensions import Never


class Progress(Protocol):
    """What a long job reports to. Calls come in the order start, update..., close."""

    def start(self, total: int, description: str) -> None:
        """Begins a stretch of `total` steps; an open one is closed first."""

    def update(self, done: int, fields: Mapping[str, str]) -> None:
        """Tells that `done` steps in all are done, and figures worth showing."""

    def message(self, text: str) -> None:
        """Tells a sentence that should stay readable."""

    def close(self) -> None:
        """Ends the stretch; a second call does nothing."""


class NullProgress:
    """Tells nothing."""

    def start(self, total: int, description: str) -> None:
        """Does nothing."""

    def update(self, done: int, fields: Mapping[str, str]) -> None:
        """Does nothing."""

    def message(self, text: str) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


class TqdmProgress:
    """Draws a bar on a terminal.

    Args:
        stream: where to; stderr by default.
    """

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stderr
        self._bar: tqdm[Never] | None = None

    def start(self, total: int, description: str) -> None:
        """Opens a bar."""
        self.close()
        self._bar = tqdm(
            total=total, desc=description, file=self._stream, dynamic_ncols=True, leave=True
        )

    def update(self, done: int, fields: Mapping[str, str]) -> None:
        """Moves the bar to `done` and shows the figures behind it."""
        if self._bar is not None:
            self._bar.set_postfix(fields, refresh=False)
            self._bar.update(done - self._bar.n)

    def message(self, text: str) -> None:
        """Writes a line above the bar."""
        tqdm.write(text, file=self._stream)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class PlainProgress:
    """Writes a line now and then, for log files.

    Args:
        stream: where to; stderr by default.
        interval: seconds between lines, at least. The first and the last step always get one.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        interval: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._stream = stream or sys.stderr
        self._interval = interval
        self._clock = clock
        self._total = 0
        self._description = ""
        self._last: float | None = None

    def start(self, total: int, description: str) -> None:
        """Begins a stretch; its first update is written at once."""
        self._total, self._description, self._last = total, description, None

    def update(self, done: int, fields: Mapping[str, str]) -> None:
        """Writes a line if one is due."""
        now = self._clock()
        due = self._last is None or now - self._last >= self._interval or done >= self._total
        if due:
            self._last = now
            figures = "".join(f"  {name} {value}" for name, value in fields.items())
            self.message(f"{self._description} {done}/{self._total}{figures}")

    def message(self, text: str) -> None:
        """Writes a line."""
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Does nothing: every line is already out."""


def make_progress(quiet: bool) -> Progress:
    """Chooses what fits stderr: nothing if `quiet`, a bar on a terminal, else plain lines."""
    if quiet:
        return NullProgress()
    return TqdmProgress() if sys.stderr.isatty() else PlainProgress()
