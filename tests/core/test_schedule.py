"""The course of learning: resume, growth, rollback."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from gcn_cli.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, state_to
from gcn_cli.core import level as level_module
from gcn_cli.core.learning import Moments, likelihood_gradient, parameters
from gcn_cli.core.level import Level
from gcn_cli.core.matching import MatchInfo
from gcn_cli.core.network import map_weights
from gcn_cli.core.pyramid import local_contrast
from gcn_cli.core.schedule import begin, current_model, learn
from gcn_cli.core.synthesis import final_images, synthesize
from gcn_cli.errors import DivergenceError
from gcn_cli.plan import Subject, build_plan, mean_colour


class Run:
    """A config at work on one picture."""

    def __init__(self, config, observed, machine):
        self.config, self.observed, self.machine = config, observed, machine
        self.mean = mean_colour(observed)
        self.plan = build_plan(config, Subject.of(observed, self.mean))

    def learn(self, updates=None, state=None, plan=None):
        """Up to ``updates`` yields of learning as a list of (state, info)."""
        course = learn(plan or self.plan, self.observed, self.mean, state or begin(), self.machine)
        return list(itertools.islice(course, updates))

    def through_a_file(self, state, path):
        model = current_model(self.plan, state, self.observed, self.mean)
        save_checkpoint(
            path, Checkpoint(self.config, self.observed, self.mean, state, model, False)
        )
        loaded = load_checkpoint(path)
        assert torch.equal(loaded.observed, self.observed)
        return state_to(loaded.state, self.machine.device)


@pytest.fixture
def run(small_config, picture, machine):
    def build(*levels, observed=picture, **changes):
        return Run(small_config(*levels, **changes), observed, machine)

    return build


def _tensors(state):
    yield from parameters(state.weights)
    yield from parameters(state.average)
    yield from state.moments.first
    yield from state.moments.second
    yield state.chains.images
    for weights in state.path:
        yield from parameters(weights)
    yield state.matched
    for stage in state.matching:
        yield from stage.tensors
    for level in state.finished:
        yield from parameters(level.weights)
        for stage in level.matching:
            yield from stage.tensors
        for weights in level.path:
            yield from parameters(weights)


def _assert_equal(a, b):
    for x, y in itertools.zip_longest(_tensors(a), _tensors(b)):
        assert torch.equal(x, y)
    numbers = ("level", "stage", "update", "rate_scale", "rollbacks", "strikes", "centre_gain")
    assert all(getattr(a, name) == getattr(b, name) for name in numbers)
    assert a.chains.step == b.chains.step
    assert a.moments.count == b.moments.count


SGD = {"name": "sgd", "rate": 1e-3}
SCHEDULES = {
    "persistent": {"learning": {"averaging": 0.9, "data_noise": 0.5}},
    "restart": {"learning": {"chains": "restart", "path_every": 2}},
    "plain gradient": {"learning": {"optimiser": SGD}},
    "dither and cooling": {"langevin": {"dither": True, "cooling": 0.5}},
    "warm and restrained": {"learning": {"chains": "restart", "warmup": 3, "restraint": 0.5}},
    "grown": {"learning": {"grow": True, "updates": 4, "path_every": 2, "averaging": 0.5}},
}


@pytest.mark.parametrize("changes", SCHEDULES.values(), ids=SCHEDULES.keys())
@pytest.mark.parametrize("pause", [3, 4])
def test_six_updates_are_three_then_a_file_then_three(changes, pause, run, small_level, tmp_path):
    job = run(small_level(**changes))
    whole = job.learn()
    first = job.learn(pause)
    resumed = job.through_a_file(first[-1][0], tmp_path / "run.pt")
    _assert_equal(resumed, first[-1][0])
    rest = job.learn(state=resumed)
    assert [i for _, i in first + rest] == [i for _, i in whole]
    _assert_equal(rest[-1][0], whole[-1][0])
    assert rest[-1][0].complete(job.plan)
    forgetful = replace(resumed, moments=Moments(), chains=replace(resumed.chains, step=0))
    control = job.learn(state=forgetful)[-1][0]
    assert not torch.equal(control.chains.images, whole[-1][0].chains.images)


def test_resume_with_chains_at_the_data(run, small_level, picture, tmp_path):
    level = small_level(learning={"chains": "data", "count": 3, "steps": 1})
    job = run(level, boundary="bounded", observed=torch.cat([picture, picture.flip(-1)]))
    whole = job.learn()[-1][0]
    half = job.through_a_file(job.learn(3)[-1][0], tmp_path / "run.pt")
    _assert_equal(job.learn(state=half)[-1][0], whole)


@pytest.mark.parametrize("reduce", [2, 1], ids=["pyramid", "cascade"])
@pytest.mark.parametrize("pause", range(1, 6))
def test_resume_across_the_levels(pause, reduce, run, small_level, tmp_path):
    learning = {"updates": 3, "chains": "restart", "path_every": 2, "recentre": 0.5}
    tiny = [{"filters": 4, "size": 3}]
    coarse = small_level(reduce, learning=learning, layers=tiny)
    job = run(coarse, small_level(1, learning=learning))
    assert len(job.plan.levels) == 2
    whole = job.learn()
    assert len(whole) == job.plan.total_updates == 6
    assert [s.done(job.plan) for s, _ in whole] == list(range(1, 7))
    half = job.through_a_file(whole[pause - 1][0], tmp_path / "run.pt")
    rest = job.learn(state=half)
    assert len(rest) == 6 - pause
    _assert_equal(rest[-1][0], whole[-1][0])
    assert len(rest[-1][0].finished) == 1
    assert rest[-1][0].centre_gain != 1


MATCHING = {"stages": 3, "count": 2, "filters": 4, "sizes": [3], "detail_sizes": [3]}
MATCHING |= {"start_noise": 0.5}


@pytest.mark.parametrize("start", [{}, {"start_spot": 0.5, "redraws": 2}], ids=["", "spots"])
@pytest.mark.parametrize("pause", range(1, 10))
def test_resume_within_and_between_matching_paths(pause, start, run, small_level, tmp_path):
    changes = {
        "learning": {"updates": 2, "chains": "restart"},
        "layers": [{"filters": 4, "size": 3}],
        "matching": MATCHING,
    }
    job = run(small_level(2, sampling=start, **changes), small_level(1, **changes))
    whole = job.learn()
    assert len(whole) == job.plan.total_updates == 2 * (2 + 3)
    assert [s.done(job.plan) for s, _ in whole] == list(range(1, 11))
    kinds = [isinstance(info, MatchInfo) for _, info in whole]
    assert kinds == 2 * [False, False, True, True, True]
    half = job.through_a_file(whole[pause - 1][0], tmp_path / "run.pt")
    rest = job.learn(state=half)
    assert len(rest) == 10 - pause
    assert [info for _, info in rest] == [info for _, info in whole[pause:]]
    _assert_equal(rest[-1][0], whole[-1][0])
    model = current_model(job.plan, rest[-1][0], job.observed, job.mean)
    assert [len(level.matching) for level in model.levels] == [3, 3]


def test_a_matching_path_is_learned_anew_when_a_run_is_extended(run, small_level):
    learning = {"updates": 2, "chains": "restart"}
    job = run(small_level(learning=learning, matching=MATCHING))
    end = job.learn()[-1][0]
    longer = run(small_level(learning={**learning, "updates": 4}, matching=MATCHING)).plan
    kinds = [isinstance(info, MatchInfo) for _, info in job.learn(state=end, plan=longer)]
    assert kinds == [False, False, True, True, True]
    more = run(small_level(learning=learning, matching={**MATCHING, "stages": 5})).plan
    going_on = job.learn(state=end, plan=more)
    assert [info.update for _, info in going_on] == [3, 4]
    kept = going_on[-1][0].matching[:3]
    for before, after in zip(end.matching, kept, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(before.tensors, after.tensors, strict=True))


def test_matching_of_chains_that_ran_away_says_so(run, small_level, machine):
    job = run(small_level(learning={"updates": 2, "chains": "restart"}, matching=MATCHING))
    level = Level(job.plan, 0, job.observed, job.mean, (), machine)
    chains = torch.randn(2, *job.observed.shape[1:], generator=torch.Generator().manual_seed(0))
    assert level.match(0, chains)[2].mismatch > 0
    with pytest.raises(DivergenceError, match="level 1 ran away to infinity before matching"):
        level.match(0, torch.full_like(chains, torch.nan))


def test_a_finer_level_is_centred_at_matched_samples(run, small_level, machine):
    learning = {"updates": 2, "chains": "restart"}
    tiny = [{"filters": 4, "size": 3}]
    coarse = small_level(2, learning=learning, layers=tiny, matching=MATCHING)
    job = run(coarse, small_level(1, learning=learning))
    finished = job.learn(6)[-1][0].finished
    assert len(finished[0].matching) == 3
    bare = (replace(finished[0], matching=()),)
    pools = [
        Level(job.plan, 1, job.observed, job.mean, levels, machine).pool
        for levels in (finished, bare)
    ]
    assert not torch.equal(*pools)


def _contrast(job, state, seed):
    """Local contrast of fresh samples of the level at hand over the data's."""
    model = current_model(job.plan, state, job.observed, job.mean)
    net = model.levels[-1].net
    made = final_images(synthesize(model, (24, 24), range(16), seed, device=job.machine.device))
    window = net.receptive_field
    seen = local_contrast(job.observed - job.mean, window, "bounded")
    return float(local_contrast(made - job.mean, window, "torus") / seen)


