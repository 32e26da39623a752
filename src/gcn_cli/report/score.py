"""Where a picture stands among a model's own samples of its size.

At every size and noise level the energy U of the picture under noise, per pixel, beside that of
finished samples of the model, which are treated in the same way: cut to as many pixels, rounded to
grey levels, mirrored, under the same noise. A picture that the model drew is therefore one of them.
z is its distance from their mean in their deviations. The *strangeness* is the root mean square of
z over all levels; every own sample has one, too, by the others' mean and deviation, so that the
picture has a rank among them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gcn_cli.engine import Machine
from gcn_cli.report import measure
from gcn_cli.report.at_size import AtSize, Settings, check_picture, middle
from gcn_cli.texture.draw import Model, fresh


@dataclass(frozen=True)
class LevelScore:
    """One level of one size: energies in nats per pixel, of the picture and of own samples.

    ``rank``: how many of the own samples have less energy.
    """

    reduction: int
    s: float
    energy: float
    own_energy: float
    own_spread: float
    z: float
    rank: int


@dataclass(frozen=True)
class Score:
    """All levels, and the strangeness of the picture and of every own sample.

    ``stranger``: how many own samples are at least as strange; ``share``: the chance that a sample
    of the model's is, by rank, 1 / (N + 1) at the least.
    """

    levels: tuple[LevelScore, ...]
    strangeness: float
    own_strangeness: tuple[float, ...]

    @property
    def stranger(self) -> int:
        """Own samples that are at least as strange."""
        return sum(own >= self.strangeness for own in self.own_strangeness)

    @property
    def share(self) -> float:
        """The picture counted among them, so that it is never 0."""
        return (1 + self.stranger) / (1 + len(self.own_strangeness))


class Judge:
    """A model whose own samples are drawn and measured once for every size of picture.

    ``whole``: samples are rounded to grey levels of 0 to 255, as pictures in files are.
    """

    def __init__(
        self, model: Model, machine: Machine, settings: Settings, whole: bool = True
    ) -> None:
        self.model, self.machine, self.whole = model, machine, whole
        self.settings = replace(settings, draws=1)
        self._own: dict[tuple[int, int], list[Tensor]] = {}

    def score(self, picture: Tensor) -> Score:
        """Of a picture (C, H, W) in units of contrast.

        Raises:
            ImageError: a picture smaller than the field of view.
        """
        check_picture(self.model, picture)
        canvas = self._canvas(picture)
        if canvas not in self._own:
            measured = [torch.tensor(self._energies(y)) for y in self._samples(canvas)]
            self._own[canvas] = list(torch.stack(measured, 1).double())
        energies = self._energies(_central(picture[None], canvas))
        return judged(self._levels(), energies, self._own[canvas])

    def _samples(self, canvas: tuple[int, int]) -> Iterator[Tensor]:
        """Finished samples (1, C, H, W), one at a time, each of a seed of its own."""
        for k in range(self.settings.chains):
            y = fresh(self.model, canvas, [0], self.settings.seed + k, self.machine)
            if self.whole:
                y = self.model.to_grey(y).round().clamp(0, 255)
                y = self.model.in_units(y)
            yield y

    def _wanted(self, index: int) -> list[int]:
        return measure.nearest_levels(self.model.sizes[index].levels, self.settings.levels)

    def _levels(self) -> list[tuple[int, float]]:
        return [
            (size.reduction, float(size.levels[k]))
            for index, size in enumerate(self.model.sizes)
            for k in self._wanted(index)
        ]

    def _energies(self, y: Tensor) -> list[float]:
        """U, nats per pixel, of a picture (1, C, H, W) at every size and level."""
        told = []
        for index, size in enumerate(self.model.sizes):
            window = measure.window_side(self.model.net, min(y.shape[-2:]) // size.reduction)
            work = AtSize(
                self.model, index, self.machine, self.settings, self._wanted(index), window
            )
            told += work.energies(y.to(self.machine.device))
        return told

    def _canvas(self, picture: Tensor) -> tuple[int, int]:
        if self.model.place is not None:
            return self.model.place
        sides = middle(picture[None]).shape[-2:]
        height, width = (max(1, n // self.model.multiple) * self.model.multiple for n in sides)
        return height, width


def _central(x: Tensor, canvas: tuple[int, int]) -> Tensor:
    """The middle of pictures (N, C, H, W), at most as large as a canvas (H, W)."""
    top, left = (max(0, n - m) // 2 for n, m in zip(x.shape[-2:], canvas, strict=True))
    return x[..., top : top + canvas[0], left : left + canvas[1]].float()


def judged(
    told: Sequence[tuple[int, float]], energies: Sequence[float], own: Sequence[Tensor]
) -> Score:
    """The score from energies by (reduction, s): of the picture, and (N,) of own samples."""
    levels = []
    for (reduction, s), u, others in zip(told, energies, own, strict=True):
        mean, spread = float(others.mean()), max(float(others.std()), 1e-12)
        rank = int((others < u).sum())
        levels.append(LevelScore(reduction, s, u, mean, spread, (u - mean) / spread, rank))
    every = torch.stack(list(own))  # (L, N)
    mine = [abs(level.z) for level in levels]
    theirs = _left_out(every).square().mean(0).sqrt().tolist()
    strangeness = math.sqrt(math.fsum(z * z for z in mine) / max(1, len(mine)))
    return Score(tuple(levels), strangeness, tuple(theirs))


def _left_out(energies: Tensor) -> Tensor:
    """Z (L, N) of every sample by mean and deviation of the others."""
    n = energies.shape[1]
    total, square = energies.sum(1, keepdim=True), energies.square().sum(1, keepdim=True)
    mean = (total - energies) / (n - 1)
    rest = (square - energies.square()) / (n - 1) - mean.square()
    return (energies - mean) / (rest * (n - 1) / (n - 2)).clamp_min(1e-24).sqrt()
