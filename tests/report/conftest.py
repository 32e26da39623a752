"""Small fields: one of random weights, and one whose density is known: f = 0, white noise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gcn_cli.engine import Machine
from gcn_cli.field.ladder import noise_levels
from gcn_cli.field.network import LayerSpec, NoiseNet, initial_weights
from gcn_cli.field.noise import generator
from gcn_cli.report import measure
from gcn_cli.texture.draw import Model, SizeModel

NET = NoiseNet((LayerSpec(6, 4, 2, vote=True), LayerSpec(5, 3, 1, vote=True)), 2, 0)


def _field(gain: float, net: NoiseNet = NET) -> measure.Field:
    weights = initial_weights(net, generator(0, "test"))
    rest = torch.randn(net.n_biases, generator=torch.Generator().manual_seed(0)) / 4
    weights = weights._replace(votes=tuple(gain * v for v in weights.votes), rest=rest)
    size = SizeModel(1, noise_levels(4.0, 0.1, 6), weights)
    model = Model(net, (size,), torch.full((2, 1, 1), 120.0), 40.0)
    return measure.open_field(model, 0, Machine(torch.device("cpu")))


@pytest.fixture(scope="session")
def random_field():
    return _field(5.0)


@pytest.fixture(scope="session")
def given_field():
    """One of random weights that is given an image of two colours."""
    return _field(5.0, replace(NET, given=2))


@pytest.fixture(scope="session")
def white_field():
    """p_s is N(0, (1 + s^2) 1), exactly the law of white noise of variance 1 at every level."""
    return _field(0.0)


@pytest.fixture(scope="session")
def noise():
    def draw(*shape, seed=0):
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

    return draw
