"""Drafts: chosen coarse samples that finer levels learn behind."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gcn_cli.clock import (
    drafts_cost,
    drawn_stages,
    drawn_steps,
    matching_draw_cost,
    plan_cost,
    pool_cost,
)
from gcn_cli.core import drafts as drafts_module
from gcn_cli.core.drafts import Drafts
from gcn_cli.core.langevin import LangevinParams
from gcn_cli.core.level import Level
from gcn_cli.core.likeness import unlikeness
from gcn_cli.core.model import LevelModel, Model, SamplerParams, informed
from gcn_cli.core.network import ConvNet, LayerSpec
from gcn_cli.core.pyramid import enlarge_torus
from gcn_cli.core.schedule import begin, learn
from gcn_cli.core.synthesis import final_images, synthesize
from gcn_cli.errors import ConfigError
from gcn_cli.plan import Subject, build_plan, mean_colour

COUNT, SIZE = 5, (48, 64)
NET = ConvNet((LayerSpec(4, 3), LayerSpec(3, 3)), 2)


@pytest.fixture
def level(draw_weights):
    first, *rest = draw_weights(NET, dtype=torch.float32)
    weights = (first._replace(w=first.w / 10), *rest)
    sampler = SamplerParams(6, 10.0, candidates=6)
    return LevelModel(NET, weights, LangevinParams(10.0, 4.0), sampler, "torus", scale=0.5)


@pytest.fixture
def observed(draw_images):
    return draw_images(1, 2, 64, 64, scale=20.0, dtype=torch.float32)


@pytest.fixture
def drafts(level, observed, cpu):
    return Drafts(level, observed, COUNT, 3, cpu, torch.float32)


def _shifts(image):
    """Every shift of a torus (C, H, W), flat."""
    height, width = image.shape[-2:]
    return torch.stack(
        [image.roll((y, x), (-2, -1)) for y in range(height) for x in range(width)]
    ).flatten(1)


def test_every_draft_is_taken_once_before_any_is_taken_again(drafts):
    taken = drafts.take(SIZE, 2 * COUNT, seed=1)
    assert taken.shape == (2 * COUNT, 2, 24, 32)
    masses = taken.square().sum((1, 2, 3))
    for half in (masses[:COUNT], masses[COUNT:]):
        assert (half.sort().values.diff() > 1).all()  # so many different ones
    torch.testing.assert_close(masses[:COUNT].sort().values, masses[COUNT:].sort().values)


def test_a_draft_is_moved_about_and_nothing_else(drafts):
    one, other = (drafts.take(SIZE, COUNT, seed)[0] for seed in (1, 2))
    assert not torch.equal(drafts.take(SIZE, COUNT, 1), drafts.take(SIZE, COUNT, 2))
    kept = drafts.take(SIZE, COUNT, 7)
    for image in (one, other):
        nearest = min(float((_shifts(k) - image.flatten()).abs().sum(1).min()) for k in kept)
        assert nearest == 0


def test_drafts_are_drawn_once_for_each_size(drafts, monkeypatch):
    sizes = []

    def watched(model, size, *args, **more):
        sizes.append(size)
        return synthesize(model, size, *args, **more)

    monkeypatch.setattr(drafts_module, "synthesize", watched)
    for size in (SIZE, (32, 32), SIZE):
        for seed in (1, 2):
            drafts.take(size, 2, seed)
    assert sizes == [SIZE, (32, 32)]


def test_drafts_follow_the_law_of_the_choice(drafts, level, observed, cpu):
    """They are nearer to the observed images than draws without a choice."""
    choosy = informed(level, observed)
    plain = Model((replace(level, sampler=SamplerParams(6, 10.0)),), torch.zeros(2, 1, 1))
    every = final_images(synthesize(plain, SIZE, range(30), 9, device=cpu))
    assert choosy.likeness is not None
    far = unlikeness(choosy.likeness, every)
    near = unlikeness(choosy.likeness, drafts.take(SIZE, COUNT, 1))
    assert near.mean() < far.mean() - far.std() / 2


def test_samples_below_are_what_the_first_level_is_centred_at(level, cpu):
    dark = tuple(w._replace(w=torch.zeros_like(w.w)) for w in level.weights)
    dark = tuple(w._replace(b=torch.zeros_like(w.b)) for w in dark)
    fine = replace(level, weights=dark, scale=1.0, sampler=SamplerParams(2), centre_gain=0.5)
    below = 30 * torch.randn(3, 2, 24, 32, generator=torch.Generator().manual_seed(0))
    model = Model((fine,), torch.zeros(2, 1, 1))
    images = final_images(
        synthesize(model, SIZE, range(3), 1, device=cpu, temperature=0.0, below=(below, 0.5))
    )
    torch.testing.assert_close(images, 0.5 * enlarge_torus(below, 2))


LEARNING = {"updates": 2, "chains": "restart", "pool": 3}
MATCHING = {"stages": 2, "count": 4, "filters": 4, "sizes": [3], "detail_sizes": [3]}


def _levels(small_level, drafts):
    tiny = [{"filters": 4, "size": 3}]
    sampling = {"candidates": 3, "drafts": drafts}
    changes = {"learning": LEARNING, "matching": MATCHING, "layers": tiny}
    return (
        small_level(2, sampling=sampling, **changes),
        small_level(2, **changes),
        small_level(1, **changes),
    )


@pytest.fixture
def plan(small_config, small_level, picture):
    def build(drafts):
        config = small_config(*_levels(small_level, drafts))
        return build_plan(config, Subject.of(picture, mean_colour(picture)))

    return build


def test_finer_levels_learn_behind_drafts(plan, picture, machine):
    mean = mean_colour(picture)
    here, every = plan(4), plan(0)
    *_, (state, _) = learn(here, picture, mean, begin(), machine)
    first = state.finished[:1]
    book = Drafts(first[0], picture - mean, 4, here.seed, machine.device, machine.dtype)
    level = Level(here, 1, picture, mean, first, machine, book)
    size = (16, 16)
    kept = book.take(size, 4, 0)
    for image in level.pool:
        assert min(float((_shifts(k) - image.flatten()).abs().sum(1).min()) for k in kept) == 0
    *_, (other, _) = learn(every, picture, mean, begin(), machine)
    assert torch.equal(other.finished[0].weights[0].w, first[0].weights[0].w)
    assert not torch.equal(other.finished[1].weights[0].w, state.finished[1].weights[0].w)


def test_going_on_draws_the_same_drafts_or_takes_the_kept_ones(plan, picture, machine):
    mean, here, kept = mean_colour(picture), plan(4), {}
    whole = [s for s, _ in learn(here, picture, mean, begin(), machine, kept)]
    assert set(kept) == here.draft_sizes
    for pause in (4, 5, 7, 9):
        again, draws = [s for s, _ in learn(here, picture, mean, whole[pause - 1], machine)], {}
        for drafts in (kept, draws):
            *_, (end, _) = learn(here, picture, mean, whole[pause - 1], machine, drafts)
            assert torch.equal(end.weights[0].w, whole[-1].weights[0].w)
        assert torch.equal(again[-1].matched, whole[-1].matched)
    spoilt = {size: torch.zeros_like(images) for size, images in kept.items()}
    *_, (end, _) = learn(here, picture, mean, whole[3], machine, spoilt)
    assert not torch.equal(end.weights[0].w, whole[-1].weights[0].w)


def test_drafts_count_as_work_once(plan):
    with_drafts, without = plan(4), plan(0)
    assert drafts_cost(without) == 0 < drafts_cost(with_drafts)
    assert pool_cost(with_drafts, 1) == drafts_cost(with_drafts)
    for cost in (pool_cost, matching_draw_cost):
        assert cost(with_drafts, 2) < cost(without, 2)
    doubled = plan(8)
    shape = (1, 1, 24, 24)
    assert plan_cost(doubled, shape) - plan_cost(with_drafts, shape) == pytest.approx(
        drafts_cost(doubled) - drafts_cost(with_drafts)
    )


def test_redraws_count_as_work_of_the_chosen_alone(plan):
    level = plan(4).levels[0]
    anew = replace(level, sampler=replace(level.sampler, redraws=5))
    steps, stages = level.sampler.steps, level.matching_stages
    for candidates in (1, 3):
        extra = drawn_steps(anew, candidates) - drawn_steps(level, candidates)
        assert extra == 5 * steps
        assert drawn_stages(level, candidates) == candidates * stages
    assert drawn_stages(anew, 1) == stages
    assert drawn_stages(anew, 3) == 4 * stages


def test_a_lower_pace_makes_fewer_drafts(small_config, small_level, picture):
    subject = Subject.of(picture, mean_colour(picture))
    plans = [
        build_plan(small_config(*_levels(small_level, 9), pace=pace), subject)
        for pace in (0.05, 0.5, 1, 3)
    ]
    assert [plan.levels[0].drafts for plan in plans] == [1, 5, 9, 9]


def test_only_the_coarsest_level_keeps_drafts(small_config, small_level):
    first, *rest = _levels(small_level, 4)
    with pytest.raises(ConfigError, match="coarsest"):
        small_config(rest[0], first, rest[1])
