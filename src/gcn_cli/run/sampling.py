"""Fresh samples as a user asks for them: sizes, seeds, tiling; and who draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from gcn_cli.engine import Machine, free_memory
from gcn_cli.errors import UsageError
from gcn_cli.run.numbers import whole

Tiling = Literal["none", "x", "y", "xy"]
TILINGS = ("none", "x", "y", "xy")
MAX_SIDE = 32768
MOST_SEEDS = 10000
"""Pictures that one call draws, at most."""
USUAL = 256
"""Side, px, of a picture where no size is asked for."""
REPEATS = {"x": (1, 2), "y": (2, 1), "xy": (2, 2)}
"""Rows and columns of a preview, by how a picture tiles."""
_BATCH_SHARE = 0.25  # of the free memory that one batch of fresh chains may take
_BATCH_BYTES = 2 * 2**30
_BATCH_MOST = 16


@dataclass(frozen=True)
class Kept:
    """What a picture must hold: ``levels`` (C, H, W) in grey levels where ``known`` (H, W)."""

    levels: Tensor
    known: Tensor

    def put(self, image: Tensor) -> Tensor:
        """An image (C, H, W) with what is known in its place."""
        return torch.where(self.known, self.levels, image)


@dataclass(frozen=True)
class Sketch:
    """What a picture begins with: ``levels`` (C, H, W), grey levels, at ``share`` of the chain."""

    levels: Tensor
    share: float


@dataclass(frozen=True)
class Request:
    """What to draw: ``width`` x ``height`` px, one picture per seed.

    In it is what is ``kept``; its coarse shapes are those of a ``sketch``.
    """

    width: int
    height: int
    seeds: tuple[int, ...]
    tile: Tiling = "none"
    temperature: float = 1.0
    kept: Kept | None = None
    sketch: Sketch | None = None


@dataclass(frozen=True)
class Frame:
    """``step`` of ``steps`` are done.

    ``shown()`` is the first chain (C, H, W), ``finish()`` all chains (N, C, H, W), in grey levels;
    it is called once, of the last frame.
    """

    step: int
    steps: int
    shown: Callable[[], Tensor]
    finish: Callable[[], Tensor]


class Artist(Protocol):
    """Who draws with a model of one kind."""

    @property
    def model(self) -> Any:
        """The model."""

    @property
    def usual(self) -> tuple[int, int]:
        """Height and width, px, of what is drawn where no size is asked for."""

    def canvas(self, request: Request) -> tuple[int, int]:
        """The canvas (H, W) to compute; raises UsageError where a request does not fit."""

    def batch(self, request: Request, machine: Machine, wanted: int | None) -> int:
        """Chains to run at once; see `fitting_batch`."""

    def frames(self, request: Request, machine: Machine) -> Iterator[Frame]:
        """One chain per seed, the same alone or among others."""


def check_sides(request: Request) -> None:
    """Refuse sides out of range.

    Raises:
        UsageError: they are.
    """
    if not (1 <= request.width <= MAX_SIDE and 1 <= request.height <= MAX_SIDE):
        raise UsageError(f"sides lie between 1 and {MAX_SIDE} px")


def fit_canvas(request: Request, step: int, least: int) -> tuple[int, int]:
    """The torus (H, W) to compute: the request itself where it tiles, else rounded up.

    Sides are multiples of ``step`` and at least ``least``; what exceeds the request is cut.

    Raises:
        UsageError: a side that must tile and is no such multiple, or a size out of range.
    """
    check_sides(request)
    need = -(-least // step) * step
    sides = []
    for side, axis in ((request.height, "y"), (request.width, "x")):
        fitted = max(need, -(-side // step) * step)
        if axis in request.tile and request.tile != "none" and fitted != side:
            below = max(need, side // step * step)
            near = f"{below} or {fitted}" if below != fitted else str(fitted)
            name = "height" if axis == "y" else "width"
            raise UsageError(
                f"to tile, the {name} must be a multiple of {step} px and at least {need}; "
                f"nearest to {side}: {near}"
            )
        sides.append(fitted)
    return sides[0], sides[1]


def fitting_batch(one_chain: int, device: torch.device, wanted: int | None = None) -> int:
    """How many fresh chains of so many bytes to run at once.

    As many as wanted, else so that memory stays moderate. On a processor one: its convolutions
    round by the batch's size, and a seed is to give one picture; a batch gains it next to nothing.
    """
    if device.type == "cpu":
        return 1
    if wanted is not None:
        return wanted
    allowed = min(_BATCH_SHARE * free_memory(device), _BATCH_BYTES)
    return int(min(_BATCH_MOST, max(1, allowed // one_chain)))


def cut(images: Tensor, request: Request) -> Tensor:
    """The part of final images that was asked for."""
    return images[..., : request.height, : request.width]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds such as ``0,3,10-20``.

    Raises:
        UsageError: anything else, or more than 10000 of them.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        word, dash, last = part.strip().partition("-")
        first, end = whole(word), whole(last if dash else word)
        if first is None or end is None:
            raise UsageError(f"seeds read like 0,3,10-20; '{part}' does not")
        if end < first or end - first >= MOST_SEEDS:
            raise UsageError(f"the range '{part}' is empty or too long")
        seeds.update(dict.fromkeys(range(first, end + 1)))
        if len(seeds) > MOST_SEEDS:
            raise UsageError(f"there are more than {MOST_SEEDS} seeds")
    return tuple(seeds)


def parse_size(text: str) -> tuple[int, int]:
    """``WxH`` or one number for a square, as (width, height).

    Raises:
        UsageError: anything else.
    """
    word, cross, other = text.lower().partition("x")
    width, height = whole(word), whole(other if cross else word)
    if width is None or height is None:
        raise UsageError(f"a size reads like 512x384; '{text}' does not")
    return width, height


def batches(seeds: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """Seeds in groups of at most ``size``, so that memory stays bounded."""
    return [tuple(seeds[i : i + size]) for i in range(0, len(seeds), size)]
