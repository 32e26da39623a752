"""The course of learning: sizes from coarse to fine, at each reconstruction, then likelihood.

`learn` is a generator. It yields what a caller may show, save or stop at, and a state from which an
equal call continues with equal numbers. Everything random is keyed by (seed, purpose, size,
update), so that nothing but the state needs to be kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from gcn_cli.engine import Engine, Machine, NoiseSource, open_engine
from gcn_cli.errors import DivergenceError
from gcn_cli.field.network import Weights, initial_weights
from gcn_cli.field.noise import derive_seed, generator
from gcn_cli.field.optimise import Moments, adam, averaged, clipped, flatten, muon, unflatten
from gcn_cli.texture.denoise import OneField
from gcn_cli.texture.draw import (
    Model,
    SizeModel,
    Step,
    chain,
    fresh,
    given_below,
    start,
)
from gcn_cli.texture.exemplar import Exemplar
from gcn_cli.texture.plan import Plan

Act = Literal["reconstruction", "likelihood"]
ACTS: tuple[Act, Act] = ("reconstruction", "likelihood")

BLOCK = 25
"""Updates of reconstruction between two yields: the device is asked for a figure no more often."""
_POOL = 8  # coarser samples that a finer size's chains start from
_BETAS = {"reconstruction": (0.9, 0.99), "likelihood": (0.8, 0.99)}
_DECAY = {"reconstruction": 0.995, "likelihood": 0.95}  # of the running mean of the weights
_WARMUP = {"reconstruction": 30, "likelihood": 5}
_LAST = {"reconstruction": 0.01, "likelihood": 0.05}  # of the rate, after half a cosine
_MOST_STEEP = 1.0  # length of a gradient


@dataclass(frozen=True)
class State:
    """Where learning stands: ``size`` and ``act`` at work, ``update`` done there; vectors (n,)."""

    size: int
    act: Act
    update: int
    weights: Tensor
    average: Tensor
    moments: Moments
    finished: tuple[Tensor, ...] = ()
    rate_scale: float = 1.0
    rollbacks: int = 0
    strikes: int = 0

    def done(self, plan: Plan) -> int:
        """Updates done since the very beginning."""
        before = sum(sum(size.updates) for size in plan.sizes[: self.size])
        return (
            before + (plan.sizes[self.size].updates[0] if self.act == ACTS[1] else 0) + self.update
        )

    def complete(self, plan: Plan) -> bool:
        """Whether nothing is left to learn."""
        return self.done(plan) >= plan.total_updates

    def models(self) -> tuple[Tensor, ...]:
        """Averaged weights of the sizes so far, the one at work included."""
        return (*self.finished, self.average)


@dataclass(frozen=True)
class Info:
    """What the latest updates saw.

    ``loss`` of reconstruction (1: nothing explained), or ``gap`` of the likelihood, nats per pixel,
    and ``spread``, the chains' standard deviation over the data's. ``rate`` is the share of the
    full rate that the next update takes.
    """

    size: int
    act: Act
    update: int
    updates: int
    rate: float
    loss: float | None = None
    gap: float | None = None
    spread: float | None = None
    event: str | None = None

    def symptom(self) -> str | None:
        """One phrase for what is wrong, or None."""
        figures = [x for x in (self.loss, self.gap, self.spread) if x is not None]
        if not all(math.isfinite(x) for x in figures):
            return "a value is not finite"
        if self.loss is not None and self.loss > _WORST_LOSS:
            return f"the loss of reconstruction rose to {self.loss:.3g}"
        if self.spread is not None and not 1 / _WORST_SPREAD < self.spread < _WORST_SPREAD:
            return f"the chains spread {self.spread:.3g} times as wide as the data"
        return None


_WORST_LOSS, _WORST_SPREAD = 2.0, 3.0
_PATIENCE, _KEEP_EVERY, _RETRIES, _CUT = 3, 10, 5, 0.5


def begin(plan: Plan, device: torch.device) -> State:
    """The state before the first update."""
    start = initial_weights(plan.net, generator(plan.seed, "weights"))
    return _enter(plan, 0, "reconstruction", flatten(start.tensors()).to(device), ())


def model_of(plan: Plan, state: State, mean: Tensor, contrast: float) -> Model:
    """What has been learned so far, the size at work included; see `Model` for the units."""
    like = initial_weights(plan.net, generator(0, "shapes"))
    sizes = tuple(
        SizeModel(size.reduction, size.levels, unflatten(vector, like))
        for size, vector in zip(plan.sizes, state.models(), strict=False)
    )
    place = plan.sides if plan.recipe.place else None
    recipe = plan.recipe
    langevin = recipe.sampler.langevin
    return Model(plan.net, sizes, mean, contrast, recipe.noise.given, place, langevin)


def _enter(plan: Plan, size: int, act: Act, vector: Tensor, finished: tuple[Tensor, ...]) -> State:
    return State(size, act, 0, vector, vector, Moments.zero(vector), finished)


def learn(
    plan: Plan, observed: Tensor, state: State, machine: Machine, known: Tensor | None = None
) -> Iterator[tuple[State, Info]]:
    """Learn from images (N, C, H, W) in units of contrast, of which ``known`` (N, 1, H, W) counts.

    Yields (state, info) every `BLOCK` updates of reconstruction and after every one of likelihood.

    Raises:
        DivergenceError: rolling back and lowering the rate did not help.
    """
    observed = observed.to(machine.device)
    while not state.complete(plan):
        work = _Work(plan, state, observed, machine, known)
        good, kept = state, 0
        while state.update < work.updates:
            state, info = work.advance(state)
            info = machine.ranks.agreed(info)
            phrase = info.symptom()
            state = replace(state, strikes=state.strikes + 1 if phrase else 0)
            if phrase and (state.strikes >= _PATIENCE or "finite" in phrase):
                state, info = _roll_back(good, state, info, phrase)
            elif not phrase:
                kept += 1
                if kept % _KEEP_EVERY == 0:
                    good = state
            yield _next_act(plan, state), info
        state = _next_act(plan, state)


def _next_act(plan: Plan, state: State) -> State:
    """The state, moved on where its act has had its updates."""
    size = plan.sizes[state.size]
    acts = dict(zip(ACTS, size.updates, strict=True))
    if state.update < acts[state.act]:
        return state
    if state.act == ACTS[0] and acts[ACTS[1]]:
        return _enter(plan, state.size, ACTS[1], state.average, state.finished)
    if state.size + 1 < len(plan.sizes):
        return _enter(plan, state.size + 1, ACTS[0], state.average, state.models())
    return state


def _roll_back(good: State, bad: State, info: Info, phrase: str) -> tuple[State, Info]:
    where = f"size 1/{info.size}, {info.act}, update {info.update}"
    if bad.rollbacks >= _RETRIES:
        raise DivergenceError(f"learning diverged at {where}: {phrase}")
    scale = bad.rate_scale * _CUT
    event = f"{where}: {phrase}; back to update {good.update}, rate times {scale:g}"
    back = replace(good, rate_scale=scale, rollbacks=bad.rollbacks + 1, strikes=0)
    return back, replace(info, event=event)


class _Work:
    """One act at one size: constant tensors, rebuilt alike after a resume."""

    def __init__(
        self, plan: Plan, state: State, observed: Tensor, machine: Machine, known: Tensor | None
    ) -> None:
        self.machine, self.ranks = machine, machine.ranks
        self.plan, self.size, self.act = plan, plan.sizes[state.size], state.act
        self.updates = self.size.updates[ACTS.index(state.act)]
        self.index = state.size
        self.engine: Engine = open_engine(plan.net, machine.device, machine.dtype)
        self.like: Weights = initial_weights(plan.net, generator(0, "shapes"))
        mirrored = self.act == "reconstruction"
        self.exemplar = Exemplar(plan, self.index, observed, machine.device, mirrored, known)
        self.rates = self._rates()  # of likelihood
        self.pool = self._pool(state) if self.act == "likelihood" and self.index else None

    def advance(self, state: State) -> tuple[State, Info]:
        """One yield's worth of updates."""
        step = self._reconstruct if self.act == "reconstruction" else self._climb
        return step(state)

    def _rates(self) -> Tensor:
        given = self.plan.recipe.likelihood
        rates = [torch.full_like(t, given.rate) for t in self.like.tensors()]
        first = len(self.like.filters) + len(self.like.mixers)
        for k in range(first, first + len(self.like.votes)):
            rates[k].fill_(given.vote_rate)
        return flatten(rates).to(self.machine.device)

    def _factor(self, state: State) -> float:
        """Share of the full rate at this update: a linear start, then half a cosine."""
        warm = min(1.0, (state.update + 1) / _WARMUP[self.act])
        fall = 0.5 * (1 + math.cos(math.pi * state.update / self.updates))
        last = _LAST[self.act]
        return warm * (last + (1 - last) * fall) * state.rate_scale

    def _moved(self, state: State, gradient: Tensor) -> State:
        """The state after one descent."""
        flat = clipped(gradient, _MOST_STEEP)
        betas, factor = _BETAS[self.act], self._factor(state)
        if self.act == "reconstruction":
            rate = self.plan.recipe.reconstruction.rate * factor
            vector, moments = muon(state.weights, flat, state.moments, self.like, rate, *betas)
        else:
            rates = self.rates * factor
            vector, moments = adam(state.weights, flat, state.moments, rates, *betas)
        count = state.update + 1
        average = averaged(state.average, vector, _DECAY[self.act], count)
        return replace(state, update=count, weights=vector, average=average, moments=moments)

    def _reconstruct(self, state: State) -> tuple[State, Info]:
        losses = []
        for _ in range(min(BLOCK, self.updates - state.update)):
            weights = unflatten(state.weights, self.like)
            margin = self.plan.recipe.reconstruction.margin
            crops, share = self.exemplar.crops(state.update).part(self.ranks, margin)
            x, noise, s, given, counts = crops
            weighted = () if counts is None else (counts,)
            part, gradient = self.engine.reconstruction(
                x, noise, s, weights, margin, given, *weighted
            )
            loss, mean = self.ranks.mean(share, part, flatten(gradient))
            losses.append(loss)
            state = self._moved(state, mean)
        return state, self._info(state, loss=float(torch.stack(losses).mean()))

    def _pool(self, state: State) -> Tensor:
        """Fresh samples (N, C, h, w) of the coarser sizes, to start a finer size's chains from."""
        coarser = self._model(state.finished)
        side = self.size.canvas * self.size.reduction
        seed = derive_seed(self.plan.seed, "pool", self.index)
        mine = fresh(coarser, (side, side), self.ranks.part(range(_POOL)), seed, self.machine)
        return self.ranks.whole(mine, _POOL)

    def _model(self, vectors: tuple[Tensor, ...]) -> Model:
        unit = torch.zeros(self.plan.net.channels, 1, 1)
        state = State(
            0, "likelihood", 0, vectors[-1], vectors[-1], Moments.zero(vectors[-1]), vectors[:-1]
        )
        return model_of(self.plan, state, unit, 1.0)

    def _climb(self, state: State) -> tuple[State, Info]:
        given, levels = self.plan.recipe.likelihood, self.size.levels
        draw = generator(self.plan.seed, "likelihood", self.index, state.update)
        count = min(given.levels, len(levels) - 1)
        stops = set((torch.randperm(len(levels) - 1, generator=draw)[:count] + 1).tolist())
        weights = unflatten(state.weights, self.like)
        margin = self.plan.net.receptive_field // 2
        total, gaps, y = torch.zeros_like(state.weights), [], self.exemplar.pictures
        for step in self._chain(state, draw):
            if step.index in stops:
                observed, known, counts = self.exemplar.window(draw, state.update)
                z = self.exemplar.normal(observed.shape, "likelihood", state.update, step.index)
                pair = None
                if known is not None and step.given is not None:
                    pair = known, step.given
                s = torch.full((), step.s, device=z.device)
                weighted = () if counts is None else (counts,)
                gap, gradient = self.engine.likelihood(
                    observed + s * z, step.y, s, weights, margin, pair, *weighted
                )
                gaps.append(gap)
                total -= flatten(gradient)
            y = step.y
        share, mine = self.ranks.share(given.chains), torch.stack(gaps).mean()
        gap, mean = self.ranks.mean(share, mine, total / count)
        moved = self._moved(state, mean)
        told = float(self.ranks.whole(y, given.chains).std() / self.exemplar.spread)
        return moved, self._info(moved, gap=float(gap), spread=told)

    def _chain(self, state: State, draw: torch.Generator) -> Iterator[Step]:
        """The sampler's own path under the weights as they are."""
        given, side = self.plan.recipe.likelihood, self.size.canvas
        seed = derive_seed(self.plan.seed, "chains", self.index, state.update)
        mine = self.ranks.part(range(given.chains))
        noise = NoiseSource(seed, mine, self.machine.device)
        model = self._model((*state.finished, state.weights))
        below = None
        if self.pool is not None:
            rows = torch.randint(len(self.pool), (given.chains,), generator=draw)
            below = self.pool[self.ranks.part(rows).to(self.pool.device)]
        y = start(model, self.index, (len(mine), self.plan.net.channels, side, side), below, noise)
        sampler = OneField(self.engine.opened(model.sizes[-1].weights))
        known = None if below is None else given_below(model, self.index, below, noise)
        return chain(model, self.index, sampler, y, noise, window=side, coarser=known)

    def _info(
        self,
        state: State,
        loss: float | None = None,
        gap: float | None = None,
        spread: float | None = None,
    ) -> Info:
        reduction, factor = self.size.reduction, self._factor(state)
        return Info(reduction, self.act, state.update, self.updates, factor, loss, gap, spread)


__all__ = ["ACTS", "BLOCK", "Act", "Info", "State", "begin", "learn", "model_of"]