def test_the_coarsest_level_ends_with_the_contrast_of_the_data(run, small_level):
    """Weights that would exaggerate: a rate so high that they pass the data's contrast."""
    found = {}
    for restraint in (0.0, 0.01):
        learning = {"chains": "restart", "steps": 12, "count": 6, "restraint": restraint}
        learning |= {"updates": 16, "optimiser": {"name": "adam", "rate": 0.04}}
        job = run(small_level(learning=learning), guard={"retries": 0, "gap": 1e9, "spread": 1e9})
        found[restraint] = _contrast(job, job.learn()[-1][0], seed=3)
    assert abs(found[0.01] - 1) < 0.5 * abs(found[0.0] - 1)
    assert found[0.0] > 1.1


def test_the_restraint_rests_within_its_tolerance(run, small_level):
    """At a rate at which the contrast passes the data's, so that without tolerance it acts."""

    def learned(**changes):
        learning = {"chains": "restart", "steps": 12, "updates": 16, **changes}
        learning["optimiser"] = {"name": "adam", "rate": 0.04}
        job = run(small_level(learning=learning), guard={"retries": 0, "gap": 1e9, "spread": 1e9})
        return job.learn()[-1][0].weights[-1].w

    free, calm, held = (
        learned(**changes)
        for changes in ({}, {"restraint": 0.5, "tolerance": 9.0}, {"restraint": 0.5})
    )
    assert torch.equal(free, calm)
    assert held.norm() < free.norm()


