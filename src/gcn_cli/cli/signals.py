"""SIGINT and SIGTERM as requests to save and stop."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Protocol

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NOTE = b"\nfinishing this update, then saving; a second signal kills\n"


class Stoppable(Protocol):
    """What a signal writes its exit code to."""

    signal_exit_code: int | None


@contextlib.contextmanager
def stopping(stop: Stoppable) -> Iterator[None]:
    """Inside, the first signal sets ``stop`` and the second one kills."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return

    def ask(number: int, frame: FrameType | None) -> None:
        stop.signal_exit_code = 128 + number
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        os.write(2, _NOTE)  # unlike a buffered write, safe at any moment

    before = {each: signal.signal(each, ask) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
