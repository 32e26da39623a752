"""Where a picture is unlike what a model learned: a map of its oddity, pixel by pixel.

At every size and noise level the local error of reconstruction, |D(y, s) - x|^2 under narrow
Gaussians, is a figure of the place: a foreign patch is reconstructed worse than the exemplar, a
blurred one better. The logarithms of all levels together are a vector; how far it lies from those
of the exemplar is its Mahalanobis distance (1936), whose square is 1 on average over the exemplar.
So both signs count, and levels that say the same count once.
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

WIDTHS = (2.0, 5.0)
"""Deviations, px of each size, of the Gaussians under which errors are averaged."""
SMOOTH = 6.0
"""Deviation, px, of the Gaussian that the map lies under in the end."""
LOCAL = Settings(levels=(3.0, 1.0, 0.5, 0.25, 0.12, 0.06), draws=2)
"""Levels that say most of a place, and draws of noise."""
_FLOOR = 1e-6  # of an error, whose logarithm is taken
_RIDGE = 1e-2  # of the mean variance, added to every level's


def features(model: Model, picture: Tensor, machine: Machine, settings: Settings) -> Tensor:
    """Log local errors (L, H, W), by level and width, of a picture (1, C, H, W).

    In units of contrast.
    """
    told = []
    for index, size in enumerate(model.sizes):
        wanted = measure.nearest_levels(size.levels, settings.levels)
        wanted = wanted or measure.nearest_levels(size.levels, None)
        work = AtSize(model, index, machine, settings, wanted, measure.WINDOW)
        for errors in work.error_maps(picture):
            told += [_local(errors, width, picture.shape[-2:]) for width in WIDTHS]
    return torch.cat(told)


def _local(errors: Tensor, width: float, size: Sequence[int]) -> Tensor:
    """The logarithm (1, H, W) of errors (1, h, w) of a size, at full size."""
    logs = measure.blurred(errors, width).clamp_min(_FLOOR).log()
    return F.interpolate(logs[None], size=tuple(size), mode="bilinear", align_corners=False)[0]


@dataclass(frozen=True)
class Usual:
    """Mean (L,) of the exemplar's features and the inverse (L, L) of their covariance."""

    mean: Tensor
    precision: Tensor

    def oddity(self, found: Tensor) -> Tensor:
        """The map (1, H, W) of features (L, H, W): their distance, root mean square, smoothed."""
        away = found.double().flatten(1) - self.mean[:, None]
        square = (away * (self.precision @ away)).sum(0) / len(away)
        distance = square.clamp_min(0).sqrt().view(1, *found.shape[1:]).float()
        return measure.blurred(distance, SMOOTH)


def usual(found: Sequence[Tensor]) -> Usual:
    """The law of the features (L, H, W) of what was learned from."""
    flat = torch.cat([one.double().flatten(1) for one in found], 1)
    covariance = torch.cov(flat).reshape(len(flat), len(flat))
    ridge = _RIDGE * covariance.diagonal().mean().clamp_min(_FLOOR)
    eye = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    return Usual(flat.mean(1), torch.linalg.inv(covariance + ridge * eye))


def usual_of(model: Model, observed: Tensor, machine: Machine, settings: Settings) -> Usual:
    """The law of features of pictures (N, C, H, W), in units of contrast, that were learned."""
    seen = middle(observed).to(machine.device)
    return usual([features(model, one[None], machine, settings) for one in seen])


def oddity_map(model: Model, observed: Tensor, picture: Tensor, machine: Machine) -> Tensor:
    """The map (1, H, W) of a picture (C, H, W) in units of contrast, 1 being usual.

    ``observed`` (N, C, H, W) in grey levels is what the model learned from.
    """
    law = usual_of(model, model.in_units(observed), machine, LOCAL)
    return law.oddity(features(model, picture[None].to(machine.device), machine, LOCAL)).cpu()


def heat(oddity: Tensor) -> Tensor:
    """A map (1, H, W) as a picture (3, H, W): black at 1 and below; red, yellow, white above.

    Each of the three is full one unit after the one before it.
    """
    return torch.cat([(oddity - 1 - k).clamp(0, 1) for k in range(3)]) * 255
