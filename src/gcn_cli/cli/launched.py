"""Of the processes that torchrun starts, the first one speaks for all. Never imports PyTorch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from gcn_cli.errors import UsageError

_SHARED = ("train", "synthesize")


def rank() -> int:
    """This process's number among those that torchrun started; 0 where it did not."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """Inside, nothing is told on stdout and stderr except by the first process."""
    if not rank():
        yield
        return
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def check_verb(verb: str | None) -> None:
    """Refuse to do the same thing several times over.

    Raises:
        UsageError: several processes, and a command that does not share its work among them.
    """
    alone = "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["WORLD_SIZE"] == "1"
    if verb not in _SHARED and not alone:
        raise UsageError(
            f"torchrun is for {' and '.join(_SHARED)}, whose work several processes share; call "
            f"gcn {verb} without it"
        )
