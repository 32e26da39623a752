"""The course of learning: resume, growth, rollback."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from gcn_cli.errors import DivergenceError
from gcn_cli.field.ascent import Moments
from gcn_cli.field.convnet import map_weights
from gcn_cli.field.likelihood import parameters
from gcn_cli.run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gcn_cli.run.field_packing import state_to
from gcn_cli.run.jobs import mean_colour
from gcn_cli.run.plan import Subject, build_plan
from gcn_cli.texture.paper.learn import begin, current_model, learn


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
        model = current_model(self.plan, state, self.mean)
        save_checkpoint(
            path, Checkpoint(self.config, self.observed, self.mean, state, model, False)
        )
        loaded = load_checkpoint(path)
        assert torch.equal(loaded.observed, self.observed)
        return state_to(loaded.state, self.machine.device)


@pytest.fixture
def run(small_config, picture, machine):
    def build(observed=picture, **changes):
        return Run(small_config(**changes), observed, machine)

    return build


def _tensors(state):
    yield from parameters(state.weights)
    yield from parameters(state.average)
    yield from state.moments.first
    yield from state.moments.second
    yield state.chains.images
    for weights in state.path:
        yield from parameters(weights)


def _assert_equal(a, b):
    for x, y in itertools.zip_longest(_tensors(a), _tensors(b)):
        assert torch.equal(x, y)
    numbers = ("stage", "update", "rate_scale", "rollbacks", "strikes")
    assert all(getattr(a, name) == getattr(b, name) for name in numbers)
    assert a.chains.step == b.chains.step
    assert a.moments.count == b.moments.count


SGD = {"name": "sgd", "rate": 1e-3}
SCHEDULES = {
    "persistent": {"learning": {"averaging": 0.9, "data_noise": 0.5}},
    "restart": {"learning": {"chains": "restart", "path_every": 2}},
    "plain gradient": {"learning": {"optimiser": SGD}},
    "dithered": {"langevin": {"dither": True}},
    "warm": {"learning": {"chains": "restart", "warmup": 3}},
    "grown": {"learning": {"grow": True, "updates": 4, "path_every": 2, "averaging": 0.5}},
}


@pytest.mark.parametrize("changes", SCHEDULES.values(), ids=SCHEDULES.keys())
@pytest.mark.parametrize("pause", [3, 4])
def test_six_updates_are_three_then_a_file_then_three(changes, pause, run, tmp_path):
    job = run(**changes)
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


def test_resume_with_chains_at_the_data(run, picture, tmp_path):
    job = run(
        learning={"chains": "data", "count": None, "steps": 1},
        boundary="bounded",
        observed=torch.cat([picture, picture.flip(-1)]),
    )
    whole = job.learn()[-1][0]
    half = job.through_a_file(job.learn(3)[-1][0], tmp_path / "run.pt")
    _assert_equal(job.learn(state=half)[-1][0], whole)


def test_same_seed_same_weights_and_another_seed_others(run):
    a, b = (run(seed=3).learn()[-1][0] for _ in range(2))
    _assert_equal(a, b)
    other = run(seed=4).learn()[-1][0]
    assert not torch.equal(a.weights[0].w, other.weights[0].w)
    assert not torch.equal(a.chains.images, other.chains.images)


def test_a_finished_run_stays_finished_and_a_longer_plan_goes_on(run):
    job = run()
    end = job.learn()[-1][0]
    assert job.learn(state=end) == []
    longer = run(learning={"updates": 9}).plan
    more = job.learn(state=end, plan=longer)
    assert [s.update for s, _ in more] == [7, 8, 9]


def test_a_shorter_plan_ends_the_stage_that_has_passed_it(run):
    grown = {"grow": True, "updates": 4}
    job = run(learning=grown)
    state = job.learn(3)[-1][0]
    shorter = run(learning={**grown, "updates": 2}).plan
    rest = job.learn(12, state=state, plan=shorter)
    assert rest[-1][0].complete(shorter)
    assert len(rest) <= 3


def test_growing_keeps_the_lower_layers_and_restarts_the_chains(run):
    grow = {"grow": True, "updates": 3, "steps": 2, "grow_fall": 0.25}
    job = run(learning=grow, sampling={"start_noise": 0.0})
    assert [s.depth for s in job.plan.stages] == [1, 2]
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
    stages = tuple(replace(s, learning=replace(s.learning, updates=updates)) for s in plan.stages)
    return replace(plan, stages=stages)


@pytest.mark.parametrize("size", [(4, 2), (5, 2), (6, 2), (5, 3), (7, 1)])
def test_learning_compares_the_windows_that_drive_the_chains(size, run):
    """The tilt that learning lowers on the chains is the torus tilt that the dynamics climbs."""
    side, stride = size
    layers = [{"filters": 4, "size": side, "stride": stride}, {"filters": 3, "size": 3}]
    job = run(layers=layers, learning={"updates": 2}, canvas=18)
    (state, _), (after, info) = job.learn()
    net = job.plan.net
    tilt = net.tilt(after.chains.images, state.weights, "torus").mean()
    per_pixel = float(tilt) / after.chains.images[0, 0].numel()
    assert info.f_synthesized == pytest.approx(per_pixel, rel=1e-4)


def test_every_phase_of_the_exemplar_is_seen(run):
    """An exemplar just as large as the network's window, whose stride leaves it two phases."""
    layers = [{"filters": 4, "size": 4, "stride": 2}, {"filters": 3, "size": 3}]
    noisy = torch.randint(0, 255, (1, 1, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    job = run(layers=layers, observed=noisy, canvas=8)
    assert job.plan.net.receptive_field == 8
    assert len(job.learn()) == 6


def test_unit_of_the_grey_levels_changes_nothing(run, picture):
    """A power of two as the unit: bit-equal, data noise, restarts and Adam included."""
    learning = {"chains": "restart", "data_noise": 0.5, "averaging": 0.5}
    one = run(learning=learning)
    other = run(learning=learning, langevin={"sigma": 5.0, "eps": 1.5}, observed=picture / 4)
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


def test_divergence_is_rolled_back_at_ever_lower_rates_then_given_up(run):
    wild = {"optimiser": {"name": "adam", "rate": 30.0}, "updates": 60, "steps": 4}
    guard = {"patience": 2, "check": 1, "retries": 3, "cut": 0.5}
    job = run(learning=wild, guard=guard)
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


def test_without_a_guard_nothing_is_rolled_back(run):
    """What the guard would mend is left alone, until a value is not finite."""
    wild = {"optimiser": {"name": "adam", "rate": 1.0}, "updates": 25, "steps": 4}
    job = run(learning=wild, guard={"enabled": False, "patience": 1})
    assert any(i.event for _, i in run(learning=wild, guard={"patience": 1}).learn(20))
    seen = job.learn(20)
    assert [i.update for _, i in seen] == list(range(20))
    assert all(i.event is None and i.rate == 1.0 for _, i in seen)
    state = seen[0][0]
    weights = map_weights(lambda t: torch.full_like(t, torch.nan), state.weights)
    seen, sentence = _expect_divergence(job, replace(state, weights=weights))
    assert seen == []
    assert "not finite" in sentence


def test_a_rollback_that_helps_ends_well(run):
    wild = {"optimiser": {"name": "adam", "rate": 1.0}, "updates": 25, "steps": 4}
    guard = {"patience": 1, "check": 1, "retries": 12, "cut": 0.05}
    job = run(learning=wild, guard=guard)
    seen = job.learn()
    events = [i.event for _, i in seen if i.event]
    assert 0 < len(events) < 12
    assert seen[-1][0].complete(job.plan)
    assert seen[-1][1].rate < 0.06
    assert seen[-1][0].done(job.plan) == 25 < len(seen)


def test_not_a_number_is_fatal_at_once(run):
    job = run(guard={"patience": 3, "retries": 2})
    state = job.learn(2)[-1][0]
    broken = replace(
        state, weights=map_weights(lambda t: torch.full_like(t, torch.nan), state.weights)
    )
    seen, sentence = _expect_divergence(job, broken)
    assert [bool(i.event) for _, i in seen] == [True, True]
    assert "not finite" in sentence


def test_a_healthy_run_fires_nothing(run):
    job = run(learning={"updates": 30})
    seen = job.learn()
    assert len(seen) == 30
    assert all(i.event is None for _, i in seen)
    assert all(s.strikes == s.rollbacks == 0 and s.rate_scale == 1 for s, _ in seen)


def test_a_linear_top_filter_that_answers_below_zero_is_not_dead(run):
    layers = [
        {"filters": 3, "size": 4, "stride": 2},
        {"filters": 1, "size": "full", "relu": False},
    ]
    job = run(layers=layers, boundary="bounded", canvas=None)
    state = job.learn(1)[-1][0]
    top = state.weights[-1]
    sunk = (*state.weights[:-1], top._replace(b=top.b - 100))
    state, info = job.learn(1, state=replace(state, weights=sunk))[-1]
    assert info.f_synthesized < 0
    assert state.strikes == 0


def test_the_path_holds_the_weights_that_every_other_updates_chains_saw(run):
    job = run(learning={"chains": "restart", "path_every": 2})
    states = [state for state, _ in job.learn(5)]
    assert [len(state.path) for state in states] == [1, 1, 2, 2, 3]
    for kept, seen in zip(states[-1].path[1:], (states[1], states[3]), strict=True):
        assert torch.equal(kept[0].w, seen.weights[0].w.to(torch.bfloat16))


def test_the_average_begins_with_the_first_updates_weights(run):
    first, second = (state for state, _ in run(learning={"averaging": 0.9}).learn(2))
    assert torch.equal(first.average[0].w, first.weights[0].w)
    wanted = first.weights[0].w / 6 + second.weights[0].w * 5 / 6
    torch.testing.assert_close(second.average[0].w, wanted)


def test_a_current_model_can_be_had_at_any_time(run):
    job = run(learning={"averaging": 0.9})
    state = job.learn(3)[-1][0]
    model = current_model(job.plan, state, job.mean)
    assert torch.equal(model.weights[0].w, state.average[0].w)
    assert not torch.equal(model.weights[0].w, state.weights[0].w)
    assert model.boundary == "torus"
    assert model.langevin == job.plan.langevin