def test_the_restraint_holds_the_basis_too_where_it_is_asked_to(run, small_level):
    """With a tolerance that leaves the contrast alone."""

    def spreads(**changes):
        learning = {"chains": "restart", "steps": 3, "updates": 24, "tolerance": 9.0, **changes}
        learning["optimiser"] = {"name": "adam", "rate": 0.002}
        job = run(small_level(learning=learning), guard={"retries": 0, "gap": 1e9, "spread": 1e9})
        return [info.spread_basis / info.spread_data for _, info in job.learn()]

    free, held = spreads(restraint=0.5), spreads(restraint=0.5, reach=0.1)
    assert max(free) > 0.3
    assert 0.05 < max(held) < 0.15
    assert spreads(restraint=0.0, reach=0.1) == free == spreads(restraint=0.5, reach=9.0)


def test_a_level_may_have_a_canvas_of_its_own(small_config, small_level):
    config = small_config(small_level(2), small_level(1, canvas=16), canvas=32)
    plan = build_plan(config, Subject(1, 64, 64, 40.0))
    assert [lv.canvas for lv in plan.levels] == [(16, 16), (16, 16)]


def test_a_first_layer_may_start_as_a_dictionary_of_the_exemplar(run, small_level, machine):
    start = {"dictionary": {"threshold": 2.0}}
    plain, composed = run(small_level()), run(small_level(init=start))
    weights, ours = (
        Level(job.plan, 0, job.observed, job.mean, (), machine).start_weights(2)
        for job in (plain, composed)
    )
    again = Level(composed.plan, 0, composed.observed, composed.mean, (), machine).start_weights(2)
    assert torch.equal(ours[0].w, again[0].w)
    assert torch.equal(ours[1].w, weights[1].w)
    assert not torch.allclose(ours[0].w, weights[0].w)
    assert (ours[0].b < 0).all()


