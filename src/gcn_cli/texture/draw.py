"""Fresh samples: the annealed chain at every size, from coarse to fine.

The coarsest chain starts at white noise of the highest level; a finer one at the enlarged coarser
sample plus noise of its own highest level, and is given that sample at every step, so that closed
shapes need not be found again through the noise. Every step is driven by the reconstruction error
D(y, s) - y and takes the network at a random phase of its strides, so that no phase is preferred.
At reduced sizes, where shapes are decided, Langevin steps at every level come before the step down.
Pixels that are known are held (`Held`). Canvases too large for one pass are moved window by
window, in place.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gcn_cli.engine import BAND, Machine, NoiseSource, open_engine, parts
from gcn_cli.field.network import NoiseNet, Weights
from gcn_cli.texture.denoise import WINDOW, Denoiser, OneField
from gcn_cli.texture.held import Held
from gcn_cli.texture.place import place_maps
from gcn_cli.texture.pyramid import enlarge_rows, enlarge_torus, shrink
from gcn_cli.texture.rung import FACTOR, KEPT, Mover, rungs


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
    langevin: int = 0
    """Langevin steps at every level of reduced sizes."""

    @property
    def multiple(self) -> int:
        """Sides of a torus must be multiples of this many px."""
        return self.net.total_stride * self.sizes[0].reduction

    @property
    def total_steps(self) -> int:
        """Sampler steps of one sample, over all sizes."""
        return sum(len(size.levels) for size in self.sizes)

    def stays(self, size: int, patience: int = 0) -> int:
        """Langevin steps at every level of size ``size``; where any, at least ``patience``."""
        return max(patience, self.langevin) if self.sizes[size].reduction > 1 else 0

    def in_units(self, grey: Tensor) -> Tensor:
        """Images (N, C, H, W) in grey levels, of 1 or of the model's channels, in its units."""
        channels = self.net.channels
        if grey.shape[1] != channels:
            one = grey.mean(1, keepdim=True)
            grey = one if channels == 1 else one.expand(-1, channels, -1, -1)
        return (grey - self.mean.to(grey.device)) / self.contrast

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
    denoiser: Denoiser,
    y: Tensor,
    noise: NoiseSource,
    temperature: float = 1.0,
    window: int = WINDOW,
    coarser: Tensor | None = None,
    held: Held | None = None,
    first: int = 0,
    patience: int = 0,
) -> Iterator[Step]:
    """The steps of one size's chain, from ``y`` at level number ``first`` on.

    ``coarser`` (N, C, h, w), a coarser torus, is given to a finer field at every step. What is
    ``held``, at this size, is known at every level. See `Model.stays` for
    ``patience``.

    Yields y before every step, and in the end the last reconstruction, as y at level 0.
    """
    levels = model.sizes[size].levels.tolist()
    net, stride = model.net, model.net.total_stride
    in_place = denoiser.sampler if max(y.shape[-2:]) > window else None
    mover = Mover(noise, f"anneal/{size}", temperature, held)
    earlier: Tensor | None = None
    given = None if coarser is None or in_place is not None else enlarge_torus(coarser, FACTOR)
    if model.place is not None:
        given = place_maps(len(y), (y.shape[-2], y.shape[-1]), y.device)
    for rung in rungs(levels, model.stays(size, patience), first):
        dy, dx = noise.integers(f"phase/{size}", rung.number, (stride, stride))
        if in_place is not None:
            if not rung.stays:
                yield Step(size, rung.index, rung.s, y, None)
            earlier = mover.move_windows(net, in_place, y, coarser, earlier, rung, (dy, dx), window)
            continue
        d = denoiser(y, rung.s, given, (dy, dx))
        d = d if held is None else held.put(d)
        if not rung.stays:
            yield Step(size, rung.index, rung.s, y, d, given)
        y = mover.move(y, d, earlier, rung)
        earlier = earlier if rung.stays else d.to(KEPT)
    yield Step(size, len(levels), 0.0, y, None)


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
    held: Held | None = None,
    first: int = 0,
) -> Tensor:
    """Where a chain (N, C, H, W) starts: noise of level number ``first``, plus what lies below it.

    Below lies the coarser sample (N, C, h, w), enlarged, or a picture of that very size; and what
    is ``held``.
    """
    out = torch.empty(shape, device=noise.device)
    level = float(model.sizes[size].levels[first])
    noise.normal_(out, f"start/{size}", 0).mul_(level * math.sqrt(temperature))
    if below is None and held is None:
        return out
    same = below is not None and below.shape[-2:] == out.shape[-2:]
    for top, bottom in parts(shape[-2], BAND):
        rows = torch.zeros_like(out[..., top:bottom, :])
        if below is not None:
            rows = below[..., top:bottom, :] if same else enlarge_rows(below, FACTOR, top, bottom)
        out[..., top:bottom, :] += rows if held is None else held.put(rows, top)
    return out


