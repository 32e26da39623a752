"""First layers that start as Gabor filters with thresholds: sparse strokes instead of dense noise.

Where filters start as white noise and biases as zero, half of all units are active in noise, and
what a few Langevin steps make of it is curls and dots. Oriented filters whose biases lie well below
their answers to noise are silent there and add to strokes that stand out. Gabor filters as the
units of sparse models of pictures: Olshausen & Field 1996; of random fields: Xie, Hu, Zhu & Wu
2015 (sparse FRAME). They are weights like any others: learning moves them and their biases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_ACROSS = 0.4  # standard deviation of the envelope across the stroke, in wavelengths
_ALONG = 3.5  # filter sides per standard deviation of the envelope along the stroke


@dataclass(frozen=True)
class GaborStart:
    """How a first layer starts.

    ``threshold``: its biases, below zero by so many standard deviations of the filters' responses
    to white noise of one sigma; ``wavelengths`` in px, which neighbouring orientations take in
    turn.
    """

    threshold: float = 0.0
    wavelengths: tuple[float, ...] = (3.0, 5.0)


def gabor_filters(
    count: int, channels: int, side: int, wavelengths: tuple[float, ...], rng: torch.Generator
) -> Tensor:
    """Even filters at ``count`` / 2 orientations, bright strokes and dark ones in turn.

    Every filter has its own random direction of colour.

    Returns:
        (count, channels, side, side), zero mean, unit root mean square.
    """
    place = torch.arange(side) - (side - 1) / 2
    y, x = torch.meshgrid(place, place, indexing="ij")
    turns = -(-count // 2)
    strokes = []
    for turn in range(turns):
        angle = math.pi * turn / turns
        across = x * math.cos(angle) + y * math.sin(angle)
        along = y * math.cos(angle) - x * math.sin(angle)
        wavelength = wavelengths[turn % len(wavelengths)]
        envelope = (across / (_ACROSS * wavelength)).square() + (along * _ALONG / side).square()
        stroke = torch.cos(2 * math.pi * across / wavelength) * torch.exp(-envelope / 2)
        strokes.append(stroke - stroke.mean())
    colours = torch.randn(count, channels, 1, 1, generator=rng)
    bright = torch.where(colours[:, :1] < 0, -colours, colours)
    bright[1::2] *= -1
    bank = bright * torch.stack(strokes).repeat_interleave(2, 0)[:count, None]
    return bank / bank.square().mean((1, 2, 3), keepdim=True).sqrt()
