"""Pictures of which a part is known: what is asked of a model, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from gcn_cli.errors import ImageError, UsageError
from gcn_cli.images.files import Depth
from gcn_cli.run.checkpoint import Checkpoint
from gcn_cli.run.jobs import read_image
from gcn_cli.run.sampling import Kept, Request, Tiling

_SPREAD = 4.0  # grey levels of a picture of spread, per grey level of deviation
_BAND_SHARE = 4  # a band is this part of the shorter side, unless the user says otherwise


@dataclass(frozen=True)
class Source:
    """A picture (C, H, W) in grey levels as a model has it, what is known of it, and its depth."""

    levels: Tensor
    known: Tensor
    depth: Depth
    notes: tuple[str, ...] = ()


def read_source(saved: Checkpoint, path: Path, mask: Path | None) -> Source:
    """A picture, or of a material a folder of its maps, at the scale that the model learned at.

    What is transparent or white in ``mask`` is unknown. Uneven light stays as it is.

    Raises:
        ImageError: see `read_image`.
    """
    images = saved.config.images.model_copy(update={"flatten": False})
    config = saved.config.model_copy(update={"images": images})
    picture = read_image(config, saved.material, path, mask)
    levels, channels = picture.levels, saved.observed.shape[1]
    if len(levels) != channels:
        levels = levels.mean(0, keepdim=True).expand(channels, -1, -1)
    known = picture.known
    if known is None:
        known = torch.ones(levels.shape[-2:], dtype=torch.bool)
    return Source(levels, known, picture.depth, picture.notes)


def padded(source: Source, pad: Sequence[int]) -> Source:
    """The picture with room of (left, top, right, bottom) px around it, all of it unknown."""
    left, top, right, bottom = pad
    room = (left, right, top, bottom)
    return replace(
        source,
        levels=functional.pad(source.levels, room),
        known=functional.pad(source.known, room),
    )


def banded(source: Source, tile: Tiling, multiple: int, band: int | None) -> Source:
    """The picture cut to sides that tile, with a band at every seam unknown.

    Args:
        source: the picture.
        tile: across which seams it is to tile.
        multiple: what a side that tiles is a multiple of, px.
        band: the whole width of a band, px, half of it on either side of the seam; None: a quarter
            of the shorter side.

    Raises:
        ImageError: sides too short to tile.
        UsageError: a band that leaves nothing.
    """
    height, width = source.known.shape
    rows, columns = (
        n // multiple * multiple if axis in tile and tile != "none" else n
        for n, axis in ((height, "y"), (width, "x"))
    )
    if not rows or not columns:
        raise ImageError(f"to tile, sides must be at least {multiple} px; this is {width}x{height}")
    top, left = (height - rows) // 2, (width - columns) // 2
    part = slice(top, top + rows), slice(left, left + columns)
    levels, known = source.levels[(slice(None), *part)], source.known[part].clone()
    half = (min(rows, columns) // _BAND_SHARE if band is None else band) // 2
    check_band(2 * half, rows, columns)
    if tile in ("y", "xy"):
        known[:half] = known[rows - half :] = False
    if tile in ("x", "xy"):
        known[:, :half] = known[:, columns - half :] = False
    notes = source.notes
    if (rows, columns) != (height, width):
        notes = (*notes, f"cut to {columns}x{rows} px: this model tiles in steps of {multiple} px")
    return replace(source, levels=levels, known=known, notes=notes)


def check_band(band: int, height: int, width: int) -> None:
    """Refuse a band that leaves nothing of a picture.

    Raises:
        UsageError: it does.
    """
    side = min(height, width)
    if not 2 <= band < side:
        raise UsageError(f"a band is 2 to {side - 1} px wide, not {band}")


def asked(source: Source, seeds: tuple[int, ...], tile: Tiling) -> Request:
    """What to draw.

    Raises:
        UsageError: nothing is missing, or everything.
    """
    if bool(source.known.all()):
        raise UsageError("nothing is missing: give --mask, --pad or a picture that is cut out")
    if not bool(source.known.any()):
        raise UsageError("nothing is known; gcn synthesize draws from nothing")
    height, width = source.known.shape
    kept = Kept(source.levels.contiguous(), source.known)
    return Request(width, height, seeds, tile, kept=kept)


def mean_and_spread(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean of images (C, H, W) and their deviation, ``_SPREAD`` times, as pictures."""
    stack = torch.stack(list(images))
    return stack.mean(0), (_SPREAD * stack.std(0)).clamp(0, 255)
