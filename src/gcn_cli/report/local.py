"""Where a picture is unlike what a model learned: a map of its oddity, pixel by pixel.

D(x, s) - x = s^2 grad ln p_s(x) is what the model would change of the picture itself, no noise
being added (Tweedie's formula; the paper's auto-encoder). Its size under narrow Gaussians is a
figure of the place: large where no motif fits, small where there is too little to fit. Its
logarithm at every size, level and width stands so many deviations off the exemplar's; the map is
the root mean square of these, 1 over the exemplar itself. So both signs count. Noise would hide
more than it tells: of eight draws the flaws of `benchmarks/flaws.py` are found less well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.engine import Machine
from gcn_cli.report import measure
from gcn_cli.report.at_size import AtSize, Settings, middle
from gcn_cli.texture.draw import Model

LEVELS = (0.5, 0.25, 0.12, 0.06)
"""Noise levels that say most of a place."""
WIDTHS = (1.0, 3.0)
"""Deviations, px of each size, of the Gaussians under which errors are averaged."""
POWER = 3
"""Of errors that are averaged: more than a square, for flaws may be thin."""
SMOOTH = 8.0
"""Deviation, px, of the Gaussian that the map lies under in the end."""
_FLOOR = 1e-6  # of an averaged power, whose logarithm is taken


def features(model: Model, picture: Tensor, machine: Machine) -> Tensor:
    """Log local errors (L, H, W), by level and width, of a picture (1, C, H, W).

    In units of contrast.
    """
    told = []
    for index, size in enumerate(model.sizes):
        wanted = measure.nearest_levels(size.levels, LEVELS)
        wanted = wanted or measure.nearest_levels(size.levels, None)
        work = AtSize(model, index, machine, Settings(), wanted, measure.WINDOW)
        for error in work.errors(picture):
            power = error[0].abs().pow(POWER).mean(0, keepdim=True)
            told += [_local(power, width, picture.shape[-2:]) for width in WIDTHS]
    return torch.cat(told)


def _local(power: Tensor, width: float, size: Sequence[int]) -> Tensor:
    """The logarithm (1, H, W) of a map (1, h, w) of a size, at full size."""
    logs = measure.blurred(power, width).clamp_min(_FLOOR).log()
    return F.interpolate(logs[None], size=tuple(size), mode="bilinear", align_corners=False)[0]


@dataclass(frozen=True)
class Usual:
    """Mean and deviation (L,) of the exemplar's features."""

    mean: Tensor
    deviation: Tensor

    def oddity(self, found: Tensor) -> Tensor:
        """The map (1, H, W) of features (L, H, W): root mean square deviations off, smoothed."""
        z = (found - self.mean[:, None, None]) / self.deviation[:, None, None]
        return measure.blurred(z.square().mean(0, keepdim=True).sqrt(), SMOOTH)


def usual_of(model: Model, observed: Tensor, machine: Machine) -> Usual:
    """The law of features of pictures (N, C, H, W), in units of contrast, that were learned."""
    seen = middle(observed).to(machine.device)
    flat = torch.cat([features(model, one[None], machine).flatten(1) for one in seen], 1)
    return Usual(flat.mean(1), flat.std(1).clamp_min(_FLOOR))


def oddity_map(model: Model, observed: Tensor, picture: Tensor, machine: Machine) -> Tensor:
    """The map (1, H, W) of a picture (C, H, W) in units of contrast, 1 being usual.

    ``observed`` (N, C, H, W) in grey levels is what the model learned from.
    """
    law = usual_of(model, model.in_units(observed), machine)
    return law.oddity(features(model, picture[None].to(machine.device), machine)).cpu()


def heat(oddity: Tensor) -> Tensor:
    """A map (1, H, W) as a picture (3, H, W): black at 1 and below; red, yellow, white above.

    Each of the three is full one unit after the one before it.
    """
    return torch.cat([(oddity - 1 - k).clamp(0, 1) for k in range(3)]) * 255
