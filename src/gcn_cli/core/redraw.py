"""Drawing anew the places of a sample that the field itself finds unlikely.

Short chains leave faults: walls where rows of two widths meet, smooth patches in grass. The
field's log density, a sum over places, is low there, lower than nearly anywhere on the observed
images. Such places, with a rim around them, are set back to the chain's start and run again while
the rest of the image stands still: moves of a block given what surrounds it, repeated until no
place falls behind or the rounds are over. What comes out is the law of short chains without such
faults, not a draw from the field's stationary law.

A place is a window of half the receptive field; what is compared is ``f(I) - |I|^2 / 2 sigma^2``
there, in nats per px. A sample's typical value lies below the exemplar's; by so much the limit is
lowered.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.core.network import ConvNet, Weights, map_weights

_SHARE = 0.02  # of the exemplar's places lie below the limit
_SOFT = 3  # px of the rim's soft edge
_BAND_VALUES = 2**25  # of one layer's maps held at once


class Gauge(NamedTuple):
    """What the field's log density is on observed images, nats per px."""

    low: float  # that of the places that few are below
    typical: float  # the median


@torch.no_grad()
def measure_gauge(net: ConvNet, weights: Weights, sigma: float, observed: Tensor) -> Gauge:
    """The gauge of images (N, C, H, W), centred grey levels, not wrapped, on any device."""
    weights = map_weights(lambda t: t.to(observed.device), weights)  # the images may lie elsewhere
    values = _density(net, weights, sigma, observed)
    side = min(_place(net), *values.shape[-2:])
    values = F.avg_pool2d(values, side, 1).flatten().sort().values
    return Gauge(float(values[int(_SHARE * len(values))]), float(values[len(values) // 2]))


@torch.no_grad()
def faults(
    net: ConvNet, weights: Weights, sigma: float, gauge: Gauge, images: Tensor
) -> Tensor | None:
    """How far each pixel of tori (N, C, H, W) is to be drawn anew, (N, 1, H, W) in [0, 1].

    None where there is nothing to do.
    """
    place, rim = _place(net), max(1, net.receptive_field // 4)
    values = _smooth(_wrapped_density(net, weights, sigma, images), place)
    typical = values.flatten(1).median(1).values.view(-1, 1, 1, 1)
    limit = gauge.low + (typical - gauge.typical).clamp(max=0)
    faulty = (values < limit).float()
    if not bool(faulty.any()):
        return None
    grown = F.max_pool2d(_wrap(faulty, rim), 2 * rim + 1, 1)
    return _smooth(_smooth(grown, _SOFT), _SOFT)


def _place(net: ConvNet) -> int:
    """Side of a place, odd px."""
    return 2 * (net.receptive_field // 4) + 1


def _density(net: ConvNet, weights: Weights, sigma: float, images: Tensor) -> Tensor:
    """The log density (N, 1, h, w) at every whole window of images, nats per px."""
    tilt = net.top(net.forward(images, weights, "valid")).sum(1, keepdim=True)
    lead, (height, width) = net.receptive_field // 2, tilt.shape[-2:]
    inner = images[..., lead : lead + height, lead : lead + width]
    return tilt - inner.square().sum(1, keepdim=True) / (2 * sigma**2)


def _wrapped_density(net: ConvNet, weights: Weights, sigma: float, images: Tensor) -> Tensor:
    """The log density (N, 1, H, W) at every pixel of tori, a band of rows at a time."""
    height, width = images.shape[-2:]
    lead = net.receptive_field // 2
    trail = net.receptive_field - 1 - lead
    columns = torch.arange(-lead, width + trail, device=images.device) % width
    widest = max(spec.filters for spec in net.layers)
    band = max(1, _BAND_VALUES // (len(images) * widest * width))
    found = []
    for top in range(0, height, band):
        bottom = min(height, top + band)
        rows = torch.arange(top - lead, bottom + trail, device=images.device) % height
        block = images.index_select(-2, rows).index_select(-1, columns)
        found.append(_density(net, weights, sigma, block))
    return torch.cat(found, -2)


def _smooth(maps: Tensor, side: int) -> Tensor:
    """Means over windows of tori (N, 1, H, W)."""
    return F.avg_pool2d(_wrap(maps, side // 2), side, 1)


def _wrap(maps: Tensor, margin: int) -> Tensor:
    return F.pad(maps, (margin,) * 4, mode="circular")
