"""Networks for the engine: ordinary and odd ones, and those of the presets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from gcn_cli.engine import Engine, open_engine
from gcn_cli.field.network import LayerSpec, NoiseNet, Weights, initial_weights
from nets import NETS

L = LayerSpec
ODD = {
    "blocks": NoiseNet((L(8, 6, 2, True), L(8, 3, 1, True), L(12, 4, 2), L(8, 3, 1, True)), 3),
    "three channels, no blocks": NoiseNet((L(8, 4, 2), L(6, 3, 1, True)), 3),
    "stride 1 first, grey": NoiseNet((L(6, 5, 1, True), L(8, 4, 2, True)), 1),
    "stride 1 alone, odd canvas": NoiseNet((L(6, 5, 1, True),), 1),
    "stride 3, blocks": NoiseNet((L(8, 9, 3, True), L(6, 4, 2, True)), 2),
    "margin beyond the canvas": NoiseNet((L(4, 4, 2), L(5, 4, 2), L(4, 7, 1, True)), 1),
    "filters as wide as strides": NoiseNet((L(6, 2, 2, True), L(5, 1, 1, True)), 3),
}


def _presets() -> dict[str, NoiseNet]:
    """The networks of configs/*.yaml of kind `texture`."""
    found = {}
    for path in sorted((Path(__file__).parents[2] / "configs").glob("*.yaml")):
        config = yaml.safe_load(path.read_text())
        if config["kind"] == "texture":
            layers = tuple(L(**layer) for layer in config["layers"])
            found[path.stem] = NoiseNet(layers, 3, given=3)
    return found


PRESETS = _presets()
ALL = {**NETS, **ODD, **PRESETS}


@pytest.fixture(params=ALL.values(), ids=ALL.keys())
def net(request: pytest.FixtureRequest) -> NoiseNet:
    return request.param


@pytest.fixture(scope="session")
def draw_field() -> Callable[[NoiseNet], tuple[Weights, Tensor, Tensor]]:
    """Float32 weights with lively biases, images (3, C, H, W), H < W, and levels (3,)."""

    def build(net: NoiseNet) -> tuple[Weights, Tensor, Tensor]:
        rng = torch.Generator().manual_seed(0)
        weights = initial_weights(net, rng)
        weights = weights._replace(
            levels=10 * weights.levels, rest=0.3 * torch.randn(net.n_biases, generator=rng)
        )
        stride = net.total_stride
        side = max(4, 13 // stride) * stride
        z = torch.randn(3, net.channels, side, side + 2 * stride, generator=rng)
        return weights, z, torch.tensor([0.1, 0.7, 4.0])

    return build


@pytest.fixture(scope="session")
def engines(cpu: torch.device) -> Callable[..., Engine]:
    return lambda net, dtype=torch.float32: open_engine(net, cpu, dtype)
