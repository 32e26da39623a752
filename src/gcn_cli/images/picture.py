"""What a picture in memory is, and the curve between grey levels and linear light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gcn_cli.errors import ImageError

Array = NDArray[Any]

Depth = Literal["8", "16", "half", "float"]
"""Of a sample on disk: integers of 8 or 16 bits, floating-point numbers of 16 or 32."""
DEPTHS: tuple[Depth, ...] = ("8", "16", "half", "float")

Role = Literal["colour", "data"]
"""``colour``: what is seen, in sRGB. ``data``: heights, normals, masks: numbers as they are stored,
to which no curve and no profile applies."""
ROLES: tuple[Role, ...] = ("colour", "data")

Crop = tuple[int, int, int, int]
"""A part of a picture: left, top, width and height, px."""


@dataclass(frozen=True)
class Picture:
    """A picture as it was read.

    Attributes:
        levels: grey levels `(C, H, W)` float32, 0 (black) to 255 (white), C = 1 or 3, not rounded.
            Of colours these are sRGB's; what is brighter than white exceeds 255. Unknown pixels
            hold the mean of the known ones.
        known: `(H, W)` bool, False where nothing is known; None: all is known.
        depth: of the file's samples.
        notes: what was done on reading, in short sentences that are told once.
        whole: width and height, px, of the upright picture in the file, of which this may be a part
            or a smaller copy.
    """

    levels: Tensor
    known: Tensor | None = None
    depth: Depth = "8"
    notes: tuple[str, ...] = ()
    whole: tuple[int, int] = (0, 0)

    @property
    def marked(self) -> Tensor:
        """Its levels, NaN where nothing is known."""
        if self.known is None:
            return self.levels
        return self.levels.masked_fill(~self.known, float("nan"))


def encoded(light: Array) -> Array:
    """The values of linear light in sRGB, 1 being white; below 0 and above 1 the curve goes on."""
    x = light.astype(np.float64)
    with np.errstate(invalid="ignore"):
        high = 1.055 * np.power(np.maximum(x, 0.0), 1 / 2.4) - 0.055
    return np.where(x <= 0.0031308, 12.92 * x, high)


def decoded(values: Array) -> Array:
    """Linear light of sRGB's values, the inverse of `encoded`."""
    x = values.astype(np.float64)
    high = np.power((np.maximum(x, 0.0) + 0.055) / 1.055, 2.4)
    return np.where(x <= 0.04045, x / 12.92, high)


def filled(levels: Tensor, known: Tensor) -> Tensor:
    """Levels (C, H, W) whose unknown pixels have the mean of the known ones (H, W).

    Raises:
        ImageError: nothing is known.
    """
    if not bool(known.any()):
        raise ImageError("nothing of it is known: every pixel is transparent or masked")
    mean = levels[:, known].to(torch.float64).mean(1).to(levels.dtype)
    return torch.where(known, levels, mean[:, None, None])
