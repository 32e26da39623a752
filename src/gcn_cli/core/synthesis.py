"""Fresh samples: chains that learning has never seen, of any size and number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from gcn_cli.core.device import AnyBasis, make_basis
from gcn_cli.core.langevin import ChainState, run_langevin
from gcn_cli.core.likeness import Likeness, draws, unlikeness
from gcn_cli.core.matching import begin_path, push, push_
from gcn_cli.core.model import LevelModel, Model
from gcn_cli.core.network import Weights
from gcn_cli.core.noise import BAND, NoiseSource, derive_seed
from gcn_cli.core.windows import Coarse, WindowedField, run_windowed

_CHUNK = 10  # steps between two yields


@dataclass(frozen=True)
class SynthesisInfo:
    """Progress of a batch.

    ``step`` of ``steps`` over all levels are done; ``chains`` (N, C, h, w) are the chains' current
    state at level ``level``, in grey levels with ``mean`` (C, 1, 1) subtracted. On a windowed
    canvas the chains move in place: read them before asking for the next.

    Where a level has several candidates, they come one after the other, and after the last one
    ``chains`` holds the chosen ones, and ``chosen`` (N,) their numbers.
    """

    level: int
    step: int
    steps: int
    chains: Tensor
    mean: Tensor
    candidate: int = 0
    candidates: int = 1
    chosen: Tensor | None = None

    @property
    def images(self) -> Tensor:
        """The chains with the mean colour added: a new tensor (N, C, h, w)."""
        return self.chains + self.mean


class Below(NamedTuple):
    """Samples (N, C, h, w) of a coarser level in centred grey levels, and that level's scale."""

    images: Tensor
    scale: float


def fresh_chains(
    level: LevelModel,
    shape: tuple[int, int, int, int],
    noise: NoiseSource,
    centre: Tensor | None,
    device: torch.device,
    coarse: Coarse | None = None,
) -> ChainState:
    """Starting images (N, C, H, W): the reference's centre plus the sampler's starting noise.

    The centre is given whole or, to be enlarged band by band, as the ``coarse`` sample.
    """
    start = torch.zeros(shape, device=device)
    if level.sampler.start_noise:
        noise.normal_(start, "start", 0).mul_(level.sampler.start_noise)
    if centre is not None:
        start.add_(centre)
    if coarse is not None:
        for top in range(0, shape[-2], BAND):
            bottom = min(shape[-2], top + BAND)
            start[..., top:bottom, :].add_(coarse.rows(top, bottom))
        return ChainState(start)
    return ChainState(start.contiguous(memory_format=torch.channels_last))


def run_level(
    level: LevelModel,
    state: ChainState,
    noise: NoiseSource,
    centre: Tensor | None,
    dtype: torch.dtype,
) -> Iterator[ChainState]:
    """Drive chains through one level's segments, yielding every few steps."""
    shape = tuple(state.images.shape)
    basis: AnyBasis | None = None
    depth = 0
    for weights, steps, hot in level.segments():
        if basis is None or depth != len(weights):
            depth = len(weights)
            net = level.net.head(depth)
            basis = make_basis(net, shape, level.boundary, dtype, state.images.device)  # type: ignore[arg-type]
        basis.load(_on(weights, state.images.device))
        params = level.langevin if hot else level.langevin.cooled(0.0)
        done = 0
        while done < steps:
            chunk = min(_CHUNK, steps - done)
            state, _ = run_langevin(
                state, basis, params, chunk, noise, centre, done=done, total=steps
            )
            done += chunk
            yield state


