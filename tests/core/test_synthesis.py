"""Fresh samples from a finished model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gcn_cli.core.langevin import LangevinParams
from gcn_cli.core.likeness import unlikeness
from gcn_cli.core.matching import MatchingParams, Potentials, learn_stage, push
from gcn_cli.core.model import LevelModel, Model, SamplerParams, every_draw, informed
from gcn_cli.core.network import ConvNet, LayerSpec, initial_weights, map_weights
from gcn_cli.core.noise import NoiseSource, derive_seed
from gcn_cli.core.pyramid import enlarge_torus
from gcn_cli.core.synthesis import final_images, synthesize, without_path

NET = ConvNet((LayerSpec(4, 4, 2), LayerSpec(3, 3)), 2)
MEAN = torch.tensor([100.0, 60.0]).view(2, 1, 1)
LANGEVIN = LangevinParams(10.0, 4.0, dither=2)


def _level(weights, **changes):
    level = LevelModel(NET, weights, LANGEVIN, SamplerParams(12, 10.0, 2), "torus")
    return replace(level, **changes)


@pytest.fixture
def model(draw_weights):
    return Model((_level(_answering(draw_weights(NET, dtype=torch.float32))),), MEAN)


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
    level = _level(last[0], path=tuple(path), sampler=SamplerParams(7, 10.0, 2), langevin=LANGEVIN)
    model = Model((replace(level, langevin=replace(LANGEVIN, dither=1)),), MEAN)
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

    plain = sample(Model((without_path(model.levels[0], 7),), MEAN), temperature=0.0) - MEAN
    torch.testing.assert_close(
        plain / scale, (replay(segments[3:]) / scale).float(), rtol=0, atol=1e-5
    )


def test_path_of_shallower_nets_is_replayed(draw_weights, sample):
    deep = _answering(draw_weights(NET, dtype=torch.float32))
    path = (deep[:1], map_weights(lambda t: t.to(torch.bfloat16), deep))
    grown = Model((_level(deep, path=path),), MEAN)
    assert grown.levels[0].total_steps() == 12 * 3 + 2
    image = sample(grown)
    assert torch.isfinite(image).all()
    assert (image - sample(Model((_level(deep),), MEAN))).abs().mean() > 1


def test_white_noise_field_has_the_reference_centre_and_starting_noise(zero, sample, cpu):
    level = _level(zero, sampler=SamplerParams(6, start_noise=30.0))
    found = sample(Model((level,), MEAN), temperature=0.0)
    noise = NoiseSource(derive_seed(5, "level", 0), range(3), cpu)
    start = 30 * noise.normal_(torch.empty(3, 2, 12, 16), "start", 0)
    torch.testing.assert_close(found, MEAN + (1 - LANGEVIN.eta) ** 6 * start)
    quiet = replace(level, sampler=SamplerParams(6))
    assert torch.equal(sample(Model((quiet,), MEAN), temperature=0.0), MEAN.expand(3, 2, 12, 16))


def test_polish_takes_the_noise_off(zero, sample):
    rough = sample(Model((_level(zero, sampler=SamplerParams(20)),), MEAN)) - MEAN
    fine = sample(Model((_level(zero, sampler=SamplerParams(20, 0.0, 30)),), MEAN)) - MEAN
    torch.testing.assert_close(fine, rough * (1 - LANGEVIN.eta) ** 30, rtol=0, atol=1e-4)


def test_a_chain_ends_with_the_matching_path(zero, sample):
    plain = _level(zero, sampler=SamplerParams(6, 30.0))
    wide = 50 * torch.randn(1, 2, 32, 32, generator=torch.Generator().manual_seed(1))
    params = MatchingParams(12, 3, (12, 16), filters=8)
    start = sample(Model((plain,), MEAN), temperature=0.0) - MEAN
    path, moved = [], start
    for number in range(12):
        stage, _ = learn_stage(params, number, wide, moved, 0)
        path.append(stage)
        moved = push(stage, moved)
    model = Model((replace(plain, matching=tuple(path)),), MEAN)
    found = sample(model, temperature=0.0) - MEAN
    assert (found - moved).abs().mean() < 0.02  # rounding moves a response across a knot
    assert (found - start).abs().mean() > 5
    assert moved.std() > 1.5 * start.std()
    assert model.levels[0].total_steps() == 6 + 12
    *_, last = synthesize(model, (12, 16), [0], 5, device=torch.device("cpu"))
    assert last.step == last.steps == 18


def test_a_matching_path_begins_with_its_noise_and_none_without_a_path(zero, sample):
    plain = _level(zero, sampler=SamplerParams(6, 30.0))
    still = Potentials(torch.zeros(1, 2, 1, 1), torch.zeros(1), torch.ones(1), torch.zeros(1, 256))
    drawn = [
        sample(Model((replace(plain, matching=path, matching_noise=noise),), MEAN))
        for path, noise in (((), 40.0), ((still,), 0.0), ((still,), 40.0))
    ]
    assert torch.equal(drawn[0], drawn[1])
    added = drawn[2] - drawn[1]
    assert added.std() == pytest.approx(40, rel=0.1)
    alone = sample(
        Model((replace(plain, matching=(still,), matching_noise=40.0),), MEAN), chains=[2]
    )
    torch.testing.assert_close(alone[0], drawn[2][2], rtol=0, atol=1e-3)


def test_a_given_start_replaces_the_reference(zero, sample, draw_images):
    start = draw_images(3, 2, 12, 16, scale=50, dtype=torch.float32)
    level = _level(zero, sampler=SamplerParams(3, 10.0))
    found = sample(Model((level,), MEAN), temperature=0.0, start=start)
    torch.testing.assert_close(found, MEAN + (1 - LANGEVIN.eta) ** 3 * start)


def test_finer_levels_are_centred_at_the_enlarged_coarser_sample(zero, sample):
    coarse = _level(zero, scale=0.5, sampler=SamplerParams(6, 30.0))
    fine = _level(zero, sampler=SamplerParams(4, 0.0))
    small = sample(Model((replace(coarse, scale=1.0),), MEAN), (6, 8), temperature=0.0)
    model = Model((coarse, fine), MEAN)
    big = sample(model, (12, 16), temperature=0.0)
    torch.testing.assert_close(big, enlarge_torus(small - MEAN, 2) + MEAN, rtol=0, atol=1e-4)
    assert (big - MEAN).std() > 1
    assert model.multiple == 4
    assert model.receptive_field == 2 * NET.receptive_field


def test_the_centre_of_a_finer_level_is_scaled_by_its_gain(zero, sample):
    coarse = _level(zero, scale=0.5, sampler=SamplerParams(6, 30.0))
    fine = _level(zero, sampler=SamplerParams(4, 0.0))
    plain, weaker = (
        sample(Model((coarse, level), MEAN), temperature=0.0)
        for level in (fine, replace(fine, centre_gain=0.8))
    )
    torch.testing.assert_close(weaker - MEAN, 0.8 * (plain - MEAN), rtol=0, atol=1e-4)


def test_a_field_may_follow_another_of_its_own_size(zero, sample):
    """In a cascade the first field's sample itself is the second one's centre."""
    first = _level(zero, sampler=SamplerParams(6, 30.0))
    second = _level(zero, sampler=SamplerParams(4, 0.0), centre_gain=0.8)
    model = Model((first, second), MEAN)
    for window in (None, 3):  # whole and in windows
        drawn = sample(model, temperature=0.0, window=window)
        alone = sample(Model((first,), MEAN), temperature=0.0, window=window)
        torch.testing.assert_close(drawn - MEAN, 0.8 * (alone - MEAN), rtol=0, atol=1e-4)
    assert (drawn - MEAN).std() > 1
    assert (model.multiple, model.receptive_field) == (2, NET.receptive_field)


def test_pyramid_of_nets_is_deterministic_and_reports_its_progress(draw_weights, sample, cpu):
    weights = _answering(draw_weights(NET, dtype=torch.float32))
    model = Model((_level(weights, scale=0.5), _level(weights)), MEAN)
    reports = list(synthesize(model, (16, 24), [0, 1], 5, device=cpu))
    assert [r.level for r in reports] == sorted(r.level for r in reports)
    assert [r.step for r in reports] == sorted(r.step for r in reports)
    assert reports[-1].step == reports[-1].steps == 28
    assert reports[0].images.shape[-2:] == (8, 12)
    assert torch.equal(reports[-1].images, sample(model, (16, 24), [0, 1]))
    with pytest.raises(ValueError, match="multiple"):
        sample(model, (18, 24))


def test_a_size_that_the_coarse_level_cannot_halve_is_refused(sample):
    """Also where no stride is in the way."""
    net = ConvNet((LayerSpec(3, 3),), 2)
    weights = initial_weights(net, torch.Generator().manual_seed(0), sigma=10.0)
    fine = LevelModel(net, weights, replace(LANGEVIN, dither=1), SamplerParams(2), "torus")
    model = Model((replace(fine, scale=0.5), fine), MEAN)
    assert sample(model, (12, 16)).shape == (3, 2, 12, 16)
    with pytest.raises(ValueError, match="multiple"):
        sample(model, (13, 16))


def test_cold_and_hot_differ_in_spread(zero, sample):
    level = _level(zero, sampler=SamplerParams(60))
    hot, cold = (
        float((sample(Model((level,), MEAN), temperature=t) - MEAN).std()) for t in (1.0, 0.25)
    )
    assert cold == pytest.approx(hot / 2, rel=1e-4)


@pytest.fixture
def choosy(model, draw_images):
    """Two levels, of four and of two candidates."""
    fine = model.levels[0]
    observed = draw_images(1, 2, 24, 32, scale=20.0, dtype=torch.float32)
    levels = (
        replace(fine, scale=0.5, sampler=SamplerParams(6, 10.0, candidates=4)),
        replace(fine, sampler=SamplerParams(3, 10.0, 1, candidates=2)),
    )
    return Model(tuple(informed(level, observed) for level in levels), MEAN)


def test_the_nearest_candidate_of_every_chain_goes_on(choosy, cpu):
    size, chains = (24, 32), (0, 3, 1)
    ends: dict[tuple[int, int], torch.Tensor] = {}
    chosen = {}
    for info in synthesize(choosy, size, chains, 5, device=cpu):
        if info.chosen is None:
            ends[info.level, info.candidate] = info.chains.clone()
        else:
            chosen[info.level] = info
            assert info.step == sum(
                lv.total_steps() * lv.sampler.candidates for lv in choosy.levels[: info.level + 1]
            )
    assert sorted(ends) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]
    for index, info in chosen.items():
        drawn = torch.stack([ends[key] for key in sorted(ends) if key[0] == index])
        far = torch.stack([unlikeness(choosy.levels[index].likeness, images) for images in drawn])
        assert torch.equal(info.chosen, far.argmin(0))
        assert torch.equal(info.chains, drawn[info.chosen, torch.arange(len(chains))])
    assert len(set(chosen[0].chosen.tolist())) > 1  # not always the same number


def test_the_first_candidate_is_what_is_drawn_without_any_choice(choosy, cpu, sample):
    plain = every_draw(choosy)
    coarse = replace(choosy, levels=choosy.levels[:1])
    first = next(
        info.chains.clone()
        for info in synthesize(coarse, (24, 32), (0, 1), 5, device=cpu)
        if info.step == coarse.levels[0].total_steps()
    )
    only = replace(plain, levels=plain.levels[:1])
    assert torch.equal(first + MEAN, sample(only, (24, 32), (0, 1)))


def test_a_choice_is_the_same_whatever_runs_beside_it(choosy, sample):
    together = sample(choosy, (24, 32), range(4))
    alone = sample(choosy, (24, 32), [2])
    torch.testing.assert_close(alone[0], together[2], rtol=0, atol=1e-3)


def test_candidates_window_by_window(choosy, sample):
    whole, parts = sample(choosy, (24, 32), [1]), sample(choosy, (24, 32), [1], window=4)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-3)


def test_candidates_need_something_to_be_chosen_by(choosy, sample):
    blind = replace(choosy, levels=tuple(replace(lv, likeness=None) for lv in choosy.levels))
    with pytest.raises(ValueError, match="nothing to choose"):
        sample(blind, (24, 32))
