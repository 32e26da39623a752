"""The moment certificate: how far the likelihood equations are from holding, block by block.

Of `gcn_cli.field.moments`. The exemplar's moments are taken where act two of learning takes them,
at units that see real pixels alone, and their Monte-Carlo error is that of the noise laid on it: it
is one picture, and the equations are about this picture. The model's are those of its own chains,
whose scatter is their error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gcn_cli.field.moments import Equation, blocks, equation, moments
from gcn_cli.field.network import Boundary
from gcn_cli.report.measure import Field

HOLDS = 2.0
"""Monte-Carlo errors within which equations count as holding."""


@dataclass(frozen=True)
class LevelEquations:
    """At one level of one size: by block, `gcn_cli.field.moments.Equation`."""

    reduction: int
    s: float
    blocks: dict[str, Equation]


@dataclass(frozen=True)
class Moments:
    """Images y (N, C, H, W) whose moments are taken, and what is given beside them, if anything.

    ``together`` images in a row make one independent draw: all that was learned from, under noise.
    """

    y: Tensor
    given: Tensor | None
    torus: bool
    together: int = 1

    @property
    def rows(self) -> int:
        """Independent draws."""
        return len(self.y) // self.together


def certify(
    field: Field, reduction: int, s: float, observed: Moments, chains: Moments
) -> LevelEquations | None:
    """The equations at level ``s``; None where either has a single row, or no unit sees no frame.

    Bounded images are cut to whole strides.
    """
    if min(observed.rows, chains.rows) < 2:
        return None
    if not observed.torus and min(observed.y.shape[-2:]) < 2 * field.half + field.net.total_stride:
        return None
    seen, made = (_rows(field, s, images) for images in (observed, chains))
    return LevelEquations(reduction, s, {name: equation(seen[name], made[name]) for name in seen})


def _rows(field: Field, s: float, images: Moments) -> dict[str, Tensor]:
    """Moments by block (rows, P)."""
    step, n = field.net.total_stride, images.together
    h, w = (side // step * step for side in images.y.shape[-2:])
    boundary: Boundary = "torus" if images.torus else "frame"
    told: list[dict[str, Tensor]] = []
    for k in range(0, images.rows * n, n):
        given = None if images.given is None else images.given[k : k + n, :, :h, :w]
        y = images.y[k : k + n, :, :h, :w]
        found = moments(field.net, y, s, field.weights, boundary, field.half, given)
        told.append(blocks(field.net, found))
    return {name: torch.stack([one[name] for one in told]) for name in told[0]}


def worst(equations: Sequence[LevelEquations], block: str) -> LevelEquations | None:
    """The level at which what error does not explain of a block is largest."""
    return max(equations, key=lambda level: level.blocks[block].excess, default=None)


def holding(equations: Sequence[LevelEquations], block: str) -> int:
    """At how many levels the equations of a block hold within `HOLDS` errors."""
    return sum(level.blocks[block].errors <= HOLDS for level in equations)
