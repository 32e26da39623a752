"""What ``metrics.jsonl`` and ``samples-*.png`` tell, as event files that TensorBoard reads."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from gcn_cli.errors import UsageError
from gcn_cli.images.files import to_uint8
from gcn_cli.run.schema import Config

_COUNTS = ("done", "stage", "size", "update", "updates")  # where a line stands, not what it tells
_FLUSHED = 10  # seconds until what was added can be read, at most


def check_board(config: Config) -> None:
    """Refuse, before any work, a config that asks for what is not installed.

    Raises:
        UsageError: it does.
    """
    if config.output.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise UsageError(
            "event files need a package more: pip install 'gcn-cli[tensorboard]', or leave them "
            "out with --set output.tensorboard=false"
        )


class Board:
    """Event files in a run ``folder``; nothing at all where they are not ``wanted``.

    Of what an earlier process added, all that is newer than ``done`` updates is forgotten.
    """

    def __init__(self, folder: Path, wanted: bool, done: int) -> None:
        self._writer: Any = None
        if wanted:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=done + 1, flush_secs=_FLUSHED)

    def add(self, record: Mapping[str, Any]) -> None:
        """Add the numbers of a line of metrics at its ``done``."""
        if self._writer is not None:
            for name, value in scalars(record):
                self._writer.add_scalar(name, value, record["done"])

    def show(self, picture: Tensor, done: int) -> None:
        """Add a grid of samples (C, H, W), grey levels, after so many updates."""
        if self._writer is not None:
            self._writer.add_image("samples", to_uint8(picture), done)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()


def scalars(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Names and finite values of a line of metrics, below the act that they are of, if any."""
    above = f"{record['act']}/" if "act" in record else ""
    for key, value in record.items():
        values = enumerate(value) if isinstance(value, list | tuple) else [("", value)]
        for number, one in values:
            if key not in _COUNTS and isinstance(one, int | float) and math.isfinite(one):
                yield f"{above}{key}" + (f"/{number}" if number != "" else ""), float(one)
