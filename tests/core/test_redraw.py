"""Places that the field finds unlikely are found, and drawn anew while the rest stands still."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gcn_cli.core import redraw
from gcn_cli.core.device import make_basis
from gcn_cli.core.energy import energy
from gcn_cli.core.langevin import ChainState, LangevinParams, run_langevin
from gcn_cli.core.matching import MatchingParams, learn_stage
from gcn_cli.core.model import LevelModel, Model, SamplerParams, informed
from gcn_cli.core.network import ConvNet, LayerSpec, LayerWeights, initial_weights
from gcn_cli.core.noise import NoiseSource
from gcn_cli.core.redraw import Gauge, faults, measure_gauge
from gcn_cli.core.synthesis import final_images, synthesize
from gcn_cli.core.windows import WindowedField, run_windowed

SIGMA = 10.0
NET = ConvNet((LayerSpec(4, 5), LayerSpec(3, 3)), 2)
MEAN = torch.tensor([100.0, 60.0]).view(2, 1, 1)
EVERYWHERE, NOWHERE = Gauge(math.inf, -math.inf), Gauge(-math.inf, -math.inf)


@pytest.fixture
def weights():
    return initial_weights(NET, torch.Generator().manual_seed(3), sigma=SIGMA)


@pytest.fixture
def images(draw_images):
    return draw_images(2, 2, 40, 36, scale=20.0, dtype=torch.float32)


@pytest.fixture
def stripes():
    """A field that answers to stripes of 6 px, and such stripes (1, 1, 48, 48)."""
    x = torch.arange(48.0)
    wave = torch.sin(2 * math.pi * x / 6)
    filters = torch.stack([wave[k : k + 7].expand(7, 7) for k in range(6)])[:, None] / 160
    net = ConvNet((LayerSpec(6, 7),), 1)
    image = (40 * wave).expand(1, 1, 48, 48).contiguous()
    return net, (LayerWeights(filters, torch.zeros(6)),), image


def test_the_density_of_all_places_is_the_fields(weights, images):
    places = redraw._wrapped_density(NET, weights, SIGMA, images)
    assert places.shape == (2, 1, 40, 36)
    whole = -energy(NET, images, weights, "torus", SIGMA)
    torch.testing.assert_close(places.flatten(1).sum(1), whole, rtol=1e-4, atol=1e-2)


def test_bands_change_nothing(weights, images, monkeypatch):
    whole = redraw._wrapped_density(NET, weights, SIGMA, images)
    monkeypatch.setattr(redraw, "_BAND_VALUES", 2 * 4 * 36 * 7)  # seven rows
    torch.testing.assert_close(redraw._wrapped_density(NET, weights, SIGMA, images), whole)


def test_a_blank_place_is_found_and_nothing_else(stripes):
    net, weights, image = stripes
    gauge = measure_gauge(net, weights, SIGMA, image)
    assert gauge.low <= gauge.typical
    gauge = gauge._replace(low=gauge.low - 0.1)  # places of a period differ by rounding
    assert faults(net, weights, SIGMA, gauge, image) is None
    torn = image.clone()
    torn[..., 10:20, 20:30] = 0
    found = faults(net, weights, SIGMA, gauge, torn)
    assert found is not None
    assert found.shape == (1, 1, 48, 48)
    assert float(found[..., 13:17, 23:27].min()) == pytest.approx(1)
    assert float(found[..., 30:46, :].max()) == 0
    assert 0 <= float(found.min()) <= float(found.max()) <= 1 + 1e-6


def test_a_sample_that_is_fainter_all_over_has_no_faults(stripes):
    """Its typical place lies below the exemplar's, and the limit with it."""
    net, weights, image = stripes
    gauge = measure_gauge(net, weights, SIGMA, image)
    gauge = gauge._replace(low=gauge.low - 0.1)
    faint = 0.8 * image
    assert float(redraw._wrapped_density(net, weights, SIGMA, faint).mean()) < gauge.low - 0.5
    assert faults(net, weights, SIGMA, gauge, faint) is None
    faint[..., 10:20, 20:30] = 0
    assert faults(net, weights, SIGMA, gauge, faint) is not None


def _moved(weights, images, mask, window=None):
    params, noise = LangevinParams(SIGMA, 5.0, cooling=0.5), NoiseSource(1, (0, 1), images.device)
    state = ChainState(images.clone())
    if window is None:
        basis = make_basis(NET, tuple(images.shape), "torus", torch.float32, images.device)
        return run_langevin(state, basis.load(weights), params, 5, noise, mask=mask)[0].images
    field = WindowedField(NET, weights, "torus", torch.float32, images.device, window)
    return run_windowed(state, field, params, 5, noise, mask=mask).images


def test_a_mask_holds_and_lets_go(weights, images):
    one = torch.ones(2, 1, 40, 36)
    free = _moved(weights, images, None)
    torch.testing.assert_close(_moved(weights, images, one), free, rtol=0, atol=1e-4)
    assert torch.equal(_moved(weights, images, 0 * one), images)
    one[..., :20, :] = 0
    half = _moved(weights, images, one)
    assert torch.equal(half[..., :20, :], images[..., :20, :])
    assert float((half - images)[..., 20:, :].abs().mean()) > 1
    parts = _moved(weights, images, one, window=12)
    torch.testing.assert_close(parts, half, rtol=0, atol=1e-3)


