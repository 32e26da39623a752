"""Time: how long a run will still take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Estimates the time left from the work done since it was made.

    Each act of learning goes at a speed of its own; one not yet begun is taken to go at that of
    all so far.

    Args:
        read: seconds that only grow.
    """

    read: Callable[[], float] = time.monotonic
    started: float = field(init=False)
    _told: float = field(init=False)
    _seconds: dict[str, float] = field(default_factory=dict, init=False)
    _work: dict[str, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.started = self._told = self.read()

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self._told - self.started

    def add(self, act: str, work: float) -> None:
        """Count work that was done since the last call."""
        now = self.read()
        self._seconds[act] = self._seconds.get(act, 0.0) + now - self._told
        self._work[act] = self._work.get(act, 0.0) + work
        self._told = now

    def left(self, ahead: Mapping[str, float]) -> float:
        """Seconds that the work ahead will take."""
        pace = sum(self._seconds.values()) / max(sum(self._work.values()), 1e-9)
        return sum(
            work * (self._seconds[act] / max(self._work[act], 1e-9) if act in self._work else pace)
            for act, work in ahead.items()
        )


def clock_text(seconds: float) -> str:
    """Seconds as 1h02m, 3m20s or 45s."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{secs:02d}s" if minutes else f"{secs}s"