def test_layers_learned_below_are_kept_when_a_dictionary_starts_a_field(run, small_level, machine):
    job = run(small_level(init={"dictionary": {"threshold": 2.0}}))
    level = Level(job.plan, 0, job.observed, job.mean, (), machine)
    fresh = level.start_weights(2)
    learned = map_weights(lambda t: t + 1, fresh[:1])
    grown = level.start_weights(2, learned)
    assert torch.equal(grown[0].w, learned[0].w)
    assert torch.equal(grown[0].b, learned[0].b)
    assert torch.equal(grown[1].w, fresh[1].w)


def test_every_part_of_a_large_exemplar_counts_alike(run, small_level, machine):
    """Glimpses of 32 px from 60 x 96 px: two rows of windows that overlap, three columns."""
    image = torch.arange(60.0 * 96).view(1, 1, 60, 96)
    job = run(canvas=16, observed=image)
    work = Level(job.plan, 0, image, job.mean, (), machine)
    corners = {int(work.glimpse(step)[0, 0, 0, 0] + job.mean) for step in range(200)}
    assert corners == {y * 96 + x for y in (0, 28) for x in (0, 32, 64)}
    assert work.glimpse(0).shape[-2:] == (32, 32)
    between = run(small_level(learning={"glimpse": 1.5}), canvas=16, observed=image)
    work = Level(between.plan, 0, image, job.mean, (), machine)
    assert work.glimpse(0).shape[-2:] == (24, 24)
    narrow = run(small_level(learning={"glimpse": 1}), canvas=16, observed=image)
    work = Level(narrow.plan, 0, image, job.mean, (), machine)
    assert work.glimpse(0).shape[-2:] == (16, 16)
    corners = {int(work.glimpse(step)[0, 0, 0, 0] + job.mean) for step in range(400)}
    assert len(corners) == 4 * 6


def test_same_seed_same_weights_and_another_seed_others(run):
    a, b = (run(seed=3).learn()[-1][0] for _ in range(2))
    _assert_equal(a, b)
    other = run(seed=4).learn()[-1][0]
    assert not torch.equal(a.weights[0].w, other.weights[0].w)
    assert not torch.equal(a.chains.images, other.chains.images)


def test_a_finished_run_stays_finished_and_a_longer_plan_goes_on(run, small_level):
    job = run()
    end = job.learn()[-1][0]
    assert job.learn(state=end) == []
    longer = run(small_level(learning={"updates": 9})).plan
    more = job.learn(state=end, plan=longer)
    assert [s.update for s, _ in more] == [7, 8, 9]


def test_a_shorter_plan_ends_the_stage_that_has_passed_it(run, small_level):
    grown = {"grow": True, "updates": 4}
    job = run(small_level(learning=grown))
    state = job.learn(3)[-1][0]
    shorter = run(small_level(learning={**grown, "updates": 2})).plan
    rest = job.learn(12, state=state, plan=shorter)
    assert rest[-1][0].complete(shorter)
    assert len(rest) <= 3


