"""The course of fresh chains through one level: start, steps, redrawn places, matching path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from gcn_cli.core.device import AnyBasis, make_basis
from gcn_cli.core.langevin import ChainState, run_langevin
from gcn_cli.core.matching import begin_path, push, push_
from gcn_cli.core.model import LevelModel
from gcn_cli.core.network import Weights
from gcn_cli.core.noise import BAND, NoiseSource
from gcn_cli.core.redraw import faults
from gcn_cli.core.spot import spot_noise
from gcn_cli.core.windows import Coarse, WindowedField, run_windowed

_CHUNK = 10  # steps between two yields

Bases = dict[int, AnyBasis]
"""Buffers for one canvas, by the depth of the net."""

Mover = Callable[[ChainState, int, int, int, Tensor | None], ChainState]
"""Chains after some steps: (state, steps, steps done before, steps in all, mask)."""


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

    Raises:
        ValueError: the chains start with spot noise, and the level has no spot.
    """
    start = torch.zeros(shape, device=device)
    if level.sampler.start_noise:
        noise.normal_(start, "start", 0).mul_(level.sampler.start_noise)
    if level.sampler.start_spot:
        if level.spot is None:
            raise ValueError("chains start with spot noise, and there is no spot to make it from")
        grain = spot_noise(level.spot, torch.empty_like(start), noise)
        start.add_(grain, alpha=level.sampler.start_spot)
    if centre is not None:
        start.add_(centre)
    if coarse is not None:
        for top in range(0, shape[-2], BAND):
            bottom = min(shape[-2], top + BAND)
            start[..., top:bottom, :].add_(coarse.rows(top, bottom))
        return ChainState(start)
    return ChainState(start.contiguous(memory_format=torch.channels_last))


@dataclass(frozen=True)
class Course:
    """Chains of ``shape`` (N, C, H, W) at one level, whole or window by window.

    Window by window images are moved in place. All methods yield states whose steps are counted
    from their own first one.
    """

    level: LevelModel
    shape: tuple[int, int, int, int]
    coarse: Coarse | None
    dtype: torch.dtype
    window: int | None = None

    @property
    def in_windows(self) -> bool:
        """Whether the canvas is worth cutting, and can be: bands must hold the field's reach."""
        if self.window is None:
            return False
        net = self.level.net
        fits = net.receptive_field - 1 + net.total_stride <= BAND
        shifted = self.level.langevin.dither > 1 and self.level.boundary == "bounded"
        return fits and not shifted and min(self.shape[-2:]) > self.window * net.total_stride

    def start(self, noise: NoiseSource) -> Tensor:
        """Chains at their start."""
        if self.in_windows:
            coarse = self.coarse
            return fresh_chains(self.level, self.shape, noise, None, noise.device, coarse).images
        return fresh_chains(self.level, self.shape, noise, self._centre, noise.device).images

    def run(self, begun: Tensor, noise: NoiseSource) -> Iterator[ChainState]:
        """Langevin steps through all segments, from ``begun`` on, yielding every few steps."""
        state, bases = self._state(begun), Bases()
        most = 1 if self.in_windows else _CHUNK
        for weights, steps, hot in self.level.segments():
            mover = self._mover(weights, hot, noise, bases)
            done = 0
            while done < steps:
                chunk = min(most, steps - done)
                state = mover(state, chunk, done, steps, None)
                done += chunk
                yield state

    def redraw(self, images: Tensor, noise: NoiseSource) -> Iterator[ChainState]:
        """Rounds of drawing unlikely places anew, yielding after each; none are left undone.

        Raises:
            ValueError: the level has no gauge.
        """
        level, gauge = self.level, self.level.gauge
        if gauge is None:
            raise ValueError("places are to be drawn anew, and there is nothing to find them by")
        net, weights, sigma = level.net, _on(level.weights, noise.device), level.langevin.sigma
        rounds, steps, images = level.sampler.redraws, level.sampler.steps, images.contiguous()
        kept: dict[int, Bases] = {}  # by the number of chains
        for number in range(rounds):
            mask = faults(net, weights, sigma, gauge, images)
            if mask is None:
                yield ChainState(images, rounds * steps)
                return
            rows = mask.flatten(1).amax(1).nonzero().flatten()
            fresh, some = noise.only(rows.tolist()).derived("redraw", number), self._only(rows)
            mask, held = mask[rows], images[rows]
            begun = some._state(torch.lerp(held, some.start(fresh), mask))
            bases = kept.setdefault(len(rows), Bases())
            moved = some._mover(level.weights, True, fresh, bases)(begun, steps, 0, steps, mask)
            images = images.index_copy(0, rows, moved.images.contiguous())
            yield ChainState(images, (number + 1) * steps)

    def match(self, images: Tensor, noise: NoiseSource) -> Iterator[ChainState]:
        """The steps of the matching path, yielding every few."""
        level = self.level
        if level.matching:
            images = begin_path(images, level.matching_noise, noise)
        for number, stage in enumerate(level.matching, 1):
            here = stage.to(images.device)
            images = (push_ if self.in_windows else push)(here, images, self.dtype)
            if number % _CHUNK == 0 or number == len(level.matching):
                yield ChainState(images, number)

    def _only(self, rows: Tensor) -> Course:
        """The same for some of the chains; ``rows`` are their numbers in the batch."""
        coarse = self.coarse
        if coarse is not None:
            coarse = replace(coarse, images=coarse.images[rows])
        return replace(self, shape=(len(rows), *self.shape[1:]), coarse=coarse)

    def _state(self, images: Tensor) -> ChainState:
        if self.in_windows:
            return ChainState(images.contiguous())
        return ChainState(images.contiguous(memory_format=torch.channels_last))

    @cached_property
    def _centre(self) -> Tensor | None:
        return None if self.coarse is None else self.coarse.rows(0, self.shape[-2])

    def _mover(self, weights: Weights, hot: bool, noise: NoiseSource, bases: Bases) -> Mover:
        """What drives chains under one set of weights; ``bases`` keeps buffers by depth."""
        level = self.level
        here = _on(weights, noise.device)
        params = level.langevin if hot else level.langevin.cooled(0.0)
        net = level.net.head(len(weights))
        if not self.in_windows:
            if len(weights) not in bases:
                made = make_basis(net, self.shape, level.boundary, self.dtype, noise.device)
                bases[len(weights)] = made
            basis, centre = bases[len(weights)].load(here), self._centre

            def whole(
                state: ChainState, steps: int, done: int, total: int, mask: Tensor | None
            ) -> ChainState:
                moved, _ = run_langevin(
                    state, basis, params, steps, noise, centre, done=done, total=total, mask=mask
                )
                return moved

            return whole
        side = max(1, (self.window or 0) // 2) * net.total_stride
        field = WindowedField(net, here, level.boundary, self.dtype, noise.device, side)

        def windowed(
            state: ChainState, steps: int, done: int, total: int, mask: Tensor | None
        ) -> ChainState:
            return run_windowed(
                state, field, params, steps, noise, self.coarse, done=done, total=total, mask=mask
            )

        return windowed


def _on(weights: Weights, device: torch.device) -> Weights:
    return tuple(
        layer._replace(w=layer.w.to(device).float(), b=layer.b.to(device).float())
        for layer in weights
    )
