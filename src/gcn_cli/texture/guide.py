"""A sketch in the colours of an exemplar: light stays light, dark stays dark."""

from __future__ import annotations

import torch
from torch import Tensor

_WEIGHTS = (0.299, 0.587, 0.114)  # of red, green and blue in brightness (ITU-R BT.601)
_SHARE = 32  # of the exemplar's pixels, that the colour of one brightness is the mean of: 1 / 32


def brightness(images: Tensor) -> Tensor:
    """Brightness (..., H, W) of images (..., C, H, W); of other than three channels their mean."""
    if images.shape[-3] != len(_WEIGHTS):
        return images.mean(-3)
    weights = torch.tensor(_WEIGHTS, dtype=images.dtype, device=images.device)
    return (images * weights[:, None, None]).sum(-3)


def in_colours_of(sketch: Tensor, exemplar: Tensor) -> Tensor:
    """A sketch (c, H, W) as an image (C, H, W) with the brightnesses and colours of an exemplar.

    Every pixel gets the brightness that has its rank in the exemplar (N, C, h, w), and the mean
    colour of the exemplar's pixels about as bright. Equal pixels stay equal.
    """
    channels = exemplar.shape[1]
    pixels = exemplar.movedim(1, 0).reshape(channels, -1)
    pixels = pixels[:, brightness(exemplar).flatten().argsort()].double()
    width = max(1, pixels.shape[1] // _SHARE)
    sums = torch.nn.functional.pad(pixels.cumsum(1), (1, 0))
    colours = ((sums[:, width:] - sums[:, :-width]) / width).to(exemplar.dtype)
    light = brightness(sketch).flatten()
    _, place, counts = torch.unique(light, return_inverse=True, return_counts=True)
    rank = (counts.cumsum(0) - 0.5 * counts) / light.numel()
    index = (rank * (colours.shape[1] - 1)).round().long()
    return colours[:, index[place]].reshape(channels, *sketch.shape[-2:])


__all__ = ["brightness", "in_colours_of"]