def test_growing_keeps_the_lower_layers_and_restarts_the_chains(run, small_level):
    grow = {"grow": True, "updates": 3, "steps": 2, "grow_fall": 0.25}
    job = run(small_level(learning=grow, sampling={"start_noise": 0.0}))
    assert [s.depth for s in job.plan.levels[0].stages] == [1, 2]
    states = job.learn()
    # The state after update 3 is already the start of the next stage: ask for one step less.
    before, _ = states[1]
    longer = replace_updates(job.plan, 4)
    last, _ = job.learn(1, state=before, plan=longer)[-1]
    grown, _ = states[2]
    assert (grown.stage, grown.update, len(grown.weights)) == (1, 0, 2)
    assert len(last.weights) == 1
    assert torch.equal(grown.weights[0].w, last.weights[0].w)
    assert torch.equal(grown.weights[0].b, last.weights[0].b)
    assert not grown.chains.images.any()  # chains restart from the zero image
    assert last.chains.images.any()
    assert grown.chains.step == last.chains.step == 6  # so that their noise is fresh
    assert grown.moments.count == 0
    end, info = states[-1]
    assert not torch.equal(end.weights[0].w, grown.weights[0].w)  # and lower layers learn on
    rates = [i.rate for _, i in states]
    assert rates == pytest.approx([1e-3] * 3 + [2.5e-4] * 3)
    assert len(info.active) == 2


def replace_updates(plan, updates):
    """The plan with ``updates`` in every stage."""
    level = plan.levels[0]
    stages = tuple(replace(s, learning=replace(s.learning, updates=updates)) for s in level.stages)
    return replace(plan, levels=(replace(level, stages=stages),))


@pytest.mark.parametrize("size", [(4, 2), (5, 2), (6, 2), (5, 3), (7, 1)])
def test_learning_compares_the_windows_that_drive_the_chains(size, run, small_level):
    """The tilt that learning lowers on the chains is the torus tilt that the dynamics climbs."""
    side, stride = size
    layers = [{"filters": 4, "size": side, "stride": stride}, {"filters": 3, "size": 3}]
    job = run(small_level(layers=layers, learning={"updates": 2}), canvas=18)
    (state, _), (after, info) = job.learn()
    net = job.plan.levels[0].net
    tilt = net.tilt(after.chains.images, state.weights, "torus").mean()
    per_pixel = float(tilt) / after.chains.images[0, 0].numel()
    assert info.f_synthesized == pytest.approx(per_pixel, rel=1e-4)


