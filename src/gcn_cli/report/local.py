"""Where a picture is unlike what a model learned: a map of its oddity, pixel by pixel.

D(x, s) - x = s^2 grad ln p_s(x) is what the model would change of the picture itself, no noise
being added (Tweedie's formula; the paper's auto-encoder). Its square, hardly averaged, is a figure
of the place: large where no motif fits, small where there is too little to fit. Its logarithm at
every size and level stands so many deviations off the exemplar's; their root mean square, smoothed,
is the oddity. So both signs count. Noise would hide more than it tells. The map says how many
deviations the oddity lies above that of the exemplar: 0 is usual.
"""

from __future__ import annotations

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
WIDTH = 1.0
"""Deviation, px of each size, of the Gaussian under which squared errors are averaged."""
SMOOTH = 10.0
"""Deviation, px, of the Gaussian that the map lies under in the end."""
_FLOOR = 1e-6  # of an averaged square, whose logarithm is taken
_LEAST = 1e-6  # deviation


def features(model: Model, picture: Tensor, machine: Machine) -> Tensor:
    """Log local errors (L, H, W), by size and level, of a picture (1, C, H, W).

    In units of contrast.
    """
    told = []
    for index, size in enumerate(model.sizes):
        wanted = measure.nearest_levels(size.levels, LEVELS)
        wanted = wanted or measure.nearest_levels(size.levels, None)
        work = AtSize(model, index, machine, Settings(), wanted, measure.WINDOW)
        for error in work.errors(picture):
            square = measure.blurred(error.square().mean(1), WIDTH)
            logs = square.clamp_min(_FLOOR).log()[None]
            told.append(F.interpolate(logs, size=picture.shape[-2:], mode="bilinear")[0])
    return torch.cat(told)


@dataclass(frozen=True)
class Usual:
    """Mean and deviation of the exemplar's features, (L,), and of its oddity."""

    features: tuple[Tensor, Tensor]
    oddity: tuple[float, float]

    def map(self, found: Tensor) -> Tensor:
        """The map (1, H, W) of features (L, H, W)."""
        mean, deviation = self.oddity
        return (_oddity(found, *self.features) - mean) / deviation


def _oddity(found: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Root mean square deviations off (1, H, W) of features (L, H, W), smoothed."""
    z = (found - mean[:, None, None]) / deviation[:, None, None]
    return smoothed(z.square().mean(0, keepdim=True).sqrt())


def smoothed(found: Tensor) -> Tensor:
    """A map (1, H, W) under a Gaussian; beyond the frame is what the picture has in the middle.

    Renormalised there, as `measure.blurred` does, the map would be of fewer pixels and restless.
    """
    reach = round(3 * SMOOTH)
    around = F.pad(found, (reach,) * 4, value=float(found.median()))
    return measure.blurred(around, SMOOTH)[:, reach:-reach, reach:-reach]


def usual_of(model: Model, observed: Tensor, machine: Machine) -> Usual:
    """The law of features of pictures (N, C, H, W), in units of contrast, that were learned."""
    seen = middle(observed).to(machine.device)
    found = torch.stack([features(model, one[None], machine) for one in seen])
    flat = found.transpose(0, 1).flatten(1)
    law = flat.mean(1), flat.std(1).clamp_min(_LEAST)
    own = torch.stack([_oddity(one, *law) for one in found])
    return Usual(law, (float(own.mean()), max(float(own.std()), _LEAST)))


def oddity_map(model: Model, observed: Tensor, picture: Tensor, machine: Machine) -> Tensor:
    """The map (1, H, W) of a picture (C, H, W) in units of contrast, 0 being usual.

    ``observed`` (N, C, H, W) in grey levels is what the model learned from.
    """
    law = usual_of(model, model.in_units(observed), machine)
    return law.map(features(model, picture[None].to(machine.device), machine)).cpu()


def heat(oddity: Tensor) -> Tensor:
    """A map (1, H, W) as a picture (3, H, W): black at 2 and below; red, yellow, white above.

    Each of the three is full two units after the one before it.
    """
    return torch.cat([(oddity / 2 - 1 - k).clamp(0, 1) for k in range(3)]) * 255
