"""The matching path: weak two-layer fields that carry responses onto the observed ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from gcn_cli.core import matching
from gcn_cli.core.filters import white_filters
from gcn_cli.core.matching import (
    MatchingParams,
    Potentials,
    halve,
    learn_stage,
    push,
    push_,
)

PARAMS = MatchingParams(stages=8, chains=2, canvas=(24, 32), filters=6)
COARSE = replace(PARAMS, octaves=2, detail_sizes=(), pursuit_sizes=())
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


@pytest.mark.parametrize("size", [(24, 32), (23, 32), (24, 31), (23, 31)])
@pytest.mark.parametrize("cacheful", [100, 10**6])
def test_a_stage_is_one_step_to_the_reconstruction_of_a_relu_network(size, cacheful, monkeypatch):
    monkeypatch.setattr(matching, "_CACHEFUL", cacheful)
    stage, _ = learn_stage(PARAMS, 0, _field(1), _noise(2), 0)
    images = _noise(3, n=2, size=size).double().requires_grad_(True)
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


@pytest.mark.parametrize("stage", range(3))
def test_a_stage_belongs_to_its_seed_and_number(stage):
    data = _field(1), _noise(2)
    first, _ = learn_stage(PARAMS, stage, *data, seed=5)
    again, _ = learn_stage(PARAMS, stage, *data, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(first.tensors, again.tensors, strict=True))
    assert torch.equal(first.filters, first.filters.bfloat16().float())
    norms = first.filters.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(6), rtol=0, atol=5e-3)
    for number, seed in ((stage + 6, 5), (stage, 6)):
        other, _ = learn_stage(PARAMS, number, *data, seed=seed)
        assert first.filters.shape == other.filters.shape
        assert not torch.equal(first.filters, other.filters)


def _mismatch(images, observed):
    """Between quantiles of responses to filters that no stage has used."""
    filters = white_filters(32, 2, 7, torch.Generator().manual_seed(99))
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


@pytest.mark.parametrize("number", [0, 1])
def test_only_a_step_in_place_touches_what_it_is_given(number):
    stage, _ = learn_stage(COARSE, number, _field(1, size=(48, 64)), _noise(2), 0)
    images = _noise(3)
    kept = images.clone()
    moved = push(stage, images)
    assert torch.equal(images, kept)
    assert push_(stage, images) is images
    assert torch.equal(images, moved)
    assert not torch.equal(images, kept)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_bands_of_rows_give_what_the_whole_gives(number, monkeypatch):
    stage, _ = learn_stage(COARSE, number, _field(1, size=(48, 64)), _noise(2), 0)
    images = _noise(3).double()
    whole = push(stage, images, torch.float64)
    monkeypatch.setattr(matching, "_BAND_VALUES", 7 * 6 * 32)  # seven rows
    torch.testing.assert_close(push(stage, images, torch.float64), whole, rtol=0, atol=1e-9)


def test_stages_take_turns():
    assert [COARSE.turn(stage).octave for stage in range(6)] == OCTAVES
    assert [COARSE.turn(stage).side for stage in range(6)] == [7, 7, 5, 7, 7, 5]
    assert [tuple(PARAMS.turn(stage)) for stage in range(6)] == [
        *[("white", 7, 0), ("pursued", 9, 0), ("detail", 5, 0)],
        *[("white", 5, 0), ("pursued", 5, 0), ("detail", 3, 0)],
    ]
    told = [replace(PARAMS, octaves=1).turn(stage) for stage in (0, 1, 2, 3, 4, 7)]
    assert [kind for kind, _, _ in told] == [
        *["white", "pursued", "detail", "coarse", "white", "coarse"]
    ]
    assert [octave for _, _, octave in told] == [0, 0, 0, 1, 0, 1]
    last = replace(PARAMS, spectrum=7)
    assert [last.turn(stage).kind == "spectrum" for stage in range(8)] == [False] * 7 + [True]


def test_pursued_stages_mend_a_weak_octave_that_random_ones_do_not_see():
    """The finest octave is ten times too strong, at a hundredth of the coarse one's power."""
    smooth, wrong = _noise(1, 1, 1, (64, 64)), _noise(2, 4, 1, (64, 64))
    for _ in range(3):
        smooth, wrong = (
            F.avg_pool2d(F.pad(x, (1,) * 4, "circular"), 3, 1) for x in (smooth, wrong)
        )
    fine = _fine(smooth)
    wrong = wrong + 9 * _fine(wrong)
    left = {}
    for kind in ("pursued", "random"):
        sizes = (5,) if kind == "pursued" else ()
        params = MatchingParams(12, 4, (64, 64), 32, detail_sizes=(), pursuit_sizes=sizes)
        chains = wrong
        for number in range(12):
            chains = push(learn_stage(params, number, smooth, chains, 0)[0], chains)
        left[kind] = float(_fine(chains).std() / fine.std())
    assert float(_fine(wrong).std() / fine.std()) > 5
    assert left["pursued"] < 2
    assert left["random"] > 2 * left["pursued"]


def _fine(images):
    """What of tori is above 0.3 cycles per px."""
    waves = torch.fft.fft2(images)
    y, x = (torch.fft.fftfreq(n) for n in images.shape[-2:])
    return torch.fft.ifft2(waves * ((y[:, None] ** 2 + x**2).sqrt() > 0.3)).real


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
