"""A tiny recipe, exemplars of known motifs, and one short course of learning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from gcn_cli.engine import Machine
from gcn_cli.texture.draw import Model
from gcn_cli.texture.learn import Info, State, begin, learn, model_of
from gcn_cli.texture.plan import Plan, make_plan
from gcn_cli.texture.recipe import Recipe

RECIPE: dict[str, Any] = {
    "layers": [
        {"filters": 8, "size": 6, "stride": 2, "vote": True},
        {"filters": 8, "size": 3, "vote": True},
    ],
    "sizes": {"coarsest": 1},
    "reconstruction": {"updates": 50, "finer_updates": 50, "crop": 32, "margin": 5},
    "likelihood": {"updates": 3, "finer_updates": 3, "canvas": 16, "levels": 3},
    "sampler": {"steps": 10, "finer_steps": 6},
}


def _recipe(**changes: Any) -> Recipe:
    parts = {k: {**RECIPE.get(k, {}), **v} if k != "layers" else v for k, v in changes.items()}
    return Recipe(**{**RECIPE, **parts})


class Course(NamedTuple):
    """A whole course of learning, yield by yield."""

    plan: Plan
    observed: Tensor
    states: list[State]
    infos: list[Info]

    @property
    def model(self) -> Model:
        """What was learned."""
        return model_of(self.plan, self.states[-1], torch.zeros(1, 1, 1), 1.0)


@pytest.fixture(scope="session")
def recipe() -> Callable[..., Recipe]:
    return _recipe


@pytest.fixture(scope="session")
def machine(cpu: torch.device) -> Machine:
    return Machine(cpu)


@pytest.fixture(scope="session")
def run(machine: Machine) -> Callable[..., Course]:
    """Learns from images, from the beginning or from a state on."""

    def build(recipe: Recipe, observed: Tensor, state: State | None = None) -> Course:
        plan = make_plan(recipe, observed)
        state = begin(plan, machine.device) if state is None else state
        states, infos = zip(*learn(plan, observed, state, machine), strict=True)
        return Course(plan, observed, list(states), list(infos))

    return build


@pytest.fixture(scope="session")
def course(run: Callable[..., Course], blurred: Callable[..., Tensor]) -> Course:
    """Two sizes, both acts, a few updates each."""
    return run(_recipe(sizes={"coarsest": 2}), blurred(2.0))


@pytest.fixture(scope="session")
def learned(run: Callable[..., Course], blurred: Callable[..., Tensor]) -> Course:
    """One size, learned until blurred noise looks like it."""
    reconstruction = {"updates": 150, "batch": 4, "rate": 1e-2}
    likelihood = {"updates": 24, "levels": 4, "canvas": 40, "rate": 5e-5, "vote_rate": 4e-3}
    recipe = _recipe(reconstruction=reconstruction, likelihood=likelihood, sampler={"steps": 60})
    return run(recipe, blurred(1.0))
