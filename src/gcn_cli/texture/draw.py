"""Fresh samples: the annealed chain at every size, from coarse to fine.

The coarsest chain starts at white noise of the highest level; a finer one at the enlarged coarser
sample plus noise of its own highest level, and is given that sample at every step, so that closed
shapes need not be found again through the noise. Every step is driven by the reconstruction error
D(y, s) - y and takes the network at a random phase of its strides, so that no phase is preferred.
Canvases too large for one pass are moved window by window, in place.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gcn_cli.engine import (
    BAND,
    Machine,
    NoiseSource,
    Sampler,
    move_bands,
    open_engine,
    parts,
    windowed_gradient,
)
from gcn_cli.field.ladder import extrapolated, reconstruct, step_down
from gcn_cli.field.network import NoiseNet, Weights, beside
from gcn_cli.texture.place import place_maps
from gcn_cli.texture.pyramid import enlarge_rows, enlarge_torus

WINDOW = 1024
"""Side, px, above which a canvas is moved window by window."""
FACTOR = 2
"""Between a size and the next finer one."""
KEPT = torch.float16
"""What the last D is kept in for the next step: half the memory of a large canvas."""


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
    mean: Tensor
    contrast: float
    given_noise: float = 0.0
    """Deviation of the noise on the coarser sample that a finer field is given."""
    place: tuple[int, int] | None = None
    """Canvas (H, W), px, of aligned objects, whose field knows where it is; None: a texture."""

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
class Step:
    """One step of a chain: y (N, C, H, W) at level ``s``, and D(y, s) where it is held whole.

    ``given`` (N, C, H, W) is what a finer field is given, where it is held whole.

    Without a reconstruction y is a canvas that the next step moves in place: copy what is to last.
    """

    size: int
    index: int
    s: float
    y: Tensor
    reconstruction: Tensor | None
    given: Tensor | None = None


def chain(
    model: Model,
    size: int,
    sampler: Sampler,
    y: Tensor,
    noise: NoiseSource,
    temperature: float = 1.0,
    window: int = WINDOW,
    coarser: Tensor | None = None,
) -> Iterator[Step]:
    """The steps of one size's chain, from ``y`` at its highest level on.

    ``coarser`` (N, C, h, w), a coarser torus, is given to a finer field at every step.

    Yields y before every step, and in the end the last reconstruction, as y at level 0.
    """
    levels = model.sizes[size].levels.tolist()
    stride = model.net.total_stride
    large = max(y.shape[-2:]) > window
    earlier: Tensor | None = None
    given = None if coarser is None or large else enlarge_torus(coarser, FACTOR)
    if model.place is not None:
        given = place_maps(len(y), (y.shape[-2], y.shape[-1]), y.device)
    for k, s in enumerate(levels):
        above, below = levels[max(0, k - 1)], levels[k + 1] if k + 1 < len(levels) else 0.0
        dy, dx = noise.integers(f"phase/{size}", k, (stride, stride))
        rung = Rung(k, above, s, below, (dy, dx))
        if large:
            yield Step(size, k, s, y, None)
            purpose = f"anneal/{size}"
            earlier = _move_windows(
                model, sampler, y, coarser, earlier, rung, noise, purpose, temperature, window
            )
            continue
        told = torch.full((len(y),), s, device=y.device)
        rolled = _rolled(y, dy, dx)
        known = None if given is None else _rolled(given, dy, dx)
        d = _rolled(reconstruct(sampler, rolled, told, known), -dy, -dx)
        yield Step(size, k, s, y, d, given)
        y = _moved(y, d, earlier, rung, noise, f"anneal/{size}", 0, temperature)
        earlier = d.to(KEPT)
    yield Step(size, len(levels), 0.0, y, None)


def _rolled(images: Tensor, dy: int, dx: int) -> Tensor:
    return torch.roll(images, (dy, dx), (-2, -1))


@dataclass(frozen=True)
class Rung:
    """Step ``index`` of a ladder: from level s to ``below`` (0: the end), after ``above``."""

    index: int
    above: float
    s: float
    below: float
    shift: tuple[int, int]
    """Phase (dy, dx), px, of the network's strides."""


