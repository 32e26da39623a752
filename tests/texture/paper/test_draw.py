"""Fresh samples from a finished model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gcn_cli.engine import NoiseSource
from gcn_cli.field.convnet import ConvNet, LayerSpec, map_weights
from gcn_cli.field.langevin import LangevinParams
from gcn_cli.field.noise import derive_seed
from gcn_cli.texture.paper.draw import final_images, synthesize
from gcn_cli.texture.paper.model import Model, SamplerParams

NET = ConvNet((LayerSpec(4, 4, 2), LayerSpec(3, 3)), 2)
MEAN = torch.tensor([100.0, 60.0]).view(2, 1, 1)
LANGEVIN = LangevinParams(10.0, 4.0, dither=2)


def _model(weights, **changes):
    model = Model(NET, weights, LANGEVIN, SamplerParams(12, 10.0, 2), "torus", MEAN)
    return replace(model, **changes)


@pytest.fixture
def model(draw_weights):
    return _model(_answering(draw_weights(NET, dtype=torch.float32)))


def _answering(weights):
    """Weights whose first layer answers to images of ten grey levels."""
    return (weights[0]._replace(w=weights[0].w / 10), *weights[1:])


@pytest.fixture
def zero(draw_weights):
    return map_weights(torch.zeros_like, draw_weights(NET, dtype=torch.float32))


@pytest.fixture
def sample(cpu):
    def draw(model, size=(12, 16), chains=(0, 1, 2), seed=5, **more):
        return final_images(synthesize(model, size, chains, seed, device=cpu, **more))

    return draw


def test_same_seed_same_pixels_and_another_seed_others(model, sample):
    first = sample(model)
    assert torch.equal(first, sample(model))
    assert first.shape == (3, 2, 12, 16)
    assert (first - sample(model, seed=6)).abs().mean() > 1
    assert (first[0] - first[1]).abs().mean() > 1


def test_a_chain_is_the_same_whatever_runs_beside_it(model, sample):
    """To 1e-3 grey levels in float32: convolutions may add up in another order."""
    together = sample(model, chains=range(5))
    torch.testing.assert_close(sample(model, chains=[3])[0], together[3], rtol=0, atol=1e-3)
    torch.testing.assert_close(sample(model, chains=[4, 1]), together[[4, 1]], rtol=0, atol=1e-3)


def test_any_size_that_the_stride_divides(model, sample):
    for size in ((10, 10), (14, 32)):
        assert sample(model, size, [0]).shape == (1, 2, *size)
    with pytest.raises(ValueError, match="multiple"):
        sample(model, (13, 16))
    with pytest.raises(ValueError, match="too small"):
        sample(model, (2, 16))


def test_replay_takes_every_snapshot_in_order(all_on_weights, sample):
    """With all units on and no noise, each segment is a known contraction to its own basis."""
    path = tuple(all_on_weights(NET, seed, gain=0.1) for seed in range(3))
    last = all_on_weights(NET, 9, gain=0.1)
    path, last = ([map_weights(torch.Tensor.float, w) for w in part] for part in (path, [last]))
    langevin = replace(LANGEVIN, dither=1)
    model = _model(last[0], path=tuple(path), sampler=SamplerParams(7, 10.0, 2), langevin=langevin)
    found = sample(model, temperature=0.0).double() - MEAN

    noise = NoiseSource(derive_seed(5, "level", 0), range(3), torch.device("cpu"))
    start = 10 * noise.normal_(torch.empty(3, 2, 12, 16), "start", 0).double()

    def replay(segments):
        x = start
        for weights, steps in segments:
            exact = map_weights(torch.Tensor.double, weights)
            mode = 10.0**2 * NET.basis(x, exact, "torus")
            x = mode + (1 - LANGEVIN.eta) ** steps * (x - mode)
        return x

    segments = [(w, 7) for w in path] + [(last[0], 9)]
    scale = found.abs().max()
    torch.testing.assert_close(found / scale, replay(segments) / scale, rtol=0, atol=1e-5)
    for wrong in (segments[1:], segments[:2] + segments[3:], segments[::-1]):
        assert ((found - replay(wrong)) / scale).abs().max() > 1e-3

    short = replace(model, path=(), sampler=replace(model.sampler, steps=7))
    plain = sample(short, temperature=0.0) - MEAN
    torch.testing.assert_close(
        plain / scale, (replay(segments[3:]) / scale).float(), rtol=0, atol=1e-5
    )


def test_path_of_shallower_nets_is_replayed(draw_weights, sample):
    deep = _answering(draw_weights(NET, dtype=torch.float32))
    path = (deep[:1], map_weights(lambda t: t.to(torch.bfloat16), deep))
    grown = _model(deep, path=path)
    assert grown.total_steps() == 12 * 3 + 2
    image = sample(grown)
    assert torch.isfinite(image).all()
    assert (image - sample(_model(deep))).abs().mean() > 1


def test_white_noise_field_has_the_reference_centre_and_starting_noise(zero, sample, cpu):
    model = _model(zero, sampler=SamplerParams(6, start_noise=30.0))
    found = sample(model, temperature=0.0)
    noise = NoiseSource(derive_seed(5, "level", 0), range(3), cpu)
    start = 30 * noise.normal_(torch.empty(3, 2, 12, 16), "start", 0)
    torch.testing.assert_close(found, MEAN + (1 - LANGEVIN.eta) ** 6 * start)
    quiet = replace(model, sampler=SamplerParams(6))
    assert torch.equal(sample(quiet, temperature=0.0), MEAN.expand(3, 2, 12, 16))


def test_polish_takes_the_noise_off(zero, sample):
    rough = sample(_model(zero, sampler=SamplerParams(20))) - MEAN
    fine = sample(_model(zero, sampler=SamplerParams(20, 0.0, 30))) - MEAN
    torch.testing.assert_close(fine, rough * (1 - LANGEVIN.eta) ** 30, rtol=0, atol=1e-4)


def test_a_given_start_replaces_the_reference(zero, sample, draw_images):
    start = draw_images(3, 2, 12, 16, scale=50, dtype=torch.float32)
    model = _model(zero, sampler=SamplerParams(3, 10.0))
    found = sample(model, temperature=0.0, start=start)
    torch.testing.assert_close(found, MEAN + (1 - LANGEVIN.eta) ** 3 * start)


def test_a_net_is_deterministic_and_reports_its_progress(model, sample, cpu):
    reports = list(synthesize(model, (16, 24), [0, 1], 5, device=cpu))
    assert [r.step for r in reports] == sorted(r.step for r in reports)
    assert reports[-1].step == reports[-1].steps == 14
    assert reports[0].images.shape[-2:] == (16, 24)
    assert torch.equal(reports[-1].images, sample(model, (16, 24), [0, 1]))


def test_cold_and_hot_differ_in_spread(zero, sample):
    model = _model(zero, sampler=SamplerParams(60))
    hot, cold = (float((sample(model, temperature=t) - MEAN).std()) for t in (1.0, 0.25))
    assert cold == pytest.approx(hot / 2, rel=1e-4)
