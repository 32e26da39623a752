"""One model learned by several processes at once, as PyTorch's launcher starts them.

Each takes its part of a batch or of the chains, and what they find is averaged, so that after every
update all hold the same weights and all chains. Noise is keyed by an item's number among all, so
how many processes there are changes nothing but rounding. A process that is alone pays nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from gcn_cli.errors import GcnError, PeerError

_PATIENCE = datetime.timedelta(days=1)  # others may draw for long; who dies is noticed at once

Items = TypeVar("Items", Tensor, range, tuple[int, ...])
T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process is number ``rank`` of ``size``; by default there is no other."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that tells and writes."""
        return self.rank == 0

    def part(self, items: Items) -> Items:
        """This process's of all ``items``, a sequence or a tensor (n, ...); never empty.

        Where items are fewer than processes, the last ones repeat an item with a `share` of 0.
        """
        if self.size == 1:
            return items
        n = len(items)
        busy = min(n, self.size)
        at = min(self.rank, busy - 1)
        return items[at * n // busy : (at + 1) * n // busy]

    def own(self, items: Items) -> Items:
        """`part`, empty where items are fewer than processes: nobody does the same twice."""
        return self.part(items) if self.rank < len(items) else items[:0]

    def share(self, n: int) -> float:
        """What the mean over this process's part counts in the mean over all ``n`` items."""
        return len(self.part(range(n))) / n if self.rank < n else 0.0

    def mean(self, share: float | Tensor, *means: Tensor) -> list[Tensor]:
        """Means over all items from those over every part, in one exchange of one vector.

        Raises:
            PeerError: another process is gone.
        """
        if self.size == 1:
            return list(means)
        flat = share * torch.cat([t.detach().reshape(-1) for t in means])
        _add_up(flat)
        pieces = torch.split(flat, [t.numel() for t in means])
        return [piece.view(t.shape) for piece, t in zip(pieces, means, strict=True)]

    def whole(self, part: Tensor, n: int) -> Tensor:
        """All ``n`` items (n, ...) from every process's part; raises PeerError, see `mean`."""
        if self.size == 1:
            return part
        items = part.new_zeros(n, *part.shape[1:])
        if self.rank < n:
            self.part(items).copy_(part)
        _add_up(items)
        return items

    def every(self, work: Callable[[], T]) -> list[T]:
        """What ``work`` returns in each process, in their order; in all alike.

        Raises:
            GcnError: the first that one of them raised.
            PeerError: another process is gone.
        """
        if self.size == 1:
            return [work()]
        mine: T | GcnError
        try:
            mine = work()
        except GcnError as error:
            mine = error
        found: list[Any] = [None] * self.size
        with _peers():
            dist.all_gather_object(found, mine)
        for one in found:
            if isinstance(one, GcnError):
                raise one
        return found

    def agreed(self, value: T) -> T:
        """The first process's ``value``: clocks, files and roundings may differ."""
        return self.every(lambda: value)[0]


def local_rank() -> int | None:
    """This process's number among those of its machine; None where torchrun did not start it."""
    launched = dist.is_available() and dist.is_torchelastic_launched()
    return int(os.environ["LOCAL_RANK"]) if launched else None


def join(device: torch.device) -> Ranks:
    """The processes that torchrun started with this one, whose part is computed on ``device``.

    Raises:
        PeerError: they do not come together.
    """
    if local_rank() is None or os.environ["WORLD_SIZE"] == "1":
        return Ranks()
    with _peers():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=_PATIENCE)
    atexit.register(dist.destroy_process_group)
    return Ranks(dist.get_rank(), dist.get_world_size())


def _add_up(values: Tensor) -> None:
    """The sum over all processes, in place."""
    with _peers():
        dist.all_reduce(values)


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    """A broken connection in the user's words."""
    try:
        yield
    except RuntimeError as error:  # all that PyTorch raises of processes that died or hang
        raise PeerError("another process of this run is gone or does not answer") from error
