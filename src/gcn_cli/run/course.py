"""What a run needs to know of a recipe: one small interface, implemented once for each kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gcn_cli.engine import Machine, free_memory, total_memory
from gcn_cli.errors import DeviceError
from gcn_cli.run.jobs import Job
from gcn_cli.run.schema import Config

State = Any
"""Where learning of one kind stands. A run only hands it on."""


@dataclass(frozen=True)
class Told:
    """What one yield of learning tells.

    ``record`` goes to ``metrics.jsonl``, ``shown`` to the progress line. ``work`` was done in an
    act of learning that goes at a speed of its own.
    """

    record: Mapping[str, object]
    shown: Mapping[str, str]
    act: str
    work: float
    event: str | None = None


@dataclass(frozen=True)
class Estimate:
    """Whole-run figures; ``memory`` in bytes, ``note`` what the user should know of them."""

    parameters: int
    memory: int
    seconds: float
    note: str | None = None


def check_memory(count: int, machine: Machine, spare: str) -> None:
    """Refuse what cannot be held, before it is tried to tell how long it takes.

    Args:
        count: bytes that learning takes, as estimated.
        machine: where it would run.
        spare: what to lower.

    Raises:
        DeviceError: the machine has less.
    """
    device = machine.device
    most = (device.type != "cuda" and total_memory()) or free_memory(device)
    if count > most:
        raise DeviceError(
            f"learning would take about {count / 2**30:.1f} GiB of memory, and there are "
            f"{most / 2**30:.1f}: lower {spare}"
        )


class Course(Protocol):
    """The learning of one job under one config."""

    @property
    def config(self) -> Config:
        """The whole config."""

    @property
    def job(self) -> Job:
        """What is learned from."""

    @property
    def total_updates(self) -> int:
        """Updates in all."""

    @property
    def width(self) -> int:
        """How many processes an update has work for."""

    @property
    def more(self) -> str:
        """The key by which a complete run is extended."""

    def begin(self, device: torch.device) -> State:
        """The state before the first update."""

    def learn(self, state: State, machine: Machine) -> Iterator[tuple[State, Told]]:
        """Learn on from ``state``."""

    def done(self, state: State) -> int:
        """Updates done."""

    def complete(self, state: State) -> bool:
        """Whether nothing is left to learn."""

    def beats(self, state: State) -> int:
        """What ``output.grid_every`` and ``checkpoint_every`` count."""

    def ahead(self, state: State) -> Mapping[str, float]:
        """Work left, by act."""

    def model(self, state: State) -> Any:
        """What has been learned so far."""

    def pictures(self, state: State, machine: Machine) -> list[Tensor]:
        """A few pictures (C, H, W) in grey levels that show how far learning is."""

    def check_extension(self, new: Course, state: State) -> None:
        """Refuse a course under which ``state`` means something else; raises ConfigError."""

    def spare(self, state: State) -> str:
        """What to lower when memory runs out."""

    def fitted(self, machine: Machine) -> tuple[Course, str | None]:
        """The course that keeps the budget, and what was done for it."""

    def hint(self) -> str | None:
        """What to tell of images that do not suit the network."""

    def told(self) -> list[str]:
        """Images, network and plan in a few lines."""

    def estimate(self, machine: Machine) -> Estimate:
        """What learning will take on this machine."""
