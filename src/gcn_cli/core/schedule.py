"""The course of learning: levels from coarse to fine, layers grown one by one, updates repeated.

`learn` is a generator. It yields after every update what a caller may show, save or stop at, and a
state from which an equal call continues with equal numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gcn_cli.core.fused import FusedBasis
from gcn_cli.core.guard import GuardParams, StepInfo, fatal, symptom
from gcn_cli.core.langevin import ChainState, LangevinParams, run_langevin
from gcn_cli.core.learning import (
    AdamParams,
    Gradient,
    LearningParams,
    Moments,
    adam_step,
    average_weights,
    likelihood_gradient,
    rate_factor,
    restrain,
    sgd_step,
    torus_lead,
    wrap_image,
)
from gcn_cli.core.model import LevelModel, Model, SamplerParams
from gcn_cli.core.network import Boundary, ConvNet, Weights, initial_weights, map_weights
from gcn_cli.core.noise import NoiseSource, derive_seed, generator
from gcn_cli.core.pyramid import detail, enlarge_torus, shrink
from gcn_cli.core.synthesis import final_images, fresh_chains, synthesize
from gcn_cli.errors import DivergenceError

GLIMPSE = 2
"""Side of the observed window that an update sees, in canvases."""


@dataclass(frozen=True)
class StagePlan:
    """A run of updates of the first ``depth`` layers."""

    depth: int
    learning: LearningParams


@dataclass(frozen=True)
class LevelPlan:
    """Everything about one pyramid level; ``canvas`` (H, W) is the chains' size there."""

    net: ConvNet
    scale: float
    boundary: Boundary
    langevin: LangevinParams
    sampler: SamplerParams
    chains: int
    canvas: tuple[int, int]
    stages: tuple[StagePlan, ...]
    observed_copies: int = 1
    init_std: float | None = None
    top_gain: float = 1.0
    path_every: int = 0
    pool: int = 8


@dataclass(frozen=True)
class Plan:
    """The whole of learning."""

    levels: tuple[LevelPlan, ...]
    seed: int = 0
    guard: GuardParams = field(default_factory=GuardParams)

    @property
    def total_updates(self) -> int:
        """Updates over all levels and stages."""
        return sum(s.learning.updates for level in self.levels for s in level.stages)


@dataclass(frozen=True)
class LearningState:
    """Where learning stands; plain tensors and numbers, safe to save."""

    level: int
    stage: int
    update: int  # updates done in this stage
    weights: Weights
    average: Weights
    moments: Moments
    chains: ChainState
    path: tuple[Weights, ...] = ()
    finished: tuple[LevelModel, ...] = ()
    rate_scale: float = 1.0
    rollbacks: int = 0
    strikes: int = 0

    def done(self, plan: Plan) -> int:
        """Updates done since the very beginning, rolled-back ones not counted."""
        before = sum(s.learning.updates for lv in plan.levels[: self.level] for s in lv.stages)
        stages = plan.levels[self.level].stages[: self.stage]
        return before + sum(s.learning.updates for s in stages) + self.update

    def complete(self, plan: Plan) -> bool:
        """Whether nothing is left to learn."""
        stages = plan.levels[-1].stages
        last = self.level == len(plan.levels) - 1 and self.stage == len(stages) - 1
        return last and bool(self.weights) and self.update >= stages[-1].learning.updates


@dataclass(frozen=True)
class Machine:
    """Where and how exactly to compute."""

    device: torch.device
    dtype: torch.dtype = torch.float32


