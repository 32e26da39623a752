"""Fresh samples as a user sees them: a checkpoint in, pictures of any size out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from gcn_cli.core.model import Model
from gcn_cli.core.support import Machine
from gcn_cli.core.synthesis import SynthesisInfo, synthesize
from gcn_cli.errors import DeviceError, UsageError
from gcn_cli.machine import is_out_of_memory

Tiling = Literal["none", "x", "y", "xy"]
MAX_SIDE = 32768
_WINDOW = 1024  # units of the top layer; wider canvases are computed window by window


@dataclass(frozen=True)
class Request:
    """What to draw: ``width`` x ``height`` px, one picture per seed."""

    width: int
    height: int
    seeds: tuple[int, ...]
    tile: Tiling = "none"
    temperature: float = 1.0


def canvas_for(model: Model, request: Request) -> tuple[int, int]:
    """The canvas (H, W) to compute: the request itself where it tiles, else rounded up.

    A canvas holds at least one receptive field; what exceeds the request is cut.

    Raises:
        UsageError: a side that must tile is not a multiple of the model's stride, a model
            learned on a bounded canvas cannot tile, or a size out of range.
    """
    if not (1 <= request.width <= MAX_SIDE and 1 <= request.height <= MAX_SIDE):
        raise UsageError(f"sizes lie between 1 and {MAX_SIDE} px")
    bounded = model.boundary == "bounded"
    if bounded and request.tile != "none":
        raise UsageError("this model was learned on a bounded canvas and cannot tile")
    least = model.receptive_field
    sides = []
    for side, axis in ((request.height, "y"), (request.width, "x")):
        if bounded:
            sides.append(max(side, least))
            continue
        step = model.multiple
        need = -(-least // step) * step
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


def sample(model: Model, request: Request, machine: Machine) -> Iterator[SynthesisInfo]:
    """Sample one picture per seed, (N, C, H, W) cut to size in the last yield.

    Each seed is a chain of its own: the picture of seed 3 is the same alone or among others.

    Raises:
        UsageError: see `canvas_for`.
        DeviceError: out of memory.
    """
    canvas = canvas_for(model, request)
    try:
        yield from synthesize(
            model,
            canvas,
            request.seeds,
            0,
            device=machine.device,
            dtype=machine.dtype,
            temperature=request.temperature,
            window=_WINDOW,
        )
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise DeviceError("out of memory; ask for a smaller --size or --batch") from error
        raise


def cut(images: Tensor, request: Request) -> Tensor:
    """The part of final images that was asked for."""
    return images[..., : request.height, : request.width]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds such as ``0,3,10-20``.

    Raises:
        UsageError: anything else, or more than 10000 of them.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise UsageError(f"seeds read like 0,3,10-20; '{part}' does not")
        end = int(last) if dash else int(first)
        if end < int(first) or end - int(first) >= 10000:
            raise UsageError(f"the range '{part}' is empty or too long")
        seeds.extend(range(int(first), end + 1))
    return tuple(dict.fromkeys(seeds))


def parse_size(text: str) -> tuple[int, int]:
    """``WxH`` or one number for a square, as (width, height).

    Raises:
        UsageError: anything else.
    """
    width, cross, height = text.lower().partition("x")
    if not width.isdigit() or (cross and not height.isdigit()):
        raise UsageError(f"a size reads like 512x384; '{text}' does not")
    return int(width), int(height) if cross else int(width)


def batches(seeds: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """Seeds in groups of at most ``size``, so that memory stays bounded."""
    return [tuple(seeds[i : i + size]) for i in range(0, len(seeds), size)]