@dataclass(frozen=True)
class Begin:
    """A picture (1, C, H, W), of full size and in units of contrast, in place of the first noise.

    The coarsest chain starts at it, ``share`` of its levels further down, under noise of that level
    (Meng et al. 2022): coarse shapes stay, fine ones are drawn anew.
    """

    picture: Tensor
    share: float


@dataclass(frozen=True)
class Conditions:
    """What samples must agree with.

    ``patience``: Langevin steps, at least, at every level of the coarsest size, if it is reduced.
    """

    held: Held | None = None
    begin: Begin | None = None
    patience: int = 0


FREE = Conditions()


def draw(
    model: Model,
    canvas: tuple[int, int],
    noise: NoiseSource,
    machine: Machine,
    temperature: float = 1.0,
    window: int = WINDOW,
    conditions: Conditions = FREE,
    denoisers: Callable[[int], Denoiser] | None = None,
) -> Iterator[Step]:
    """Samples on a torus of ``canvas`` (H, W) px of full size, one per chain of ``noise``.

    Yields every step; the last one is the sample, in units of contrast. ``denoisers`` gives that of
    each size where it is not the model's own.

    Raises:
        ValueError: a canvas that the strides do not divide.
    """
    if any(n % model.multiple for n in canvas):
        raise ValueError(f"sides are multiples of {model.multiple} px, not {canvas}")
    opened = denoisers or opener(model, machine, window)
    held, begin = conditions.held, conditions.begin
    below: Tensor | None = None
    for index, size in enumerate(model.sizes):
        height, width = (n // size.reduction for n in canvas)
        shape = (len(noise.chains), model.net.channels, height, width)
        here = None if held is None else held.at(size.reduction).to(machine.device)
        base, first = below, 0
        if begin is not None and index == 0:
            base = shrink(begin.picture, 1 / size.reduction).to(machine.device)
            first = round(begin.share * (len(size.levels) - 1))
        y = start(model, index, shape, base, noise, temperature, here, first)
        known = None if below is None else given_below(model, index, below, noise, temperature)
        base = below = None  # a large canvas leaves no room for it
        denoiser, patience = opened(index), 0 if index else conditions.patience
        steps = chain(
            model, index, denoiser, y, noise, temperature, window, known, here, first, patience
        )
        for step in steps:
            below = step.y
            yield step


def opener(model: Model, machine: Machine, window: int = WINDOW) -> Callable[[int], OneField]:
    """What opens the field of each size on a machine; see `OneField` for ``window``."""
    engine = open_engine(model.net, machine.device, machine.dtype)

    def opened(index: int) -> OneField:
        weights = model.sizes[index].weights.map(lambda t: t.to(machine.device))
        return OneField(engine.opened(weights), window)

    return opened


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


__all__ = [
    "FREE",
    "Begin",
    "Conditions",
    "Model",
    "SizeModel",
    "Step",
    "chain",
    "draw",
    "fresh",
    "opener",
    "start",
]
