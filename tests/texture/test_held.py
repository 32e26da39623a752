"""What is known stays, at every level and size, and what is drawn beside it fits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gcn_cli.engine import NoiseSource, open_engine
from gcn_cli.field.ladder import langevin_step
from gcn_cli.texture.denoise import Mixture, OneField, Part
from gcn_cli.texture.draw import Begin, Conditions, chain, draw, start
from gcn_cli.texture.held import Held
from gcn_cli.texture.rung import Mover, rungs

CANVAS = (32, 40)


def picture(size=CANVAS, seed=0):
    return torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def held():
    mask = torch.ones(1, 1, *CANVAS, dtype=torch.bool)
    mask[..., 10:22, 6:30] = False
    return Held(picture(), mask)


def drawn(model, machine, chains=(4, 1), **given):
    *_, last = draw(model, CANVAS, NoiseSource(3, chains, machine.device), machine, **given)
    return last.y


# ------------------------------------------------------------------------------- what is held


def test_put_replaces_what_is_known_and_nothing_else(held):
    images = torch.zeros(2, 1, *CANVAS)
    told = held.put(images)
    assert torch.equal(told[:, :, :10], held.picture[:, :, :10].expand(2, -1, -1, -1))
    assert not told[..., 10:22, 6:30].any()
    noise = torch.full_like(images, 0.5)
    assert torch.equal(held.put(images, noise=noise)[0, 0, 0], held.picture[0, 0, 0] + 0.5)
    assert torch.equal(held.put(images[..., 8:24, :], first_row=8), told[..., 8:24, :])


def test_a_coarser_pixel_is_held_where_half_of_it_is_known(held):
    flat = replace(held, picture=torch.where(held.mask, 2.0, -50.0))
    small = flat.at(2)
    assert small.mask.shape == (1, 1, 16, 20)
    assert small.mask[..., :4, :].all()
    assert not small.mask[..., 6:10, 4:14].any()
    told = small.picture[small.mask.expand_as(small.picture)]
    torch.testing.assert_close(told, torch.full_like(told, 2.0))  # nothing leaks in
    assert flat.at(1) is flat


def test_reduced_and_wholly_known_is_the_reduced_picture():
    whole = Held(picture(), torch.ones(1, 1, *CANVAS, dtype=torch.bool))
    wanted = torch.nn.functional.interpolate(
        whole.picture, size=(16, 20), mode="bicubic", antialias=True
    )
    torch.testing.assert_close(whole.at(2).picture, wanted)


@pytest.mark.parametrize("langevin", [0, 2])
def test_what_is_known_lies_under_the_noise_of_every_level(langevin, course, machine, held):
    """Its deviation is the level's, and so is its correlation with the picture: none."""
    model = replace(course.model, langevin=langevin)
    known = held.mask.expand(8, 1, -1, -1)
    noise = NoiseSource(3, range(8), machine.device)
    for step in draw(model, CANVAS, noise, machine, conditions=Conditions(held)):
        here = held.at(model.sizes[step.size].reduction)
        off = (step.y - here.picture)[here.mask.expand_as(step.y)]
        if not step.s:
            assert not off.any()
            continue
        error = step.s / (2 * off.numel()) ** 0.5
        assert off.std() == pytest.approx(step.s, abs=5 * error)
        assert off.mean() == pytest.approx(0, abs=8 * error)
    assert known.sum() == 8 * held.mask.sum()


def test_what_is_unknown_is_drawn_by_the_model(course, machine, held):
    """It differs from chain to chain, and from what nothing is held beside."""
    told, free = (
        drawn(course.model, machine, conditions=c) for c in (Conditions(held), Conditions())
    )
    hole = (Ellipsis, slice(10, 22), slice(6, 30))
    assert torch.equal(told[..., :10, :], held.picture[..., :10, :].expand_as(told[..., :10, :]))
    assert (told[0][hole] - told[1][hole]).std() > 0.1
    assert (told[hole] - free[hole]).std() > 0.1
    assert torch.isfinite(told).all()


@pytest.mark.parametrize("langevin", [0, 2])
def test_windows_hold_the_same(langevin, course, machine, held):
    model = replace(course.model, langevin=langevin)
    given = {"conditions": Conditions(held)}
    whole = drawn(model, machine, **given)
    parts = drawn(model, machine, window=24, **given)
    assert float(((whole - parts).abs() < 1e-3).double().mean()) > 0.97


# ------------------------------------------------------------------- Langevin steps at a level


def test_every_level_but_the_last_has_its_langevin_steps():
    told = list(rungs([4.0, 2.0, 1.0], langevin=2))
    assert [(r.s, r.below) for r in told] == [
        (4.0, 4.0),
        (4.0, 4.0),
        (4.0, 2.0),
        (2.0, 2.0),
        (2.0, 2.0),
        (2.0, 1.0),
        (1.0, 0.0),
    ]
    assert [r.index for r in told] == [0, 0, 0, 1, 1, 1, 2]
    assert len({r.number for r in told}) == len(told)
    down = [r for r in told if not r.stays]
    assert [(r.number, r.above) for r in down] == [(0, 4.0), (1, 4.0), (2, 2.0)]


def test_a_ladder_may_begin_further_down():
    told = list(rungs([4.0, 2.0, 1.0], langevin=1, first=1))
    assert [(r.s, r.below, r.above) for r in told] == [
        (2.0, 2.0, 2.0),
        (2.0, 1.0, 2.0),
        (1.0, 0.0, 2.0),
    ]


