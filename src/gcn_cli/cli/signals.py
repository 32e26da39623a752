"""SIGINT, SIGTERM and SIGHUP as requests to save and stop."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Protocol

from gcn_cli.cli.launched import rank

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_NOTE = b"\nfinishing this update, then saving; a second Ctrl-C or SIGTERM kills\n"
_ONE = 0.5  # seconds within which signals are one request: `timeout` sends every signal twice


class Stoppable(Protocol):
    """What a signal writes its exit code to."""

    signal_exit_code: int | None


@contextlib.contextmanager
def stopping(stop: Stoppable) -> Iterator[None]:
    """Inside, the first signal sets ``stop`` and a second one kills.

    SIGHUP never kills, since a terminal that closes and its shell both send it. It is left ignored
    where it was, as by ``nohup``.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    asked: list[float] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(time.monotonic())
        if len(asked) == 1:
            stop.signal_exit_code = 128 + number
            with contextlib.suppress(OSError):  # the terminal may be gone
                if not rank():
                    os.write(2, _NOTE)  # unlike a buffered write, safe at any moment
        elif number in _SIGNALS[:2] and asked[-1] - asked[0] >= _ONE:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    heard = [
        each
        for each in _SIGNALS
        if each in _SIGNALS[:2] or signal.getsignal(each) != signal.SIG_IGN
    ]
    before = {each: signal.signal(each, ask) for each in heard}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
