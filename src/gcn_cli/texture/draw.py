"""Fresh samples: the annealed chain at every size, from coarse to fine.

The coarsest chain starts at white noise of the highest level; a finer one at the enlarged coarser
sample plus noise of its own highest level. Every step is driven by the reconstruction error
D(y, s) - y and takes the network at a random phase of its strides, so that no phase is preferred.
Canvases too large for one pass are moved window by window, in place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gcn_cli.core.noise import NoiseSource
from gcn_cli.core.pyramid import enlarge_rows
from gcn_cli.engine import open_engine
from gcn_cli.engine.fast import Sampler
from gcn_cli.engine.windows import BAND, move_bands, parts, windowed_gradient
from gcn_cli.field.ladder import column, noise_shares, reconstruct, step_down
from gcn_cli.field.network import NoiseNet, Weights

WINDOW = 1024
"""Side, px, above which a canvas is moved window by window."""


@dataclass(frozen=True)
class SizeModel:
    """The field of one size: images reduced ``reduction`` times, its ladder ``levels`` (K,)."""

    reduction: int
    levels: Tensor
    weights: Weights


@dataclass(frozen=True)
class Model:
    """What learning leaves: fields from coarse to fine, and the units of the images.

    An image in grey levels is ``mean + contrast * y``; ``mean`` is (C, 1, 1).
    """

    net: NoiseNet
    sizes: tuple[SizeModel, ...]
    fresh_noise: float
    mean: Tensor
    contrast: float

    @property
    def multiple(self) -> int:
        """Sides of a torus must be multiples of this many px."""
        return self.net.total_stride * self.sizes[0].reduction

    @property
    def total_steps(self) -> int:
        """Sampler steps of one sample, over all sizes."""
        return sum(len(size.levels) for size in self.sizes)

    def to_grey(self, y: Tensor) -> Tensor:
        """Images (N, C, H, W) in units of contrast as grey levels."""
        return y * self.contrast + self.mean.to(y.device)


@dataclass(frozen=True)
class Machine:
    """Where and in which type maps are computed."""

    device: torch.device
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Step:
    """One step of a chain: y (N, C, H, W) at level ``s``, and D(y, s) where it was computed whole."""

    size: int
    index: int
    s: float
    y: Tensor
    reconstruction: Tensor | None


def chain(
    model: Model,
    size: int,
    sampler: Sampler,
    y: Tensor,
    noise: NoiseSource,
    temperature: float = 1.0,
    window: int = WINDOW,
) -> Iterator[Step]:
    """The steps of one size's chain, from ``y`` at its highest level on.

    Yields y before every step, and in the end the last reconstruction, as y at level 0.
    """
    levels = model.sizes[size].levels.tolist()
    stride = model.net.total_stride
    heat = math.sqrt(temperature)
    for k, s in enumerate(levels):
        below = levels[k + 1] if k + 1 < len(levels) else 0.0
        dy, dx = noise.integers(f"phase/{size}", k, (stride, stride))
        told = torch.full((len(y),), s, device=y.device)
        if max(y.shape[-2:]) > window:
            yield Step(size, k, s, y, None)
            _move_windows(model, sampler, y, (s, below), noise, size, k, (dy, dx), heat, window)
            continue
        rolled = torch.roll(y, (dy, dx), (-2, -1))
        d = torch.roll(reconstruct(sampler, rolled, told), (-dy, -dx), (-2, -1))
        yield Step(size, k, s, y, d)
        if below:
            z = torch.empty_like(y, memory_format=torch.contiguous_format)
            z = noise.normal_(z, f"anneal/{size}", k).mul_(heat)
            y = step_down(y, d, s, below, z, model.fresh_noise)
        else:
            y = d
    yield Step(size, len(levels), 0.0, y, None)


def _move_windows(
    model: Model,
    sampler: Sampler,
    y: Tensor,
    levels: tuple[float, float],
    noise: NoiseSource,
    size: int,
    k: int,
    shift: tuple[int, int],
    heat: float,
    window: int,
) -> None:
    """One step of the whole canvas, in place."""
    s, below = levels
    reach, stride = model.net.reach, model.net.total_stride
    told = torch.full((1,), s, device=y.device)
    scale = math.sqrt(1 + s**2)

    def gradient(piece: Tensor) -> Tensor:
        return sampler.window(piece, told.expand(len(piece)))

    def move(rows: Tensor, top: int, inner: tuple[int, int]) -> Tensor:
        told_rows = windowed_gradient(
            gradient, rows / scale, top, inner, reach, stride, shift, window
        )
        here = rows[..., inner[0] - top : inner[1] - top, :]
        d = here / scale**2 + (s / scale) * told_rows
        if not below:
            return d
        kept, up = noise_shares(s, below, model.fresh_noise)
        out = d + kept * (here - d)
        if up:
            z = torch.empty_like(d, memory_format=torch.contiguous_format)
            out.add_(noise.normal_(z, f"anneal/{size}", k, inner[0]), alpha=up * heat)
        return out

    move_bands(y, reach, stride, shift[0], move)


def start(
    model: Model,
    size: int,
    shape: tuple[int, int, int, int],
    below: Tensor | None,
    noise: NoiseSource,
    temperature: float = 1.0,
) -> Tensor:
    """Where a chain (N, C, H, W) starts: noise of its highest level, plus what lies below it."""
    out = torch.empty(shape, device=noise.device)
    noise.normal_(out, f"start/{size}", 0).mul_(
        float(model.sizes[size].levels[0]) * math.sqrt(temperature)
    )
    if below is not None:
        factor = shape[-1] // below.shape[-1]
        for first, last in parts(shape[-2], BAND):
            out[..., first:last, :] += enlarge_rows(below, factor, first, last)
    return out


def draw(
    model: Model,
    canvas: tuple[int, int],
    noise: NoiseSource,
    machine: Machine,
    temperature: float = 1.0,
    window: int = WINDOW,
) -> Iterator[Step]:
    """Samples on a torus of ``canvas`` (H, W) px of full size, one per chain of ``noise``.

    Yields every step; the last one is the sample, in units of contrast.

    Raises:
        ValueError: a canvas that the strides do not divide.
    """
    if any(n % model.multiple for n in canvas):
        raise ValueError(f"sides are multiples of {model.multiple} px, not {canvas}")
    engine = open_engine(model.net, machine.device, machine.dtype)
    below: Tensor | None = None
    for index, size in enumerate(model.sizes):
        height, width = (n // size.reduction for n in canvas)
        shape = (len(noise.chains), model.net.channels, height, width)
        y = start(model, index, shape, below, noise, temperature)
        weights = size.weights.map(lambda t: t.to(machine.device))
        for step in chain(model, index, engine.opened(weights), y, noise, temperature, window):
            below = step.y
            yield step


def fresh(
    model: Model,
    canvas: tuple[int, int],
    chains: Sequence[int],
    seed: int,
    machine: Machine,
) -> Tensor:
    """Finished samples (N, C, H, W), in units of contrast."""
    noise = NoiseSource(seed, chains, machine.device)
    last = None
    for last in draw(model, canvas, noise, machine):
        pass
    assert last is not None
    return last.y


__all__ = ["Machine", "Model", "SizeModel", "Step", "chain", "column", "draw", "fresh", "start"]