def test_only_reduced_sizes_stay_at_their_levels(course, machine):
    model, steps = course.model, {}
    for langevin in (0, 3):
        noise = NoiseSource(3, [0], machine.device)
        below = picture((16, 20))
        y = start(model, 1, (1, 1, *CANVAS), below, noise)
        field = OneField(
            open_engine(model.net, machine.device, machine.dtype).opened(model.sizes[1].weights)
        )
        told = chain(replace(model, langevin=langevin), 1, field, y, noise, coarser=below)
        steps[langevin] = [step.y.clone() for step in told]
    assert all(torch.equal(a, b) for a, b in zip(steps[0], steps[3], strict=True))
    assert not torch.equal(
        drawn(replace(model, langevin=3), machine), drawn(replace(model, langevin=0), machine)
    )


@pytest.mark.parametrize("noisy", [0.02, 0.5, 0.98])
def test_langevin_steps_leave_a_gaussian_as_it_is(noisy):
    """Whatever share of y is noise. Plain noise would add 0.3 % to 17 % to its variance."""
    rng, s, n = torch.Generator().manual_seed(0), 0.7, 200_000

    def normal():
        return torch.randn(n, generator=rng, dtype=torch.float64)

    wanted = s**2 / noisy
    y, before = wanted**0.5 * normal(), normal()
    for k in range(60):
        z = normal()
        y, before = langevin_step(y, (1 - noisy) * y, s, z, before, k == 0), z
        if k == 0 and noisy == 0.5:
            assert float(y.var()) == pytest.approx(wanted, rel=5 * (2 / n) ** 0.5)
    assert float(y.var()) == pytest.approx(wanted, rel=5 * (2 / n) ** 0.5)


def test_a_langevin_step_goes_towards_the_reconstruction_and_adds_both_noises():
    y, d, none, one = torch.tensor([1.0]), torch.tensor([0.0]), torch.zeros(1), torch.ones(1)
    assert float(langevin_step(y, d, 0.5, none, none, False)) == pytest.approx(0.7)
    half = 0.5 * 0.5 * 0.6**0.5
    assert float(langevin_step(d, d, 0.5, one, none, False)) == pytest.approx(half)
    assert float(langevin_step(d, d, 0.5, none, one, False)) == pytest.approx(half)


def test_the_noise_of_a_langevin_step_comes_in_the_next_one_again():
    """So it does in the chain: numbers of the step before are drawn anew by their key."""
    first, second, down = list(rungs([4.0, 2.0], langevin=2))[:3]
    assert (first.before, second.before, down.before) == (None, first.number, None)
    noise = NoiseSource(0, [0], torch.device("cpu"))
    mover, zero = Mover(noise, "anneal/0"), torch.zeros(1, 1, 8, 8)
    own, before = torch.empty(1, 1, 8, 8), torch.empty(1, 1, 8, 8)
    noise.normal_(own, "anneal/0", second.number)
    noise.normal_(before, "anneal/0", first.number)
    told = mover.move(zero, zero, None, second)
    torch.testing.assert_close(told, 4 * 0.6**0.5 * (own + before) / 2)


# --------------------------------------------------------------------------- a beginning


def test_a_chain_that_begins_at_a_picture_ends_near_it(course, machine):
    """Nearer than a free one; the later it begins the nearer."""
    model = course.model
    wanted = picture().roll(3, -1) * 0.5
    smooth = torch.nn.functional.avg_pool2d(wanted, 9, 1, 4)
    off = []
    for share in (None, 0.5, 1.0):
        begin = None if share is None else Begin(smooth, share)
        told = drawn(model, machine, conditions=Conditions(begin=begin))
        low = torch.nn.functional.avg_pool2d(told, 9, 1, 4)
        off.append(float((low - torch.nn.functional.avg_pool2d(smooth, 9, 1, 4)).square().mean()))
    assert off[2] < off[1] < off[0]


def test_a_chain_begins_at_the_level_that_is_asked_for(course, machine):
    begin = Begin(picture(), 0.5)
    noise = NoiseSource(3, [0], machine.device)
    first = next(draw(course.model, CANVAS, noise, machine, conditions=Conditions(begin=begin)))
    levels = course.model.sizes[0].levels
    assert first.index == round(0.5 * (len(levels) - 1))
    assert first.s == float(levels[first.index])


# ------------------------------------------------------------------------------- mixtures


def part(field, model, contrast, mean, weight):
    """A field in units of another contrast and mean than the chain's, 1 and 0."""
    del model
    return Part(field, 1 / contrast, torch.full((1, 1, 1), -mean / contrast), torch.tensor(weight))


@pytest.fixture
def field(course, machine):
    engine = open_engine(course.model.net, machine.device, machine.dtype)
    return OneField(engine.opened(course.model.sizes[1].weights))


def test_a_mixture_of_a_field_with_itself_is_that_field(field, course):
    y, given = picture(), picture(seed=1)
    parts = [part(field, course.model, 1.0, 0.0, w) for w in (0.3, 0.7)]
    told = Mixture(parts)(y, 0.6, given, (1, 0))
    torch.testing.assert_close(told, field(y, 0.6, given, (1, 0)), atol=1e-5, rtol=1e-5)


def test_a_field_of_a_mixture_sees_its_own_units(field, course):
    """A model of contrast 2 and mean 3, whose field is the same, denoises 2 y + 3 alike."""
    y, given = picture(), picture(seed=1)
    told = Mixture([part(field, course.model, 2.0, 3.0, 1.0)])(
        2 * y + 3, 1.2, 2 * given + 3, (0, 0)
    )
    torch.testing.assert_close(told, 2 * field(y, 0.6, given, (0, 0)) + 3, atol=1e-4, rtol=1e-4)