@pytest.fixture
def level(weights):
    params = LangevinParams(SIGMA, 5.0)
    return LevelModel(NET, weights, params, SamplerParams(4, 10.0, redraws=3), "torus")


@pytest.fixture
def sample(cpu):
    def draw(level, size=(40, 36), chains=(0, 1, 2), **more):
        return final_images(synthesize(Model((level,), MEAN), size, chains, 5, device=cpu, **more))

    return draw


def test_nothing_is_redrawn_where_nothing_is_unlikely(level, sample):
    plain = replace(level, sampler=replace(level.sampler, redraws=0))
    assert torch.equal(sample(replace(level, gauge=NOWHERE)), sample(plain))
    anew = sample(replace(level, gauge=EVERYWHERE))
    assert float((anew - sample(plain)).abs().mean()) > 5


def test_redrawing_raises_the_density_of_the_worst_places(stripes, cpu):
    net, weights, _ = stripes
    params = LangevinParams(SIGMA, 5.0, cooling=0.5)
    level = LevelModel(net, weights, params, SamplerParams(12, 10.0), "torus")
    model = Model((level,), torch.zeros(1, 1, 1))
    plain = final_images(synthesize(model, (96, 96), [0, 1], 2, device=cpu))
    # places that three in ten of these samples' own lie below
    places = redraw._smooth(redraw._wrapped_density(net, weights, SIGMA, plain), 3).flatten(1)
    low = float(places.quantile(0.3))
    sampler = replace(level.sampler, redraws=6)
    better = replace(level, sampler=sampler, gauge=Gauge(low, -math.inf))
    drawn = final_images(
        synthesize(replace(model, levels=(better,)), (96, 96), [0, 1], 2, device=cpu)
    )
    after = redraw._smooth(redraw._wrapped_density(net, weights, SIGMA, drawn), 3).flatten(1)
    assert float((after < low).float().mean()) < 0.5 * float((places < low).float().mean())


def test_a_redrawn_chain_is_the_same_whatever_runs_beside_it(level, sample, images):
    """Also where its neighbours are done before it is."""
    known = replace(level, gauge=_gauge_of_half(level, sample))
    together = sample(known, chains=range(4))
    for chain in range(4):
        alone = sample(known, chains=[chain])
        torch.testing.assert_close(alone[0], together[chain], rtol=0, atol=1e-3)


def _gauge_of_half(level, sample):
    """A gauge by which part of the places of a plain sample are faults."""
    plain = sample(replace(level, sampler=replace(level.sampler, redraws=0))) - MEAN
    places = redraw._smooth(redraw._wrapped_density(NET, level.weights, SIGMA, plain), 3)
    return Gauge(float(places.quantile(0.1)), -math.inf)


def test_redraws_window_by_window(level, sample):
    known = replace(level, gauge=_gauge_of_half(level, sample))
    whole, parts = sample(known, chains=[1]), sample(known, chains=[1], window=12)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-3)
    assert not torch.equal(whole, sample(replace(known, gauge=NOWHERE), chains=[1]))


@pytest.mark.parametrize("window", [None, 12])
def test_the_chosen_candidate_is_redrawn_before_its_path(level, images, cpu, window):
    observed = images[:1]
    params = MatchingParams(2, 1, (40, 36), filters=8)
    path = tuple(learn_stage(params, k, observed, 2 * observed, 0)[0] for k in range(2))
    sampler = replace(level.sampler, candidates=3)
    choosy = informed(replace(level, matching=path, sampler=sampler), observed)
    assert choosy.gauge is not None
    choosy = replace(choosy, gauge=EVERYWHERE)
    model, seen = Model((choosy,), MEAN), []
    for info in synthesize(model, (40, 36), [0, 1], 5, device=cpu, window=window):
        seen.append((info.candidate, info.candidates, info.chosen is not None, info.step))
    steps = [step for *_, step in seen]
    assert steps == sorted(steps)
    assert steps[-1] == info.steps == 3 * (4 + 2) + 3 * 4 + 2
    assert [chosen for *_, chosen, _ in seen].count(True) == 1
    choice = [chosen for *_, chosen, _ in seen].index(True)
    assert all((k, of) == (0, 1) for k, of, _, _ in seen[choice + 1 :])
    calm = replace(model, levels=(replace(choosy, gauge=NOWHERE),))
    plain = replace(model, levels=(replace(choosy, sampler=replace(sampler, redraws=0)),))
    one, other = (
        final_images(synthesize(m, (40, 36), [0, 1], 5, device=cpu)) for m in (calm, plain)
    )
    torch.testing.assert_close(one, other)  # drawn again along the same path


def test_what_a_level_must_know_is_asked_for(level, sample):
    with pytest.raises(ValueError, match="nothing to find them by"):
        sample(level)
    spotted = replace(level, sampler=SamplerParams(4, start_spot=0.5))
    with pytest.raises(ValueError, match="no spot"):
        sample(spotted)
