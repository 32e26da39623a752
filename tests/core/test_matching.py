"""The matching path: weak two-layer fields that carry responses onto the observed ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from gcn_cli.core import matching
from gcn_cli.core.matching import (
    MatchingParams,
    Potentials,
    draw_filters,
    halve,
    largest_gain,
    learn_stage,
    push,
)

PARAMS = MatchingParams(stages=8, chains=2, canvas=(24, 32), filters=6)
COARSE = replace(PARAMS, octaves=2, detail_sizes=())
OCTAVES = [0, 1, 0, 2, 0, 1]


def _field(seed, n=1, channels=2, size=(24, 32)):
    """A torus whose pixels are correlated and skew."""
    rng = torch.Generator().manual_seed(seed)
    white = torch.randn(n, channels, *size, generator=rng)
    smooth = F.avg_pool2d(F.pad(white, (1, 1, 1, 1), mode="circular"), 3, 1) * 3
    return 20 * (smooth.exp() - smooth.exp().mean())


def _noise(seed, n=1, channels=2, size=(24, 32), scale=30.0):
    rng = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, channels, *size, generator=rng)


def _wrapped(images, filters):
    reach = filters.shape[-1] // 2
    return F.conv2d(F.pad(images, (reach,) * 4, mode="circular"), filters)


def _tilt(stage, images):
    """The stage's tilt times sigma^2, as two layers of ReLUs: slopes add up, knot by knot."""
    responses = _wrapped(images, stage.filters.double())
    k, knots = stage.shift.shape
    places = torch.arange(knots - 1, dtype=torch.float64) + 0.5
    at = stage.low.double()[:, None] + places / stage.density.double()[:, None]
    jumps = stage.shift.double().diff(dim=1)
    parts = torch.relu(responses[..., None] - at.view(1, k, 1, 1, -1)) * jumps.view(1, k, 1, 1, -1)
    far = responses.detach().amin() - 1  # a unit that is always on carries the outermost slope
    first = stage.shift.double()[:, 0].view(1, k, 1, 1) * torch.relu(responses - far)
    return (parts.sum(-1) + first).sum()


def test_a_stage_is_one_step_to_the_reconstruction_of_a_relu_network():
    stage, _ = learn_stage(PARAMS, 0, _field(1), _noise(2), 0)
    images = _noise(3, n=2).double().requires_grad_(True)
    (basis,) = torch.autograd.grad(_tilt(stage, images), images)
    moved = push(stage, images.detach(), torch.float64)
    torch.testing.assert_close(moved - images.detach(), basis, rtol=0, atol=1e-9)
    assert basis.std() > 1


def test_one_filter_of_one_pixel_carries_the_whole_law():
    """Without overlap and at full relaxation a stage is the monotone map between two laws."""
    params = MatchingParams(1, 1, (64, 64), filters=1, sizes=(1,), relaxation=1.0)
    observed, chains = _field(1, 1, 1, (64, 64)), _noise(2, 1, 1, (64, 64))
    stage, _ = learn_stage(params, 0, observed, chains, 0)
    moved = push(stage, chains)
    share = torch.linspace(0.02, 0.98, 25)
    want, was, got = (x.flatten().quantile(share) for x in (observed, chains, moved))
    assert (got - want).abs().mean() < 0.05 * (was - want).abs().mean()


@pytest.mark.parametrize("stage", range(4))
def test_filters_have_unit_norm_and_belong_to_their_seed_and_stage(stage):
    filters, octave = draw_filters(PARAMS, stage, 3, seed=5)
    assert octave == 0
    assert filters.shape == (6, 3, (7, 5, 5, 3)[stage], (7, 5, 5, 3)[stage])
    torch.testing.assert_close(filters.flatten(1).norm(dim=1), torch.ones(6), rtol=0, atol=5e-3)
    assert torch.equal(filters, draw_filters(PARAMS, stage, 3, seed=5)[0])
    assert torch.equal(filters, filters.bfloat16().float())
    for other, _ in (draw_filters(PARAMS, stage + 4, 3, 5), draw_filters(PARAMS, stage, 3, 6)):
        assert not torch.equal(filters, other)


def test_detail_filters_are_blind_to_flat_areas_and_ramps():
    plain, fine = (draw_filters(PARAMS, stage, 1, 0)[0] for stage in (0, 1))
    ramp = torch.arange(9.0).view(1, 1, 1, 9).expand(1, 1, 9, 9)
    assert F.conv2d(ramp, fine).abs().max() < 0.05  # what bfloat16 leaves
    assert F.conv2d(ramp, plain).abs().max() > 1


def test_the_largest_gain_bounds_decoder_after_encoder(draw_images):
    filters, _ = draw_filters(PARAMS, 0, 2, 0)
    bound = float(largest_gain(filters))
    image = draw_images(1, 2, 24, 24, dtype=torch.float32)
    for _ in range(200):  # power iteration
        x = image.detach().requires_grad_(True)
        (image,) = torch.autograd.grad(0.5 * _wrapped(x, filters).square().sum(), x)
        gain = float(image.norm() / x.detach().norm())
        image = image / image.norm()
    assert gain == pytest.approx(bound, rel=0.02)


def _mismatch(images, observed):
    """Between quantiles of responses to filters that no stage has used."""
    filters, _ = draw_filters(MatchingParams(1, 1, (8, 8), filters=32), 0, 2, seed=99)
    at = torch.linspace(0.02, 0.98, 33)
    seen, made = (
        F.conv2d(x, filters).transpose(0, 1).flatten(1).quantile(at, dim=1)
        for x in (observed, images)
    )
    return float((seen - made).abs().mean())


