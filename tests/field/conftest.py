"""Small fields at all noise levels, in float64, and what the field's tests hold them against."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gcn_cli.field.network import NoiseNet, Weights, initial_weights
from nets import NETS


def _noise_weights(net: NoiseNet, seed: int = 0) -> Weights:
    """Random weights whose biases depend on the level; about half of the units are on."""
    generator = torch.Generator().manual_seed(seed)
    weights = initial_weights(net, generator).map(torch.Tensor.double)
    return weights._replace(
        votes=tuple(10 * v for v in weights.votes),
        levels=10 * weights.levels,
        rest=0.3 * torch.randn(net.n_biases, generator=generator, dtype=torch.float64),
    )


@pytest.fixture(params=NETS.values(), ids=NETS.keys())
def net(request: pytest.FixtureRequest) -> NoiseNet:
    return request.param


@pytest.fixture(scope="session")
def noise_weights() -> Callable[..., Weights]:
    return _noise_weights


@pytest.fixture(scope="session")
def canvas() -> Callable[..., Tensor]:
    """Images (n, C, H, W) of at least 16 px, H < W, that the strides of a network divide."""

    def build(net: NoiseNet, n: int = 2, seed: int = 1, least: int = 16) -> Tensor:
        stride = net.total_stride
        height = -(-least // stride) * stride
        generator = torch.Generator().manual_seed(seed)
        shape = (n, net.channels, height, height + 2 * stride)
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return build


@pytest.fixture(scope="session")
def mixed_levels() -> Callable[[int], Tensor]:
    """Levels (n,) from 0.2 on, all different."""
    return lambda n: 0.2 * 2.5 ** torch.arange(n, dtype=torch.float64)
