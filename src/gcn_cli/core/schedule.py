"""The course of learning: levels from coarse to fine, layers grown one by one, updates repeated.

`learn` is a generator. It yields after every update what a caller may show, save or stop at, and a
state from which an equal call continues with equal numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gcn_cli.core.drafts import Drafts, KeptDrafts
from gcn_cli.core.guard import StepInfo, fatal, symptom
from gcn_cli.core.langevin import ChainState, run_langevin
from gcn_cli.core.learning import (
    AdamParams,
    Gradient,
    Moments,
    adam_step,
    average_weights,
    curb,
    rate_factor,
    restrain,
    sgd_step,
)
from gcn_cli.core.level import Level, LevelPlan, Machine, Plan, StagePlan
from gcn_cli.core.matching import MatchInfo, Stage
from gcn_cli.core.model import LevelModel, Model, informed
from gcn_cli.core.network import Weights, map_weights
from gcn_cli.errors import DivergenceError


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
    centre_gain: Tensor = field(default_factory=lambda: torch.ones(()))
    matching: tuple[Stage, ...] = ()
    matched: Tensor = field(default_factory=lambda: torch.zeros(0))
    """Chains (N, C, H, W) driven along the matching path; empty before it begins."""

    def done(self, plan: Plan) -> int:
        """Updates done since the very beginning, rolled-back ones not counted."""
        before = sum(level.updates for level in plan.levels[: self.level])
        stages = plan.levels[self.level].stages[: self.stage]
        here = sum(s.learning.updates for s in stages) + self.update
        return before + here + len(self.matching)

    def learned(self, level: LevelPlan) -> bool:
        """Whether the last stage at this level has had its updates; matching may be left."""
        last = self.stage == len(level.stages) - 1
        return last and bool(self.weights) and self.update >= level.stages[-1].learning.updates

    def complete(self, plan: Plan) -> bool:
        """Whether nothing is left to learn."""
        last = plan.levels[-1]
        if self.level < len(plan.levels) - 1 or not self.learned(last):
            return False
        return len(self.matching) >= last.matching_stages


def latest_chains(state: LearningState) -> Tensor:
    """The training chains (N, C, H, W) as they stand; no images between two levels."""
    return state.matched if state.matching else state.chains.images


def begin() -> LearningState:
    """The state before the first update."""
    return LearningState(0, 0, 0, (), (), Moments(), ChainState(torch.zeros(0)))


def _enter_stage(level: Level, stage: int, state: LearningState) -> LearningState:
    """The state before the first update of a stage; layers learned so far are kept."""
    plan = level.plan.stages[stage]
    weights = level.start_weights(plan.depth, state.weights)
    gain = torch.ones((), device=level.machine.device)
    chains = level.start_chains(plan.learning.chains, state.chains.step if stage else 0, gain)
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
        centre_gain=gain,
    )


def without_stale_path(plan: Plan, state: LearningState) -> LearningState:
    """The state without its matching path where ``plan`` has more updates to come before that."""
    if not state.matching or state.learned(plan.levels[state.level]):
        return state
    return replace(state, matching=(), matched=torch.zeros(0))


def learn(
    plan: Plan,
    observed: Tensor,
    mean: Tensor,
    state: LearningState,
    machine: Machine,
    kept: KeptDrafts | None = None,
) -> Iterator[tuple[LearningState, StepInfo | MatchInfo]]:
    """Learn from images (N, C, H, W) in grey levels, their ``mean`` (C, 1, 1) to be subtracted.

    ``kept`` saves drawing drafts again where an earlier call, of the same run, has drawn them.

    Yields (state, info) after every update and every stage of a matching path until the plan is
    fulfilled.

    Raises:
        DivergenceError: after ``plan.guard.retries`` rollbacks in one stage did not help.
    """
    state = without_stale_path(plan, state)
    drafts: Drafts | None = None
    while not state.complete(plan):
        if drafts is None and state.finished and plan.levels[0].drafts:
            first, count = state.finished[0], plan.levels[0].drafts
            where = machine.device, machine.dtype
            drafts = Drafts(first, observed - mean, count, plan.seed, *where, kept)
        level = Level(plan, state.level, observed, mean, state.finished, machine, drafts)
        if not state.weights:
            state = _enter_stage(level, 0, state)
        good = state
        while state.level == level.index and not state.complete(plan):
            info: StepInfo | MatchInfo
            if state.learned(level.plan):
                state, info = _match(level, state)
            else:
                stage = level.plan.stages[state.stage]
                new, info = _update(level, stage, state)
                state, good, info = _watch(plan, level, state, new, good, info)
            if state.update >= level.plan.stages[state.stage].learning.updates:
                state = good = _advance(plan, level, state)
            yield state, info


def _match(level: Level, state: LearningState) -> tuple[LearningState, MatchInfo]:
    """One stage of the matching path, begun with fresh samples of the level as it was learned."""
    chains = state.matched
    if not state.matching:
        chains = level.matching_chains(level_model(level.plan, state))
    stage, chains, info = level.match(len(state.matching), chains)
    return replace(state, matching=(*state.matching, stage), matched=chains), info


def _update(level: Level, stage: StagePlan, state: LearningState) -> tuple[LearningState, StepInfo]:
    """Langevin steps, then one step of the weights."""
    params, plan = stage.learning, level.plan
    chains, gain = state.chains, state.centre_gain
    if params.chains != "persistent":
        chains = level.start_chains(params.chains, chains.step, gain)
    centre = level.centres(chains.step, params.chains == "restart", gain)
    basis = level.basis(state.weights, chains.images.shape)
    chains, seen = run_langevin(chains, basis, plan.langevin, params.steps, level.noise, centre)
    grad = level.gradient(state.weights, chains, params.data_noise)
    pace = rate_factor(params, state.update)
    rate = params.optimiser.rate * pace * state.rate_scale
    moments = state.moments
    if isinstance(params.optimiser, AdamParams):
        weights, moments = adam_step(
            state.weights, grad.weights, moments, params.optimiser, rate, plan.langevin.sigma
        )
    else:
        positions = level.positions(len(state.weights))
        weights = sgd_step(state.weights, grad.weights, positions, params.optimiser, rate)
    if params.restraint:
        excess = level.contrast(chains) - 1 - params.tolerance
        if params.reach:
            beyond = level.reach(seen.basis) / params.reach - 1
            weights = curb(state.weights, weights, beyond)
            excess = excess.maximum(beyond)
        weights = restrain(weights, excess, params.restraint)
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
        centre_gain=level.recentred(gain, chains, params.recentre * pace),
    )
    return new, _measure(level, stage, state, grad, seen.basis, chains, rate)


def _measure(
    level: Level,
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
    level: Level,
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


def _advance(plan: Plan, level: Level, state: LearningState) -> LearningState:
    """The state at the start of the next stage or, still empty, of the next level.

    The last level's end is kept as it is, so that a longer plan can go on from there.
    """
    if state.stage + 1 < len(level.plan.stages):
        return _enter_stage(level, state.stage + 1, state)
    params = level.plan.stages[-1].learning
    tempers = params.restraint and params.chains == "restart" and level.pool is None
    if tempers and not state.matching:
        state = replace(state, average=level.tempered(state.average, params))
    if state.complete(plan) or len(state.matching) < level.plan.matching_stages:
        return state
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
        centre_gain=float(state.centre_gain),
        matching=state.matching,
        matching_noise=plan.matching.start_noise if plan.matching else 0.0,
    )


def current_model(plan: Plan, state: LearningState, observed: Tensor, mean: Tensor) -> Model:
    """All levels learned so far, the unfinished one included.

    ``observed`` (N, C, H, W) and ``mean`` (C, 1, 1) are what ``learn`` was given.
    """
    levels = state.finished
    if state.weights:
        levels = (*levels, level_model(plan.levels[state.level], state))
    centred = observed - mean
    return Model(tuple(informed(level, centred) for level in levels), mean)