def _moved(
    y: Tensor,
    d: Tensor,
    earlier: Tensor | None,
    rung: Rung,
    noise: NoiseSource,
    purpose: str,
    first_row: int,
    temperature: float,
) -> Tensor:
    """Y (N, C, h, W), whose first row is ``first_row`` of the canvas, one step further down."""
    if not rung.below:
        return d
    last = None if earlier is None else earlier.float()
    towards = extrapolated(d, last, rung.above, rung.s, rung.below)
    z = torch.empty_like(d, memory_format=torch.contiguous_format)
    noise.normal_(z, purpose, rung.index, first_row).mul_(math.sqrt(temperature))
    return step_down(y, towards, rung.s, rung.below, z)


def _move_windows(
    model: Model,
    sampler: Sampler,
    y: Tensor,
    coarser: Tensor | None,
    earlier: Tensor | None,
    rung: Rung,
    noise: NoiseSource,
    purpose: str,
    temperature: float,
    window: int,
) -> Tensor:
    """One step of the whole canvas, in place; returns D, kept in half as many bytes."""
    reach, stride = model.net.reach, model.net.total_stride
    told = torch.full((1,), rung.s, device=y.device)
    scale = math.sqrt(1 + rung.s**2)
    last = earlier
    kept = torch.empty_like(y, dtype=KEPT) if earlier is None else earlier

    def gradient(piece: Tensor) -> Tensor:
        return sampler.window(piece, told.expand(len(piece)))

    def move(rows: Tensor, top: int, inner: tuple[int, int]) -> Tensor:
        first, end = inner
        known = None
        if coarser is not None:
            known = enlarge_rows(coarser, FACTOR, top, top + rows.shape[-2])
        found = windowed_gradient(
            gradient,
            beside(rows / scale, known),
            y.shape[1],
            top,
            inner,
            reach,
            stride,
            rung.shift,
            window,
        )
        here = rows[..., first - top : end - top, :]
        d = here / scale**2 + (rung.s / scale) * found
        before = None if last is None else last[..., first:end, :].clone()
        kept[..., first:end, :] = d
        return _moved(here, d, before, rung, noise, purpose, first, temperature)

    move_bands(y, reach, stride, rung.shift[0], move)
    return kept


def given_below(
    model: Model, size: int, below: Tensor, noise: NoiseSource, temperature: float = 1.0
) -> Tensor:
    """What size ``size`` is given: the coarser sample (N, C, h, w) under a little noise."""
    out = torch.empty_like(below)
    noise.normal_(out, f"given/{size}", 0)
    return out.mul_(model.given_noise * math.sqrt(temperature)).add_(below)


def coarse_shape(shape: torch.Size) -> torch.Size:
    """Shape of the white noise that `from_coarse` needs for images (N, C, h, w)."""
    return torch.Size([*shape[:2], *(-(-n // FACTOR) + 2 for n in shape[-2:])])


def from_coarse(z: Tensor, shape: torch.Size) -> Tensor:
    """White noise of the coarser size enlarged to ``shape`` (N, C, h, w), without a frame."""
    big = torch.nn.functional.interpolate(z, scale_factor=FACTOR, mode="bicubic")
    return big[..., FACTOR : FACTOR + shape[-2], FACTOR : FACTOR + shape[-1]]


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
        for first, last in parts(shape[-2], BAND):
            out[..., first:last, :] += enlarge_rows(below, FACTOR, first, last)
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
        known = None if below is None else given_below(model, index, below, noise, temperature)
        below = None  # a large canvas leaves no room for it
        sampler = engine.opened(weights)
        for step in chain(model, index, sampler, y, noise, temperature, window, known):
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
    return deque(draw(model, canvas, noise, machine), maxlen=1)[0].y


__all__ = ["Model", "SizeModel", "Step", "chain", "draw", "fresh", "start"]
