"""Light that differs from place to place on a photograph: how much, and how to even it out.

A texture is taken to be the same everywhere, so that a shadow across an exemplar would be learned
as part of it. The light is the logarithm of brightness under a Gaussian far wider than any motif;
what is divided by it is as bright all over (homomorphic filtering, Oppenheim et al. 1968).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SHARE = 6  # of the shorter side: the Gaussian's deviation is a sixth of it
_SMALL = 192  # px; light is so smooth that a small copy shows all of it


def light(image: Tensor) -> Tensor:
    """Logarithm of the light (H, W) of a picture (C, H, W) in grey levels, about 0."""
    height, width = image.shape[-2:]
    factor = min(1.0, _SMALL / max(height, width))
    size = [max(2, round(n * factor)) for n in (height, width)]
    small = F.interpolate(image.mean(0)[None, None], size, mode="bilinear", antialias=True)
    smooth = _blurred((small.clamp_min(0) + 1).log(), min(size) / _SHARE)
    smooth = smooth - smooth.mean()
    return F.interpolate(smooth, (height, width), mode="bicubic", align_corners=False)[0, 0]


def unevenness(image: Tensor, known: Tensor | None = None) -> float:
    """How many times as bright the brightest tenth of a picture (C, H, W) is lit as the darkest.

    Of what is ``known`` (H, W), where not all is.
    """
    values = light(image).flatten() if known is None else light(image)[known]
    values = values[:: max(1, len(values) // 2**16)]
    low, high = torch.quantile(values, torch.tensor([0.1, 0.9]))
    return float((high - low).exp())


def flattened(image: Tensor) -> Tensor:
    """The picture (C, H, W) under even light, as bright as before on the whole."""
    even = image / light(image).exp()
    return even * (image.mean() / even.mean().clamp_min(1e-6))


def _blurred(x: Tensor, deviation: float) -> Tensor:
    """Maps (1, 1, H, W) under a Gaussian; beyond the frame the picture's mirror."""
    reach = min(round(3 * deviation), min(x.shape[-2:]) - 1)
    bell = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
    bell = (bell / bell.sum()).to(x)
    x = F.pad(x, (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(x, bell.view(1, 1, -1, 1)), bell.view(1, 1, 1, -1))