def windowed_level(
    level: LevelModel,
    state: ChainState,
    noise: NoiseSource,
    coarse: Coarse | None,
    dtype: torch.dtype,
    window: int,
) -> Iterator[ChainState]:
    """`run_level` for canvases too large for their feature maps; moves the chains in place."""
    for weights, steps, hot in level.segments():
        net, device = level.net.head(len(weights)), state.images.device
        side = max(1, window // 2) * net.total_stride
        field = WindowedField(net, _on(weights, device), level.boundary, dtype, device, side)
        params = level.langevin if hot else level.langevin.cooled(0.0)
        for done in range(steps):
            state = run_windowed(state, field, params, 1, noise, coarse, done=done, total=steps)
            yield state


def synthesize(
    model: Model,
    size: tuple[int, int],
    chains: Sequence[int],
    seed: int,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    temperature: float = 1.0,
    start: Tensor | None = None,
    below: Below | None = None,
    window: int | None = None,
) -> Iterator[SynthesisInfo]:
    """Sample images of ``size`` (H, W), one per chain number; the last yield holds the result.

    Chain k of a seed is the same whatever other chains run beside it. The canvas is a torus where
    the model was learned on one. ``start`` (N, C, h, w), centred grey levels at the coarsest
    level, replaces the start from the reference; ``below`` are samples of a level that comes before
    the model's first. Levels higher and wider than ``window`` units of
    their top layer are computed in windows of half that side, which bounds the memory and changes
    nothing but rounding.

    Raises:
        ValueError: a size that is no multiple of ``model.multiple`` on a torus, or too small; or
            candidates at a level that does not know what to choose by.
    """
    if any(n % model.multiple for n in size) and model.levels[0].boundary == "torus":
        raise ValueError(f"sides of {size} are not multiples of {model.multiple}")
    counts = [draws(lv.likeness, lv.sampler.candidates, _size(lv, size)) for lv in model.levels]
    pairs = zip(model.levels, counts, strict=True)
    total = sum(level.total_steps() * count for level, count in pairs)
    images, scale = below or (None, 1.0)
    done, mean = 0, model.mean.to(device)
    for index, cold in enumerate(model.levels):
        level = _heated(cold, temperature)
        shape = (len(chains), model.channels, *_size(level, size))
        coarse = None
        if images is not None:
            coarse = Coarse(images, round(level.scale / scale), level.centre_gain)
        scale = level.scale
        count = counts[index]
        best = _Best(level.likeness) if count > 1 and level.likeness is not None else None
        images = None
        for number in range(count):
            key = ("level", index, number) if number else ("level", index)
            noise = NoiseSource(derive_seed(seed, *key), chains, device)
            begun = None
            if start is not None and index == 0:
                begun = start.to(device, copy=True)
            course = _course(level, shape, noise, coarse, dtype, begun, window)
            for state in course:
                images = state.images
                yield SynthesisInfo(index, done + state.step, total, images, mean, number, count)
            done += level.total_steps()
            if best is not None and images is not None:
                best.meet(number, images)
        if best is not None and best.images is not None:
            images = best.images
            yield SynthesisInfo(index, done, total, images, mean, count - 1, count, best.number)


def _size(level: LevelModel, size: tuple[int, int]) -> tuple[int, int]:
    """A full-size canvas (H, W) at a level's scale."""
    return round(size[0] * level.scale), round(size[1] * level.scale)


class _Best:
    """The nearest candidate of every chain so far."""

    def __init__(self, likeness: Likeness) -> None:
        self.likeness = likeness
        self.images: Tensor | None = None
        self.number = self.distance = torch.zeros(0)

    def meet(self, number: int, images: Tensor) -> None:
        """Compare candidate ``number`` (N, C, H, W) of every chain with what is held."""
        distance = unlikeness(self.likeness, images)
        if self.images is None:
            self.images, self.distance = images, distance
            self.number = torch.zeros(len(images), dtype=torch.long, device=images.device)
            return
        nearer = (distance < self.distance) | self.distance.isnan()
        self.images = torch.where(nearer.view(-1, 1, 1, 1), images, self.images)
        self.distance = torch.where(nearer, distance, self.distance)
        self.number = self.number.masked_fill(nearer, number)


def _course(
    level: LevelModel,
    shape: tuple[int, int, int, int],
    noise: NoiseSource,
    coarse: Coarse | None,
    dtype: torch.dtype,
    begun: Tensor | None,
    window: int | None,
) -> Iterator[ChainState]:
    """One level's chains from their start on, whole or window by window."""
    device = noise.device
    if window is not None and _splits(level, shape, window):
        if begun is None:
            begun = fresh_chains(level, shape, noise, None, device, coarse).images
        state = ChainState(begun.contiguous())
        windowed = windowed_level(level, state, noise, coarse, dtype, window)
        return _matched(level, windowed, noise, dtype, in_place=True)
    centre = None if coarse is None else coarse.rows(0, shape[-2])
    if begun is None:
        begun = fresh_chains(level, shape, noise, centre, device).images
    state = ChainState(begun.contiguous(memory_format=torch.channels_last))
    return _matched(level, run_level(level, state, noise, centre, dtype), noise, dtype)


def _matched(
    level: LevelModel,
    course: Iterator[ChainState],
    noise: NoiseSource,
    dtype: torch.dtype,
    in_place: bool = False,
) -> Iterator[ChainState]:
    """A level's course, and its matching path after it, which may move the images in place."""
    state: ChainState | None = None
    for state in course:
        yield state
    if state is None:
        return
    if level.matching:
        begun = begin_path(state.images, level.matching_noise, noise)
        state = ChainState(begun, state.step)
    for number, stage in enumerate(level.matching, 1):
        here = stage.to(state.images.device)
        move = push_ if in_place else push
        state = ChainState(move(here, state.images, dtype), state.step + 1)
        if number % _CHUNK == 0 or number == len(level.matching):
            yield state


def _splits(level: LevelModel, shape: tuple[int, int, int, int], window: int) -> bool:
    """Whether a canvas is worth cutting, and can be: bands must hold the field's reach."""
    fits = level.net.receptive_field - 1 + level.net.total_stride <= BAND
    shifted = level.langevin.dither > 1 and level.boundary == "bounded"
    return fits and not shifted and min(shape[-2:]) > window * level.net.total_stride


def final_images(progress: Iterator[SynthesisInfo]) -> Tensor:
    """Exhaust `synthesize` and return its images (N, C, H, W)."""
    images: Tensor | None = None
    for info in progress:
        images = info.images
    if images is None:
        raise ValueError("the model takes no sampling steps")
    return images


def without_path(level: LevelModel, steps: int) -> LevelModel:
    """The same level sampled with ``steps`` steps under its final weights alone."""
    return replace(level, path=(), sampler=replace(level.sampler, steps=steps))


def _heated(level: LevelModel, temperature: float) -> LevelModel:
    heat = level.langevin.temperature * temperature
    return replace(level, langevin=level.langevin.cooled(heat))


def _on(weights: Weights, device: torch.device) -> Weights:
    return tuple(
        layer._replace(w=layer.w.to(device).float(), b=layer.b.to(device).float())
        for layer in weights
    )
