"""What inspect tells of the paper's density is what the density's own functions say."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.field.convnet import ConvNet, LayerSpec
from gcn_cli.field.langevin import LangevinParams
from gcn_cli.report.energy import energy_facts
from gcn_cli.texture.paper.model import Model, SamplerParams


@pytest.fixture
def model(case, draw_weights):
    boundary = "torus" if case.boundary == "torus" else "bounded"
    mean = torch.full((case.net.channels, 1, 1), 100.0)
    weights = draw_weights(case.net, dtype=torch.float32)
    return Model(case.net, weights, LangevinParams(5.0, 1.0), SamplerParams(3), boundary, mean)


def test_the_parts_are_those_of_the_density(model, case, draw_images):
    centred = draw_images(2, case.net.channels, *case.size, scale=20.0)
    facts = energy_facts(model, centred + 100)
    leaf = centred.clone().requires_grad_(True)
    weights = tuple(type(layer)(layer.w.double(), layer.b.double()) for layer in model.weights)
    tilt = model.net.tilt(leaf, weights, model.boundary)
    reference = leaf.square().flatten(1).sum(1) / 50
    (score,) = torch.autograd.grad((tilt - reference).sum(), leaf)
    tilt, reference = tilt.detach(), reference.detach()
    pixels = case.size[0] * case.size[1]
    assert facts.tilt == pytest.approx(float(tilt.mean()) / pixels, rel=1e-9)
    assert facts.reference == pytest.approx(float(reference.mean()) / pixels, rel=1e-9)
    assert facts.energy == pytest.approx(facts.reference - facts.tilt, rel=1e-9)
    assert facts.alpha + facts.inner_product == pytest.approx(facts.tilt, rel=1e-9)
    assert facts.score == pytest.approx(float(score.square().mean().sqrt()), rel=1e-9)
    assert abs(facts.alpha) > 1e-6


def test_a_torus_is_cut_to_its_strides(draw_weights, draw_images):
    net = ConvNet((LayerSpec(3, 4, 2), LayerSpec(2, 3)), 1)
    params, mean = LangevinParams(5.0, 1.0), torch.full((1, 1, 1), 100.0)
    model = Model(net, draw_weights(net), params, SamplerParams(3), "torus", mean)
    images = draw_images(1, 1, 8, 6, scale=20.0)
    wider = torch.nn.functional.pad(images, (0, 1, 0, 1))
    assert energy_facts(model, wider + 100) == energy_facts(model, images + 100)
