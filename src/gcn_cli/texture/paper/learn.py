"""The course of learning: layers grown one by one, updates repeated.

`learn` is a generator. It yields after every update what a caller may show, save or stop at, and a
state from which an equal call continues with equal numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gcn_cli.engine import Machine
from gcn_cli.errors import DivergenceError
from gcn_cli.field.ascent import AdamParams, Moments, adam_step, average_weights, sgd_step
from gcn_cli.field.convnet import Weights, map_weights
from gcn_cli.field.langevin import ChainState, run_langevin
from gcn_cli.field.likelihood import Gradient
from gcn_cli.texture.paper.field import Field
from gcn_cli.texture.paper.guard import StepInfo, fatal, symptom
from gcn_cli.texture.paper.model import Model
from gcn_cli.texture.paper.plan import Plan, StagePlan, rate_factor


@dataclass(frozen=True)
class LearningState:
    """Where learning stands; plain tensors and numbers, safe to save."""

    stage: int
    update: int  # updates done in this stage
    weights: Weights
    average: Weights
    moments: Moments
    chains: ChainState
    path: tuple[Weights, ...] = ()
    rate_scale: float = 1.0
    rollbacks: int = 0
    strikes: int = 0

    def done(self, plan: Plan) -> int:
        """Updates done since the very beginning, rolled-back ones not counted."""
        before = sum(stage.learning.updates for stage in plan.stages[: self.stage])
        return before + self.update

    def complete(self, plan: Plan) -> bool:
        """Whether nothing is left to learn."""
        last = self.stage == len(plan.stages) - 1
        return last and bool(self.weights) and self.update >= plan.stages[-1].learning.updates


def begin() -> LearningState:
    """The state before the first update."""
    return LearningState(0, 0, (), (), Moments(), ChainState(torch.zeros(0)))


def begun(plan: Plan, observed: Tensor, mean: Tensor, machine: Machine) -> LearningState:
    """`begin`, its weights and chains drawn: what can be saved before the first update."""
    return _enter_stage(Field(plan, observed, mean, machine), 0, begin())


def _enter_stage(field: Field, stage: int, state: LearningState) -> LearningState:
    """The state before the first update of a stage; layers learned so far are kept."""
    plan = field.plan.stages[stage]
    weights = field.start_weights(plan.depth, state.weights)
    chains = field.start_chains(plan.learning.chains, state.chains.step if stage else 0)
    return LearningState(
        stage=stage,
        update=0,
        weights=weights,
        average=weights,
        moments=Moments(),
        chains=chains,
        path=state.path,
    )


def learn(
    plan: Plan, observed: Tensor, mean: Tensor, state: LearningState, machine: Machine
) -> Iterator[tuple[LearningState, StepInfo]]:
    """Learn from images (N, C, H, W) in grey levels, their ``mean`` (C, 1, 1) to be subtracted.

    Yields (state, info) after every update until the plan is fulfilled.

    Raises:
        DivergenceError: after ``plan.guard.retries`` rollbacks in one stage did not help.
    """
    if state.complete(plan):
        return
    field = Field(plan, observed, mean, machine)
    if not state.weights:
        state = _enter_stage(field, 0, state)
    good = state
    while not state.complete(plan):
        new, info = _update(field, plan.stages[state.stage], state)
        info = machine.ranks.agreed(info)
        state, good, info = _watch(plan, state, new, good, info)
        if state.update >= plan.stages[state.stage].learning.updates:
            state = good = _advance(field, state)
        yield state, info


def _update(field: Field, stage: StagePlan, state: LearningState) -> tuple[LearningState, StepInfo]:
    """Langevin steps, then one step of the weights."""
    params, plan, chains = stage.learning, field.plan, state.chains
    if params.chains != "persistent":
        chains = field.start_chains(params.chains, chains.step)
    mine = field.part(chains)
    basis = field.basis(state.weights, mine.images.shape)
    mine, seen = run_langevin(mine, basis, plan.langevin, params.steps, field.noise)
    grad = field.gradient(state.weights, mine, params.data_noise * plan.langevin.sigma)
    chains = replace(mine, images=field.whole(mine.images))
    rate = params.optimiser.rate * rate_factor(params, state.update) * state.rate_scale
    moments = state.moments
    if isinstance(params.optimiser, AdamParams):
        weights, moments = adam_step(
            state.weights, grad.weights, moments, params.optimiser, rate, plan.langevin.sigma
        )
    else:
        positions = field.positions(len(state.weights))
        weights = sgd_step(state.weights, grad.weights, positions, params.optimiser, rate)
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
    return new, _measure(field, stage, state, grad, field.whole(seen.basis), chains, rate)


def _measure(
    field: Field,
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
        stage=state.stage,
        update=state.update,
        updates=stage.learning.updates,
        f_observed=f_obs,
        f_synthesized=f_syn,
        spread_basis=field.plan.langevin.sigma**2 * spread_b,
        spread_chains=spread_c,
        spread_data=field.spread_data,
        active=tuple(active),
        rate=rate,
    )


def _watch(
    plan: Plan,
    old: LearningState,
    new: LearningState,
    good: LearningState,
    info: StepInfo,
) -> tuple[LearningState, LearningState, StepInfo]:
    """Roll back to the last good state, at a lower rate, once the guard's patience is spent."""
    guard = plan.guard
    phrase = symptom(info, plan.langevin.sigma, guard, plan.net.channels)
    if phrase is None:
        # The figures speak of the weights before this update's step: those are known to be good.
        proven = replace(old, strikes=0)
        return replace(new, strikes=0), proven if old.update % guard.check == 0 else good, info
    strikes = old.strikes + 1
    if strikes < guard.patience and not fatal(phrase):
        return replace(new, strikes=strikes), good, info
    if not guard.enabled:
        raise DivergenceError(f"learning diverged at update {info.update + 1}: {phrase}")
    if good.rollbacks >= guard.retries:
        raise DivergenceError(
            f"learning diverged at update {info.update + 1}: {phrase}; "
            f"{guard.retries} returns to a good state at ever lower rates did not help"
        )
    scale = good.rate_scale * guard.cut
    back = replace(good, rate_scale=scale, rollbacks=good.rollbacks + 1, strikes=0)
    event = f"{phrase}; back to update {back.update} at {scale:g} of the rate"
    return back, back, replace(info, event=event)


def _advance(field: Field, state: LearningState) -> LearningState:
    """The state at the start of the next stage.

    The last stage's end is kept as it is, so that a longer plan can go on from there.
    """
    if state.stage + 1 < len(field.plan.stages):
        return _enter_stage(field, state.stage + 1, state)
    return state


def current_model(plan: Plan, state: LearningState, mean: Tensor) -> Model:
    """The field in ``state``, finished or not, as it would be sampled now."""
    return Model(
        net=plan.net.head(len(state.average)),
        weights=state.average,
        langevin=plan.langevin,
        sampler=plan.sampler,
        boundary=plan.boundary,
        mean=mean,
        path=state.path,
    )