def test_every_phase_of_the_exemplar_is_seen(run, small_level):
    """An exemplar just as large as the network's window, whose stride leaves it two phases."""
    layers = [{"filters": 4, "size": 4, "stride": 2}, {"filters": 3, "size": 3}]
    noisy = torch.randint(0, 255, (1, 1, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    job = run(small_level(layers=layers), observed=noisy, canvas=8)
    assert job.plan.levels[0].net.receptive_field == 8
    assert len(job.learn()) == 6


def test_unit_of_the_grey_levels_changes_nothing(run, small_level, picture):
    """A power of two as the unit: bit-equal, data noise, restarts and Adam included."""
    learning = {"chains": "restart", "data_noise": 0.5, "averaging": 0.5}
    one = run(small_level(learning=learning))
    other = run(
        small_level(learning=learning, langevin={"sigma": 5.0, "eps": 1.5}), observed=picture / 4
    )
    (a, info_a), (b, info_b) = one.learn()[-1], other.learn()[-1]
    assert torch.equal(a.chains.images, b.chains.images * 4)
    assert torch.equal(a.weights[0].w * 4, b.weights[0].w)
    assert torch.equal(a.weights[1].w, b.weights[1].w)
    assert info_a.gap == info_b.gap


def _expect_divergence(job, state=None):
    """Learn until the guard gives up: the events, rates and states on the way, and the sentence."""
    seen = []
    try:
        for pair in learn(job.plan, job.observed, job.mean, state or begin(), job.machine):
            seen.append(pair)
            assert len(seen) < 200, "the guard never gives up"
    except DivergenceError as error:
        return seen, str(error)
    raise AssertionError("learning did not diverge")


def test_divergence_is_rolled_back_at_ever_lower_rates_then_given_up(run, small_level):
    wild = {"optimiser": {"name": "adam", "rate": 30.0}, "updates": 60, "steps": 4}
    guard = {"patience": 2, "check": 1, "retries": 3, "cut": 0.5}
    job = run(small_level(learning=wild), guard=guard)
    seen, sentence = _expect_divergence(job)
    events = [(s, i) for s, i in seen if i.event]
    assert len(events) == 3
    assert [s.rate_scale for s, _ in events] == [0.5, 0.25, 0.125]
    for state, info in events:
        assert all(torch.isfinite(t).all() for t in _tensors(state))
        assert state.update <= info.update
        assert "back to update" in info.event
    assert "diverged at update" in sentence
    assert "3 returns" in sentence


def test_a_rollback_that_helps_ends_well(run, small_level):
    wild = {"optimiser": {"name": "adam", "rate": 1.0}, "updates": 25, "steps": 4}
    guard = {"patience": 1, "check": 1, "retries": 12, "cut": 0.05}
    job = run(small_level(learning=wild), guard=guard)
    seen = job.learn()
    events = [i.event for _, i in seen if i.event]
    assert 0 < len(events) < 12
    assert seen[-1][0].complete(job.plan)
    assert seen[-1][1].rate < 0.06
    assert seen[-1][0].done(job.plan) == 25 < len(seen)


def test_not_a_number_is_fatal_at_once(run, small_level):
    job = run(small_level(), guard={"patience": 3, "retries": 2})
    state = job.learn(2)[-1][0]
    broken = replace(
        state, weights=map_weights(lambda t: torch.full_like(t, torch.nan), state.weights)
    )
    seen, sentence = _expect_divergence(job, broken)
    assert [bool(i.event) for _, i in seen] == [True, True]
    assert "not finite" in sentence


def test_a_healthy_run_fires_nothing(run, small_level):
    job = run(small_level(learning={"updates": 30}))
    seen = job.learn()
    assert len(seen) == 30
    assert all(i.event is None for _, i in seen)
    assert all(s.strikes == s.rollbacks == 0 and s.rate_scale == 1 for s, _ in seen)


def test_a_linear_top_filter_that_answers_below_zero_is_not_dead(run, small_level):
    layers = [
        {"filters": 3, "size": 4, "stride": 2},
        {"filters": 1, "size": "full", "relu": False},
    ]
    job = run(small_level(layers=layers), boundary="bounded", canvas=None)
    state = job.learn(1)[-1][0]
    top = state.weights[-1]
    sunk = (*state.weights[:-1], top._replace(b=top.b - 100))
    state, info = job.learn(1, state=replace(state, weights=sunk))[-1]
    assert info.f_synthesized < 0
    assert state.strikes == 0


def test_a_current_model_can_be_had_at_any_time(run, small_level):
    job = run(small_level(learning={"averaging": 0.9}))
    assert current_model(job.plan, begin(), job.observed, job.mean).levels == ()
    state = job.learn(3)[-1][0]
    (level,) = current_model(job.plan, state, job.observed, job.mean).levels
    assert torch.equal(level.weights[0].w, state.average[0].w)
    assert not torch.equal(level.weights[0].w, state.weights[0].w)
    assert level.boundary == "torus"
    assert level.langevin == job.plan.levels[0].langevin


def test_an_update_sees_a_window_of_a_large_exemplar(run, small_level, monkeypatch):
    """Cost is bounded by the canvas; over the updates the windows move over the exemplar."""
    seen = []

    def spy(net, weights, observed, *rest):
        seen.append(observed)
        return likelihood_gradient(net, weights, observed, *rest)

    monkeypatch.setattr(level_module, "likelihood_gradient", spy)
    ramp = torch.arange(64 * 80, dtype=torch.float32).reshape(1, 1, 64, 80) / 20
    run(small_level(), observed=ramp, canvas=16).learn()
    assert all(max(window.shape[-2:]) <= 32 for window in seen)
    assert len({float(window[0, 0, 0, 0]) for window in seen}) > 3
    seen.clear()
    run(small_level(), observed=ramp[..., :20, :30], canvas=16).learn()
    assert min(min(window.shape[-2:]) for window in seen) >= 18  # control: whole, less the phase
