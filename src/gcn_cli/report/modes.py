"""Where noise-free descents from a picture lead, and what the field recalls of it when spoiled.

At every size, where finer ones are given the coarser picture: y <- D(y, s) from the picture, from
the picture with its middle ninth covered, with noise of half its contrast, and with a tenth of it
twice. A local mode of p_s reconstructs itself, |D - y| = 0 (`gcn_cli.field.descent`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gcn_cli.field.descent import Moment, descend, distances, distinct, spoil
from gcn_cli.field.noise import generator
from gcn_cli.report import measure
from gcn_cli.report.measure import Field

LEVELS = (0.1, 0.3)
"""Levels of noise besides the ladder's lowest, units of contrast, about."""
STEPS = 50
AT_MODE = 0.05
"""|D - y| below which a descent counts as arrived, over s: of a noisy picture it is about 1."""
ALIKE = 0.05
"""Distance of ends that count as one, over the picture's contrast."""
STARTS = (("whole", "whole", 0.0), ("covered", "hole", 0.0), ("noisy", "noise", 0.5))
_NUDGES = (("nudged", "noise", 0.1), ("nudged again", "noise", 0.1))


@dataclass(frozen=True)
class Descent:
    """From one start; root mean squares over the picture's contrast.

    ``error`` is |D - y| at the start and at the end; ``moved`` the way from the start; ``away`` the
    distance from the picture at the start, where it came nearest after ``nearest_step`` steps, and
    at the end, each over the part that was spoiled if a part was.
    """

    start: str
    error: tuple[float, float]
    moved: float
    away: tuple[float, float, float]
    nearest_step: int


@dataclass(frozen=True)
class LevelModes:
    """Descents at one level, the first from the picture itself.

    ``modes``: how many distinct ends, and of ``starts`` how many had come to a mode.
    """

    s: float
    descents: tuple[Descent, ...]
    modes: int
    arrived: int
    starts: int
    ends: Tensor


@dataclass(frozen=True)
class Modes:
    """Of a picture at size 1/``reduction``: its starts (N, C, h, w) and every level."""

    reduction: int
    steps: int
    starts: Tensor
    levels: tuple[LevelModes, ...]

    @property
    def sentence(self) -> str:
        """What is recalled best, in words."""
        noisy = min(self.levels, key=lambda level: level.descents[2].away[1])
        holed = min(self.levels, key=lambda level: level.descents[1].away[1])
        a, b = noisy.descents[2], holed.descents[1]
        return (
            f"recall at 1/{self.reduction}: "
            f"with noise {100 * a.away[0]:.0f} % of its contrast away, it comes back to "
            f"{100 * a.away[1]:.0f} % after {a.nearest_step} steps at s = {noisy.s:.3g}; the "
            f"covered middle, {100 * b.away[0]:.0f} % away, to {100 * b.away[1]:.0f} % after "
            f"{b.nearest_step} (s = {holed.s:.3g})"
        )


def find_modes(
    field: Field,
    reduction: int,
    x: Tensor,
    levels: Sequence[float],
    seed: int = 0,
    steps: int = STEPS,
    given: Tensor | None = None,
    torus: bool = False,
) -> Modes:
    """Descend from a picture (1, C, H, W) and its spoiled kin at every level.

    What lies around it is its mirror image, anew at every step, as everywhere in `measure`, or, of
    objects, the ``torus``; so for what is ``given`` (1, G, H, W) beside it.
    """
    starts = starts_of(x, seed)
    size = (x.shape[-2], x.shape[-1])
    around = measure.wrapped if torus else measure.surround
    known = None if given is None else around(field, given).expand(len(starts), -1, -1, -1)
    found = []
    for s in levels:

        def reconstruct(y: Tensor, s: float = s) -> Tensor:
            canvas = around(field, y)
            return measure.inner(field, measure.posterior_mean(field, canvas, s, known), size)

        found.append(descents(reconstruct, s, starts, x, steps, AT_MODE * s))
    return Modes(reduction, steps, starts.cpu(), tuple(found))


def starts_of(x: Tensor, seed: int = 0) -> Tensor:
    """A picture (1, C, H, W) and its spoiled kin (N, C, H, W)."""
    kin = (*STARTS, *_NUDGES)
    return torch.cat(
        [spoil(x, how, generator(seed, "spoil", name), noise) for name, how, noise in kin]
    )


def descents(
    reconstruct: Callable[[Tensor], Tensor],
    s: float,
    starts: Tensor,
    x: Tensor,
    steps: int = STEPS,
    at: float = AT_MODE,
) -> LevelModes:
    """Descend from ``starts``, see `starts_of`; ``at``: |R(y) - y| below which it is at a mode."""
    return _level(s, list(descend(reconstruct, starts, steps)), x, at)


def _level(s: float, course: Sequence[Moment], x: Tensor, at: float) -> LevelModes:
    contrast = float(x.std().clamp_min(1e-12))
    first, last = course[0], course[-1]
    errors = [distances(m.images, m.reconstructions) / contrast for m in (first, last)]
    moved = distances(last.images, first.images) / contrast
    names = [name for name, *_ in (*STARTS, *_NUDGES)]
    told = []
    for k, name in enumerate(names):
        spoiled = (first.images[k : k + 1] != x).any(1, keepdim=True)
        part = spoiled if bool(spoiled.any()) else torch.ones_like(spoiled)
        away = [_over(part, m.images[k : k + 1] - x) / contrast for m in course]
        best = min(range(len(away)), key=away.__getitem__)
        told.append(
            Descent(
                start=name,
                error=(float(errors[0][k]), float(errors[1][k])),
                moved=float(moved[k]),
                away=(away[0], away[best], away[-1]),
                nearest_step=course[best].step,
            )
        )
    return LevelModes(
        s=s,
        descents=tuple(told),
        modes=distinct(last.images, ALIKE * contrast),
        arrived=int((errors[1] * contrast <= at).sum()),
        starts=len(names),
        ends=last.images.cpu(),
    )


def _over(part: Tensor, difference: Tensor) -> float:
    """Root mean square of (1, C, H, W) over pixels where ``part`` (1, 1, H, W) holds."""
    return float(difference.movedim(1, -1)[part[:, 0]].square().mean().sqrt())