class _Level:
    """One level at work: constant tensors and buffers, rebuilt alike after a resume."""

    def __init__(
        self,
        plan: Plan,
        index: int,
        observed: Tensor,
        mean: Tensor,
        finished: tuple[LevelModel, ...],
        machine: Machine,
    ) -> None:
        self.index, self.machine = index, machine
        self.plan = plan.levels[index]
        self.seed = derive_seed(plan.seed, "learn", index)
        self.observed = shrink(
            observed.to(machine.device) - mean.to(machine.device), self.plan.scale
        )
        self.spread_data = float(self.observed.std())
        self.noise = NoiseSource(self.seed, range(self.plan.chains), machine.device)
        self.pool = self._coarse_pool(finished, mean)
        self._factor = round(self.plan.scale / finished[-1].scale) if finished else 1
        self._contrast = detail(self.observed, self._factor).std()
        self._most = self.spread_data
        if self.pool is not None:
            self._most = max(self.spread_data, float(self.pool.std()))
        self._basis: FusedBasis | None = None

    def _coarse_pool(self, finished: tuple[LevelModel, ...], mean: Tensor) -> Tensor | None:
        """Fresh samples of the coarser levels, enlarged: the centres that chains draw from."""
        if not finished:
            return None
        coarse = Model(finished, torch.zeros_like(mean))
        size = tuple(round(n / self.plan.scale) for n in self.plan.canvas)
        images = final_images(
            synthesize(
                coarse,
                (size[0], size[1]),
                range(self.plan.pool),
                derive_seed(self.seed, "pool"),
                device=self.machine.device,
                dtype=self.machine.dtype,
            )
        )
        return enlarge_torus(images, round(self.plan.scale / finished[-1].scale))

    def start_weights(self, depth: int) -> Weights:
        """Initial weights of a net of ``depth`` layers."""
        weights = initial_weights(
            self.plan.net.head(depth),
            generator(self.seed, "weights", depth),
            sigma=self.plan.langevin.sigma,
            std=self.plan.init_std,
            top_gain=self.plan.top_gain,
        )
        return map_weights(lambda t: t.to(self.machine.device), weights)

    def centres(self, step: int, rolled: bool) -> Tensor | None:
        """Centres for all chains, from the pool; chosen and shifted anew if ``rolled``."""
        if self.pool is None:
            return None
        n, count = self.plan.chains, self.pool.shape[0]
        if not rolled:
            return self.pool[torch.arange(n, device=self.pool.device) % count]
        pick = self.noise.integers("centre", step, [count] * n)
        shift = self.noise.integers("shift", step, self.pool.shape[-2:])
        return torch.roll(self.pool[pick], shift, (-2, -1))

    def start_chains(self, kind: str, state_step: int) -> ChainState:
        """Chains at their start; ``state_step`` keeps the noise of later steps fresh."""
        if kind == "data":
            images = self.observed.repeat(-(-self.plan.chains // len(self.observed)), 1, 1, 1)
            images = images[: self.plan.chains]
        else:
            shape = (self.plan.chains, self.observed.shape[1], *self.plan.canvas)
            level = LevelModel(
                self.plan.net, (), self.plan.langevin, self.plan.sampler, self.plan.boundary
            )
            source = NoiseSource(
                derive_seed(self.seed, "start", state_step), self.noise.chains, self.machine.device
            )
            centre = self.centres(state_step, rolled=kind == "restart")
            images = fresh_chains(level, shape, source, centre, self.machine.device).images
        return ChainState(images.contiguous(memory_format=torch.channels_last), state_step)

    def basis(self, weights: Weights, shape: torch.Size) -> FusedBasis:
        """The fused basis of these weights, its buffers reused while the depth stays."""
        net = self.plan.net.head(len(weights))
        if self._basis is None or self._basis.net != net:
            n, c, h, w = shape
            self._basis = FusedBasis(
                net, (n, c, h, w), self.plan.boundary, self.machine.dtype, self.machine.device
            )
        return self._basis.load(weights)

    def gradient(self, weights: Weights, chains: ChainState, noise_sd: float) -> Gradient:
        """The likelihood gradient between the observed images and the chains."""
        net = self.plan.net.head(len(weights))
        observed = self._glimpse(chains.step).repeat(self.plan.observed_copies, 1, 1, 1)
        if noise_sd:
            source = NoiseSource(self.seed, range(len(observed)), self.machine.device)
            z = torch.empty_like(observed, memory_format=torch.contiguous_format)
            observed = observed.add(source.normal_(z, "data", chains.step), alpha=noise_sd)
        if self.plan.boundary == "bounded":
            return likelihood_gradient(
                net, weights, observed, chains.images, "bounded", self.machine.dtype
            )
        return likelihood_gradient(
            net,
            weights,
            self._phased(net, observed, chains.step),
            self._unrolled(net, chains),
            "valid",
            self.machine.dtype,
        )

    def _glimpse(self, step: int) -> Tensor:
        """The observed images or, of ones far larger than the canvas, a random window.

        It bounds the cost of an update: a photograph of 12 megapixels costs no more than a
        texture of twice the canvas' side.
        """
        if self.plan.boundary == "bounded":
            return self.observed
        sides = self.observed.shape[-2:]
        size = [min(n, GLIMPSE * side) for n, side in zip(sides, self.plan.canvas, strict=True)]
        spare = [n - side + 1 for n, side in zip(sides, size, strict=True)]
        y, x = self.noise.integers("glimpse", step, spare)
        return self.observed[..., y : y + size[0], x : x + size[1]]

    def _phased(self, net: ConvNet, observed: Tensor, step: int) -> Tensor:
        """The observed images from a random phase of the stride on."""
        spare = [n - net.receptive_field + 1 for n in observed.shape[-2:]]
        bounds = [min(net.total_stride, n) for n in spare]
        dy, dx = self.noise.integers("phase", step, bounds)
        return observed[..., dy:, dx:]

    def _unrolled(self, net: ConvNet, chains: ChainState) -> Tensor:
        """The torus of the chains, so that its valid windows are those that drive the dynamics."""
        dither = self.plan.langevin.dither
        dy, dx = self.noise.integers("phase/chains", chains.step, (dither, dither))
        lead = torus_lead(net)
        rolled = torch.roll(chains.images, (lead + dy, lead + dx), (-2, -1))
        return wrap_image(rolled, net.receptive_field - 1)

    def contrast(self, chains: ChainState) -> Tensor:
        """Contrast of the chains over that of the data; a scalar.

        The greater of two: of what this level adds to the coarser one, and of the whole images,
        which may keep the coarser samples' own excess: this level is not to answer for that.
        """
        whole = chains.images.std() / self._most
        added = detail(chains.images, self._factor).std() / self._contrast
        return torch.maximum(whole, added)

    def positions(self, depth: int) -> list[int]:
        """Units per filter and layer on the observed images."""
        net = self.plan.net.head(depth)
        boundary: Boundary = "bounded" if self.plan.boundary == "bounded" else "valid"
        h, w = self.observed.shape[-2:]
        return [a * b for a, b in net.map_sizes((h, w), boundary)[1:]]


def begin() -> LearningState:
    """The state before the first update."""
    return LearningState(0, 0, 0, (), (), Moments(), ChainState(torch.zeros(0)))


def _enter_stage(level: _Level, stage: int, state: LearningState) -> LearningState:
    """The state before the first update of a stage; layers learned so far are kept."""
    plan = level.plan.stages[stage]
    weights = (*state.weights, *level.start_weights(plan.depth)[len(state.weights) :])
    chains = level.start_chains(plan.learning.chains, state.chains.step if stage else 0)
    return LearningState(
        level=level.index,
        stage=stage,
        update=0,
        weights=weights,
        average=weights,
        moments=Moments(),
        chains=chains,
        path=state.path,
        finished=state.finished,
    )


def learn(
    plan: Plan, observed: Tensor, mean: Tensor, state: LearningState, machine: Machine
) -> Iterator[tuple[LearningState, StepInfo]]:
    """Learn from images (N, C, H, W) in grey levels, their ``mean`` (C, 1, 1) to be subtracted.

    Yields (state, info) after every update until the plan is fulfilled.

    Raises:
        DivergenceError: after ``plan.guard.retries`` rollbacks in one stage did not help.
    """
    while not state.complete(plan):
        level = _Level(plan, state.level, observed, mean, state.finished, machine)
        if not state.weights:
            state = _enter_stage(level, 0, state)
        good = state
        while state.level == level.index and not state.complete(plan):
            stage = level.plan.stages[state.stage]
            new, info = _update(level, stage, state)
            state, good, info = _watch(plan, level, state, new, good, info)
            if state.update >= stage.learning.updates:
                state = good = _advance(plan, level, state)
            yield state, info


def _update(
    level: _Level, stage: StagePlan, state: LearningState
) -> tuple[LearningState, StepInfo]:
    """Langevin steps, then one step of the weights."""
    params, plan = stage.learning, level.plan
    chains = state.chains
    if params.chains != "persistent":
        chains = level.start_chains(params.chains, chains.step)
    centre = level.centres(chains.step, rolled=params.chains == "restart")
    basis = level.basis(state.weights, chains.images.shape)
    chains, seen = run_langevin(chains, basis, plan.langevin, params.steps, level.noise, centre)
    grad = level.gradient(state.weights, chains, params.data_noise)
    rate = params.optimiser.rate * rate_factor(params, state.update) * state.rate_scale
    moments = state.moments
    if isinstance(params.optimiser, AdamParams):
        weights, moments = adam_step(
            state.weights, grad.weights, moments, params.optimiser, rate, plan.langevin.sigma
        )
    else:
        positions = level.positions(len(state.weights))
        weights = sgd_step(state.weights, grad.weights, positions, params.optimiser, rate)
    if params.restraint:
        weights = restrain(weights, level.contrast(chains), params.restraint)
    average = weights
    if params.averaging:
        average = average_weights(state.average, weights, params.averaging, state.update)
    path = state.path
    if plan.path_every and state.update % plan.path_every == 0:
        path = (*path, map_weights(lambda t: t.to(torch.bfloat16), state.weights))
    new = replace(
        state,
        update=state.update + 1,
        weights=weights,
        average=average,
        moments=moments,
        chains=chains,
        path=path,
    )
    return new, _measure(level, stage, state, grad, seen.basis, chains, rate)


def _measure(
    level: _Level,
    stage: StagePlan,
    state: LearningState,
    grad: Gradient,
    basis: Tensor,
    chains: ChainState,
    rate: float,
) -> StepInfo:
    """All figures of an update in one transfer from the device."""
    figures = torch.stack(
        [grad.observed, grad.synthesized, basis.std(), chains.images.std(), *grad.active]
    )
    f_obs, f_syn, spread_b, spread_c, *active = figures.tolist()
    return StepInfo(
        level=level.index,
        stage=state.stage,
        update=state.update,
        updates=stage.learning.updates,
        f_observed=f_obs,
        f_synthesized=f_syn,
        spread_basis=level.plan.langevin.sigma**2 * spread_b,
        spread_chains=spread_c,
        spread_data=level.spread_data,
        active=tuple(active),
        rate=rate,
    )


def _watch(
    plan: Plan,
    level: _Level,
    old: LearningState,
    new: LearningState,
    good: LearningState,
    info: StepInfo,
) -> tuple[LearningState, LearningState, StepInfo]:
    """Roll back to the last good state, at a lower rate, once the guard's patience is spent."""
    guard = plan.guard
    plan_here = level.plan
    phrase = symptom(info, plan_here.langevin.sigma, guard, plan_here.net.channels)
    if phrase is None:
        # The figures speak of the weights before this update's step: those are known to be good.
        proven = replace(old, strikes=0)
        return replace(new, strikes=0), proven if old.update % guard.check == 0 else good, info
    strikes = old.strikes + 1
    if strikes < guard.patience and not fatal(phrase):
        return replace(new, strikes=strikes), good, info
    if good.rollbacks >= guard.retries:
        raise DivergenceError(
            f"learning diverged at update {info.update + 1} of level {info.level + 1}: {phrase}; "
            f"{guard.retries} returns to a good state at ever lower rates did not help"
        )
    scale = good.rate_scale * guard.cut
    back = replace(good, rate_scale=scale, rollbacks=good.rollbacks + 1, strikes=0)
    event = f"{phrase}; back to update {back.update} at {scale:g} of the rate"
    return back, back, replace(info, event=event)


def _advance(plan: Plan, level: _Level, state: LearningState) -> LearningState:
    """The state at the start of the next stage or, still empty, of the next level.

    The last level's end is kept as it is, so that a longer plan can go on from there.
    """
    if state.complete(plan):
        return state
    if state.stage + 1 < len(level.plan.stages):
        return _enter_stage(level, state.stage + 1, state)
    finished = (*state.finished, level_model(level.plan, state))
    return replace(begin(), level=state.level + 1, finished=finished)


def level_model(plan: LevelPlan, state: LearningState) -> LevelModel:
    """The level in ``state``, finished or not, as it would be sampled now."""
    return LevelModel(
        net=plan.net.head(len(state.average)),
        weights=state.average,
        langevin=plan.langevin,
        sampler=plan.sampler,
        boundary=plan.boundary,
        scale=plan.scale,
        path=state.path,
    )


def current_model(plan: Plan, state: LearningState, mean: Tensor) -> Model:
    """All levels learned so far, the unfinished one included."""
    if not state.weights:
        return Model(state.finished, mean)
    return Model((*state.finished, level_model(plan.levels[state.level], state)), mean)
