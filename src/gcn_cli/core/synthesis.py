"""Fresh samples: chains that learning has never seen, of any size and number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from gcn_cli.core.course import Course
from gcn_cli.core.likeness import Likeness, draws, unlikeness
from gcn_cli.core.model import LevelModel, Model
from gcn_cli.core.noise import NoiseSource, derive_seed
from gcn_cli.core.windows import Coarse


@dataclass(frozen=True)
class SynthesisInfo:
    """Progress of a batch.

    ``step`` of ``steps`` over all levels are done; ``chains`` (N, C, h, w) are the chains' current
    state at level ``level``, in grey levels with ``mean`` (C, 1, 1) subtracted. On a windowed
    canvas the chains move in place: read them before asking for the next.

    Where a level has several candidates, they come one after the other, and after the last one
    ``chains`` holds the chosen ones, and ``chosen`` (N,) their numbers. What comes after that at
    the same level goes on from these.
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
    pairs = list(zip(model.levels, counts, strict=True))
    total = sum(lv.total_steps() * count + lv.redraw_steps(count) for lv, count in pairs)
    images, scale = below or (None, 1.0)
    done, mean = 0, model.mean.to(device)
    for index, (cold, count) in enumerate(pairs):
        level = _heated(cold, temperature)
        shape = (len(chains), model.channels, *_size(level, size))
        coarse = None
        if images is not None:
            coarse = Coarse(images, round(level.scale / scale), level.centre_gain)
        scale = level.scale
        course = Course(level, shape, coarse, dtype, window)
        best = _Best(level.likeness) if count > 1 and level.likeness is not None else None
        redraws = level.sampler.redraws > 0
        for number in range(count):
            key = ("level", index, number) if number else ("level", index)
            noise = NoiseSource(derive_seed(seed, *key), chains, device)
            begun = start.to(device, copy=True) if start is not None and index == 0 else None
            images = course.start(noise) if begun is None else begun
            for state in course.run(images, noise):
                images = state.images
                yield SynthesisInfo(index, done + state.step, total, images, mean, number, count)
            done += level.run_steps()
            if best is None and redraws:
                break  # the path comes after them
            drawn = images.clone() if redraws else images
            for state in course.match(images, noise):
                images = state.images
                yield SynthesisInfo(index, done + state.step, total, images, mean, number, count)
            done += len(level.matching)
            if best is not None:
                best.meet(number, images, drawn)
        if best is not None and best.images is not None:
            images = best.images
            yield SynthesisInfo(index, done, total, images, mean, count - 1, count, best.number)
        if redraws and images is not None:
            images = images if best is None else best.drawn
            noise = NoiseSource(derive_seed(seed, "level", index, "redraw"), chains, device)
            for state in course.redraw(images, noise):
                images = state.images
                yield SynthesisInfo(index, done + state.step, total, images, mean)
            done += level.sampler.redraws * level.sampler.steps
            for state in course.match(images, noise):
                images = state.images
                yield SynthesisInfo(index, done + state.step, total, images, mean)
            done += len(level.matching)


def _size(level: LevelModel, size: tuple[int, int]) -> tuple[int, int]:
    """A full-size canvas (H, W) at a level's scale."""
    return round(size[0] * level.scale), round(size[1] * level.scale)


class _Best:
    """The nearest candidate of every chain so far."""

    def __init__(self, likeness: Likeness) -> None:
        self.likeness = likeness
        self.images: Tensor | None = None
        self.number = self.distance = self.drawn = torch.zeros(0)

    def meet(self, number: int, images: Tensor, drawn: Tensor) -> None:
        """Compare candidate ``number`` (N, C, H, W) of every chain with what is held.

        ``drawn`` are the same before the matching path, kept beside them.
        """
        distance = unlikeness(self.likeness, images)
        if self.images is None:
            self.images, self.drawn, self.distance = images, drawn, distance
            self.number = torch.zeros(len(images), dtype=torch.long, device=images.device)
            return
        nearer = (distance < self.distance) | self.distance.isnan()
        self.images = torch.where(nearer.view(-1, 1, 1, 1), images, self.images)
        self.drawn = torch.where(nearer.view(-1, 1, 1, 1), drawn, self.drawn)
        self.distance = torch.where(nearer, distance, self.distance)
        self.number = self.number.masked_fill(nearer, number)


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