def _learned_path(observed, stages=40, seed=0):
    params = MatchingParams(stages, 4, (64, 64), filters=32)
    chains, path, told = _noise(7, 4, 2, (64, 64)), [], []
    for number in range(stages):
        stage, mismatch = learn_stage(params, number, observed, chains, seed)
        chains = push(stage, chains)
        path.append(stage)
        told.append(float(mismatch))
    return path, told


def test_fresh_chains_get_the_observed_marginals_from_the_learned_path():
    observed = _field(1, 1, 2, (64, 64))
    path, told = _learned_path(observed)
    assert sum(told[-4:]) < 0.35 * sum(told[:4])
    fresh = _noise(8, 4, 2, (64, 64))
    before = _mismatch(fresh, observed)
    moved, reversed_path = fresh, fresh
    for stage in path:
        moved = push(stage, moved)
    for stage in reversed(path):  # control: the order is part of what was learned
        reversed_path = push(stage, reversed_path)
    assert _mismatch(moved, observed) < 0.3 * before
    assert _mismatch(reversed_path, observed) > 1.5 * _mismatch(moved, observed)


def test_chains_that_match_already_are_left_alone():
    observed = _field(1, 8, 2, (64, 64))
    stage, mismatch = learn_stage(PARAMS, 0, observed, observed, 0)
    assert mismatch < 0.03 * observed.std()  # two draws of patches from one set
    assert (push(stage, observed) - observed).std() < 0.03 * observed.std()


def test_a_stage_has_no_place_on_the_torus_and_no_memory_of_the_batch():
    stage, _ = learn_stage(PARAMS, 0, _field(1), _noise(2), 0)
    images = _noise(3, n=2).double()
    moved = push(stage, images, torch.float64)
    shifted = push(stage, images.roll((5, 11), (-2, -1)), torch.float64)
    torch.testing.assert_close(shifted, moved.roll((5, 11), (-2, -1)), rtol=0, atol=1e-9)
    torch.testing.assert_close(push(stage, images[:1], torch.float64), moved[:1])


@pytest.mark.parametrize("number", [0, 1, 3])
def test_bands_of_rows_give_what_the_whole_gives(number, monkeypatch):
    stage, _ = learn_stage(COARSE, number, _field(1, size=(48, 64)), _noise(2), 0)
    images = _noise(3).double()
    whole = push(stage, images, torch.float64)
    monkeypatch.setattr(matching, "_BAND_VALUES", 7 * 6 * 32)  # seven rows
    torch.testing.assert_close(push(stage, images, torch.float64), whole, rtol=0, atol=1e-9)


def test_stages_take_turns_at_the_octaves():
    assert [draw_filters(COARSE, stage, 2, 0)[1] for stage in range(6)] == OCTAVES
    kinds = replace(PARAMS, octaves=1)
    told = [draw_filters(kinds, stage, 2, 0) for stage in range(6)]
    assert [(w.shape[-1], octave) for w, octave in told] == [
        *[(7, 0), (5, 0), (7, 1)],
        *[(5, 0), (3, 0), (5, 1)],
    ]


@pytest.mark.parametrize("number", [1, 3])
def test_a_coarse_stage_is_a_step_of_a_tilt_of_the_reduced_image(number):
    """Decoding through the adjoint of the reduction, which is the bilinear enlargement over 4."""
    stage, _ = learn_stage(COARSE, number, _field(1, size=(48, 64)), _noise(2), 0)
    assert stage.octave == OCTAVES[number]
    images = _noise(3, n=2).double().requires_grad_(True)
    reduced = images
    for _ in range(stage.octave):
        reduced = halve(reduced, wrap=True)
    (basis,) = torch.autograd.grad(_tilt(stage, reduced), images)
    change = push(stage, images.detach(), torch.float64) - images.detach()
    torch.testing.assert_close(change, 4**stage.octave * basis, rtol=0, atol=1e-9)
    assert change.std() > 0.5


def test_halving_keeps_the_mean_and_drops_what_it_cannot_show(draw_images):
    images = draw_images(2, 3, 12, 16)
    torch.testing.assert_close(halve(images, wrap=True).mean((2, 3)), images.mean((2, 3)))
    inner = halve(images, wrap=False)
    assert inner.shape[-2:] == (5, 7)
    torch.testing.assert_close(inner, halve(images.roll((-1, -1), (2, 3)), wrap=True)[..., :5, :7])
    stripes = torch.tensor([1.0, -1.0]).repeat(8).expand(1, 1, 12, 16)
    assert halve(stripes, wrap=True).abs().max() < 1e-6


def test_a_torus_that_cannot_be_halved_is_refused():
    stage, _ = learn_stage(COARSE, 3, _field(1, size=(48, 64)), _noise(2), 0)
    with pytest.raises(ValueError, match="cannot be halved"):
        push(stage, _noise(3, size=(24, 30)))


def test_a_torus_smaller_than_twice_a_filter_wraps_around():
    stage, _ = learn_stage(PARAMS, 0, _field(1), _noise(2), 0)
    tile = _noise(3, size=(8, 8)).double()
    tiled = push(stage, tile.repeat(1, 1, 3, 3), torch.float64)
    moved = push(stage, tile, torch.float64)
    torch.testing.assert_close(moved.repeat(1, 1, 3, 3), tiled, rtol=0, atol=1e-9)


def test_flat_responses_give_a_finite_stage():
    flat = torch.zeros(1, 2, 24, 32)
    stage, mismatch = learn_stage(PARAMS, 0, _field(1), flat, 0)
    assert isinstance(stage, Potentials)
    assert all(bool(torch.isfinite(t).all()) for t in (*stage.tensors, mismatch))
    assert bool(torch.isfinite(push(stage, flat)).all())
