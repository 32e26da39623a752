"""What a model makes of a picture as evidence: nats that its denoising costs, without knowing Z.

By `gcn_cli.field.evidence`, size by size. With c~ the coarser picture under its noise, as a finer
field is given it, ``p(x) = p(c~) p(x | c~) / p(c~ | x)``: the finest size counts from its lowest
level, a coarser one from the level of the noise on it, below which c~ knows nothing; the entropy of
that noise falls out. Above a size's highest level p is taken for Gaussian: the reference at the
coarsest size; at a finer one what the exemplar leaves around its coarser picture.

Noise is white in grey levels and the same for all models, so that their evidence compares. A model
of grey pictures says of a coloured one that its channels are equal: their mean has the density of
the model, under a third of the noise's variance, and what they differ by is noise alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gcn_cli.engine import Machine, NoiseSource
from gcn_cli.field import evidence as law
from gcn_cli.field.ladder import reconstruct
from gcn_cli.report import measure
from gcn_cli.texture.draw import Model
from gcn_cli.texture.exemplar import given_picture
from gcn_cli.texture.plan import at_size
from gcn_cli.texture.pyramid import enlarge_torus
from gcn_cli.texture.rung import FACTOR

PER_OCTAVE = 1.0
"""Levels per doubling of the noise at which the integral is taken, at least."""
_HEADROOM = 2.0  # a finer field is taught up to so many times the level that its chain starts at


@dataclass(frozen=True)
class Evidence:
    """Of N pictures: ``nats`` (N,) in all, and where they were spent.

    ``costs``: per size (reduction, levels in grey levels (K,), nats (K, N) that each level adds).
    ``values``: numbers in a picture.
    """

    nats: Tensor
    costs: tuple[tuple[int, Tensor, Tensor], ...]
    values: int


def evidence(
    model: Model,
    observed: Tensor,
    grey: Tensor,
    machine: Machine,
    lowest: float | None = None,
    draws: int = 1,
    seed: int = 0,
) -> Evidence:
    """What pictures (N, C, H, W) in grey levels cost a model: mean of -ln p of them with noise.

    Args:
        model: a model of textures.
        observed: (M, C', H', W') in grey levels, what it learned from.
        grey: the pictures; C is that of the model, or 3 where it is of grey pictures.
        machine: where to compute.
        lowest: noise, grey levels, that is on the pictures; None: the model's lowest level.
        draws: of noise.
        seed: of the noise.
    """
    floor = lowest if lowest is not None else float(model.sizes[-1].levels[-1]) * model.contrast
    whole, extra = _in_channels(model, grey, floor)
    share = 1 / math.sqrt(grey.shape[1] / whole.shape[1])
    costs, total = [], extra
    x = ((whole - model.mean) / model.contrast).to(machine.device)
    learned = ((observed - model.mean) / model.contrast).to(machine.device)
    last = len(model.sizes) - 1
    for index in range(len(model.sizes)):
        floor_here = floor * share / model.contrast
        if index < last:
            floor_here = max(floor_here, model.given_noise)
        levels = _levels(model, index, floor_here)
        work = _AtSize(model, index, machine, grey.shape[1], seed)
        found = torch.stack([work.costs(x, levels, draw) for draw in range(draws)]).mean(0)
        total = total + law.integral(found, levels).cpu() + work.above(x, learned, levels).cpu()
        spent = law.level_weights(levels)[:, None] * found.double().cpu()
        costs.append((model.sizes[index].reduction, levels * model.contrast / share, spent))
    n = grey[0].numel()
    return Evidence(total + law.noise_entropy(n, floor), tuple(costs), n)


def _in_channels(model: Model, grey: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Pictures in the model's channels; nats (N,) of what is left over, all of it noise."""
    channels = model.net.channels
    if grey.shape[1] == channels:
        return grey, torch.zeros(len(grey), dtype=torch.float64)
    mean = grey.mean(1, keepdim=True)
    colour = (grey - mean).double().flatten(1).square().sum(1) / (2 * floor**2)
    return mean, colour


def _levels(model: Model, index: int, floor: float) -> Tensor:
    """Levels (K,) of a size from its highest down to ``floor``, units of contrast, even in ln s."""
    ladder = model.sizes[index].levels
    top = float(ladder[0]) * (_HEADROOM if index else 1.0)
    floor = min(floor, top / 2)
    n = 1 + max(2, math.ceil(PER_OCTAVE * math.log2(top / floor)))
    return torch.linspace(math.log(top), math.log(floor), n, dtype=torch.float64).exp()


class _AtSize:
    """One size of a model, and the noise on pictures of so many ``channels``."""

    def __init__(
        self, model: Model, index: int, machine: Machine, channels: int, seed: int
    ) -> None:
        self.model, self.index, self.seed, self.channels = model, index, seed, channels
        self.field = measure.open_field(model, index, machine)
        self.reduction = model.sizes[index].reduction

    def _normal(self, like: Tensor, shape: Sequence[int], purpose: str, draw: int) -> Tensor:
        """Noise (N, C, h, w), of all colours; where the model is grey their mean, of variance 1."""
        n, _, h, w = shape
        key = f"evidence/{purpose}/{self.reduction}"
        noise = NoiseSource(self.seed, range(n), like.device)
        z = noise.normal_(like.new_empty((n, self.channels, h, w)), key, draw)
        if self.channels == self.model.net.channels:
            return z
        return z.mean(1, keepdim=True) * math.sqrt(self.channels)

    def costs(self, x: Tensor, levels: Tensor, draw: int) -> Tensor:
        """``|D - x|^2 / s^2`` (K, N) of pictures of full size, each taken for a torus."""
        here = at_size(x, self.reduction)
        z, given = self._normal(here, here.shape, "y", draw), None
        if self.index:
            below = at_size(x, FACTOR * self.reduction)
            c = self._normal(below, below.shape, "given", draw)
            given = enlarge_torus(below + self.model.given_noise * c, FACTOR)

        def denoiser(y: Tensor, s: Tensor) -> Tensor:
            return reconstruct(self.field.sampler, y, s, given)

        return law.denoising_cost(denoiser, here, lambda k: z, levels)

    def above(self, x: Tensor, learned: Tensor, levels: Tensor) -> Tensor:
        """Nats (N,) that are spent above the highest level, where p is taken for Gaussian."""
        here, top = at_size(x, self.reduction), float(levels[0])
        if not self.index:
            return law.divergence_from_reference(here, top).double()
        left = at_size(learned, self.reduction) - given_picture(learned, self.reduction)
        away = here - given_picture(x, self.reduction)
        variance = float(left.square().mean())
        return law.divergence_from_reference(away, top, variance).double()
