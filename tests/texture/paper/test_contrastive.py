"""Contrastive divergence as the configs ask for it: one chain an image."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.errors import ConfigError
from gcn_cli.field.langevin import run_langevin
from gcn_cli.run.config import validate
from gcn_cli.run.jobs import mean_colour
from gcn_cli.run.plan import Subject, build_plan
from gcn_cli.texture.paper.field import Field


@pytest.fixture
def at_the_data(small_data, draw_images, machine):
    """A field of so many unlike images, its weights, and chains at the data."""

    def build(count):
        data = small_data(boundary="bounded", canvas=None)
        data["learning"] = {**data["learning"], "chains": "data", "steps": 1}
        del data["learning"]["count"]
        observed = 120 + 40 * draw_images(count, 1, 16, 16, dtype=torch.float32)
        mean = mean_colour(observed)
        plan = build_plan(validate(data), Subject.of(observed, mean))
        field = Field(plan, observed, mean, machine)
        return field, field.start_weights(2), field.start_chains("data", 0)

    return build


@pytest.mark.parametrize("count", [1, 6, 10, 15])
def test_chains_at_the_data_leave_nothing_to_learn(count, at_the_data):
    field, weights, chains = at_the_data(count)
    assert torch.equal(chains.images, field.observed)
    still = field.gradient(weights, chains, 0.0)
    basis = field.basis(weights, chains.images.shape)
    moved, _ = run_langevin(chains, basis, field.plan.langevin, 1, field.noise)
    apart = field.gradient(weights, moved, 0.0)
    for zero, other in zip(still.weights, apart.weights, strict=True):
        assert float(zero.abs().max()) <= 1e-6 * float(other.abs().max())
        assert float(other.abs().max()) > 0
    assert float(still.observed) == float(still.synthesized)


def test_each_chain_has_noise_of_its_own(at_the_data):
    field, weights, chains = at_the_data(6)
    basis = field.basis(weights, chains.images.shape)
    moved, _ = run_langevin(chains, basis, field.plan.langevin, 1, field.noise)
    steps = (moved.images - chains.images).flatten(1)
    alike = torch.corrcoef(steps)[~torch.eye(6, dtype=torch.bool)]
    assert float(alike.abs().max()) < 0.5
    assert moved.images.shape == field.observed.shape


@pytest.mark.parametrize(
    ("learning", "words"),
    [({"chains": "data"}, "one an image"), ({"count": None}, "how many persistent chains")],
)
def test_the_number_of_chains_is_given_or_that_of_the_images(learning, words, small_data):
    with pytest.raises(ConfigError, match=words):
        validate(small_data(boundary="bounded", canvas=None, learning=learning))
