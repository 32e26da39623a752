"""The course of learning: it learns, can be stopped anywhere, and says when it runs away."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice, pairwise

import pytest
import torch

from gcn_cli.engine import Engine
from gcn_cli.errors import DivergenceError
from gcn_cli.field.network import initial_weights
from gcn_cli.field.noise import generator
from gcn_cli.field.optimise import flatten, unflatten
from gcn_cli.texture import learn as course_of
from gcn_cli.texture.learn import begin, model_of
from gcn_cli.texture.plan import make_plan
from gcn_cli.texture.pyramid import enlarge_torus, shrink


@pytest.fixture
def recorded(monkeypatch):
    """Calls (name, arguments) of the engine's two gradients, which they still compute."""
    calls = []
    for name in ("reconstruction", "likelihood"):
        right = getattr(Engine, name)

        def record(self, *given, name=name, right=right):
            calls.append((name, given))
            return right(self, *given)

        monkeypatch.setattr(Engine, name, record)
    return calls


@pytest.fixture
def seen(monkeypatch):
    """Crops, noise and levels (x, noise, s) of every update of an act one that learns nothing."""
    calls = []

    def nothing_to_learn(self, x, noise, s, weights, margin, given=None):
        calls.append((x, noise, s, given))
        return torch.tensor(0.5), [torch.zeros_like(t) for t in weights.tensors()]

    monkeypatch.setattr(Engine, "reconstruction", nothing_to_learn)
    return calls


@pytest.fixture
def broken(monkeypatch):
    """Makes every update of reconstruction a yield and some of their losses another value."""

    def build(value, updates):
        right, count = Engine.reconstruction, iter(range(1, 10**6))
        monkeypatch.setattr(course_of, "BLOCK", 1)

        def loss(self, *given):
            true, gradient = right(self, *given)
            return torch.tensor(value) if next(count) in updates else true, gradient

        monkeypatch.setattr(Engine, "reconstruction", loss)

    return build


def test_the_acts_follow_one_another_at_every_size_and_are_told(course):
    told = [(x.size, x.act, x.update) for x in course.infos]
    acts = [("reconstruction", k) for k in (25, 50)] + [("likelihood", k) for k in (1, 2, 3)]
    assert told == [(size, *act) for size in (2, 1) for act in acts]
    done = [state.done(course.plan) for state in course.states]
    assert done == [25, 50, 51, 52, 53, 78, 103, 104, 105, 106]
    assert [s.complete(course.plan) for s in course.states] == [False] * 9 + [True]
    assert all(x.event is None and x.symptom() is None for x in course.infos)
    assert all((x.loss is None) == (x.act == "likelihood") for x in course.infos)
    assert [len(s.models()) for s in course.states] == [1] * 4 + [2] * 6


def mean(values):
    return sum(values) / len(values)


def test_the_loss_of_reconstruction_falls(learned):
    losses = [x.loss for x in learned.infos if x.loss is not None]
    assert losses[0] > 0.9  # 1: nothing explained
    assert losses[-1] < 0.75


def likelihood_infos(course):
    return [x for x in course.infos if x.act == "likelihood"]


def test_after_likelihood_the_chains_spread_as_the_data_and_no_gap_is_left(learned):
    infos = likelihood_infos(learned)[-8:]
    assert abs(mean([x.gap for x in infos])) < 0.1
    assert 0.9 < mean([x.spread for x in infos]) < 1.1


def test_likelihood_mends_votes_that_are_too_weak(learned, run):
    """f of the chains is smaller than of the data, and ascending the gap closes it."""
    start = next(s for s in learned.states if s.act == "likelihood" and s.update == 0)
    like = initial_weights(learned.plan.net, generator(0, "shapes"))
    weights = unflatten(start.weights, like)
    weak = flatten(weights._replace(votes=tuple(0.3 * v for v in weights.votes)).tensors())
    recipe = learned.plan.recipe.model_copy(
        update={"likelihood": learned.plan.recipe.likelihood.model_copy(update={"vote_rate": 1e-1})}
    )
    infos = likelihood_infos(
        run(recipe, learned.observed, replace(start, weights=weak, average=weak))
    )
    gaps = [x.gap for x in infos]
    assert mean(gaps[:3]) > 0.1
    assert abs(mean(gaps[-6:])) < 0.5 * mean(gaps[:3])


@pytest.mark.parametrize("k", range(9))
def test_stopped_after_any_yield_it_goes_on_with_equal_numbers(k, course, run, recipe):
    state = course.states[k]
    end = run(course.plan.recipe, course.observed, state).states[-1]
    last = course.states[-1]
    assert torch.equal(end.weights, last.weights)
    assert all(torch.equal(a, b) for a, b in zip(end.models(), last.models(), strict=True))
    assert torch.equal(end.moments.second, last.moments.second)


def test_a_complete_state_is_left_as_it_is(course, machine):
    state = course.states[-1]
    assert list(course_of.learn(course.plan, course.observed, state, machine)) == []


def test_every_act_starts_from_the_averaged_weights_of_the_one_before(course, recipe, run):
    for k, act in ((1, (0, "likelihood", 0)), (4, (1, "reconstruction", 0))):
        entered = course.states[k]  # the last yield of an act: moved on
        assert (entered.size, entered.act, entered.update) == act
        assert torch.equal(entered.weights, entered.average)
        assert not torch.equal(entered.weights, course.states[k - 1].weights)
        assert not entered.moments.first.any()
        assert entered.moments.count == 0
    assert torch.equal(course.states[4].finished[0], course.states[4].weights)
    assert torch.equal(course.states[-1].finished[0], course.states[4].weights)
    without = recipe(
        sizes={"coarsest": 2},
        reconstruction={"finer_updates": 1},
        likelihood={"updates": 0, "finer_updates": 0},
    )
    first = run(without, course.observed).states[-1].finished[0]  # the averaged weights of act one
    assert torch.equal(course.states[1].weights, first)


def test_what_was_learned_are_the_running_means(course):
    model = model_of(course.plan, course.states[-1], torch.zeros(1, 1, 1), 3.0)
    assert [size.reduction for size in model.sizes] == [2, 1]
    assert model.contrast == 3.0
    last = unflatten(course.states[-1].average, model.sizes[1].weights)
    for a, b in zip(model.sizes[1].weights.tensors(), last.tensors(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(course.states[-1].average, course.states[-1].weights)


def test_the_rate_rises_at_first_and_falls_in_the_end(recipe, blurred, run, monkeypatch):
    monkeypatch.setattr(course_of, "BLOCK", 1)
    given = recipe(
        reconstruction={"updates": 60, "crop": 16, "margin": 4},
        likelihood={"updates": 0, "finer_updates": 0},
    )
    rates = [x.rate for x in run(given, blurred(2.0)).infos]
    top = max(range(60), key=lambda k: rates[k])
    assert 20 < top < 40
    assert all(a < b for a, b in pairwise(rates[: top + 1]))
    assert all(a > b for a, b in pairwise(rates[top:]))
    assert rates[-1] == pytest.approx(0.01, rel=1e-6)


def test_act_one_sees_mirrored_windows_of_its_size_at_levels_of_its_ladder(
    seen, recipe, blurred, run
):
    given = recipe(
        sizes={"coarsest": 2},
        reconstruction={"updates": 8, "finer_updates": 8, "batch": 250, "crop": 16, "margin": 4},
        likelihood={"updates": 0, "finer_updates": 0},
    )
    run(given, 0.1 * blurred(2.0) + 5)
    x, noise, s = (torch.stack(each) for each in list(zip(*seen, strict=True))[:3])
    coarse, fine = s[:8].flatten(), s[8:].flatten()
    assert x.min() > 4  # nothing but the image: no zeros beyond its frame
    assert x[8:].std() > x[:8].std()
    assert abs(noise.mean()) < 5 / math.sqrt(noise.numel())
    assert abs(noise.var() - 1) < 5 * math.sqrt(2 / noise.numel())
    assert len(noise.flatten().unique()) > 0.99 * noise.numel()
    logs = coarse.log()
    assert abs(logs.mean() + 0.2) < 5 * 1.3 / math.sqrt(len(logs))
    assert abs(logs.std() - 1.3) < 5 * 1.3 / math.sqrt(2 * len(logs))
    assert 0.02 <= coarse.min() < 0.1
    assert 5 < coarse.max() <= 20
    assert 0.02 <= fine.min() < 0.03
    assert 1.5 < fine.max() <= 2.0  # twice the level that finer chains start from
    uniform = ((fine / 0.02).log() / math.log(100)).sort().values
    assert (uniform - torch.linspace(0, 1, len(fine))).abs().max() < 2 / math.sqrt(len(fine))


def test_a_finer_size_is_given_the_coarser_picture_of_its_own_crop_under_its_noise(
    seen, recipe, blurred, run
):
    for noise in (0.0, 0.3):
        seen.clear()
        told = recipe(
            sizes={"coarsest": 2},
            noise={"given": noise},
            reconstruction={"updates": 1, "finer_updates": 8, "batch": 50, "crop": 16, "margin": 4},
            likelihood={"updates": 0, "finer_updates": 0},
        )
        run(told, blurred(2.0))
        assert seen[0][3] is None  # nothing is coarser than the coarsest
        x, given = (torch.cat([call[k] for call in seen[1:]]) for k in (0, 3))
        left = (x - given)[..., 4:-4, 4:-4]  # the mirror of a reduction is none of the mirror's
        assert left.std() == pytest.approx(0.85 * noise, rel=0.1, abs=0.07)
        assert left[..., 1:].flatten() @ left[..., :-1].flatten() >= 0.5 * noise * left.norm() ** 2


def test_act_two_sets_what_is_given_beside_either(recorded, recipe, blurred, run):
    told = recipe(
        sizes={"coarsest": 2},
        noise={"given": 0.0},
        reconstruction={"updates": 1, "finer_updates": 1},
    )
    run(told, blurred(2.0))
    calls = [call for name, call in recorded if name == "likelihood"]
    coarse, fine = calls[: 3 * 3], calls[3 * 3 :]
    assert len(fine) == 3 * 3
    assert all(call[5] is None for call in coarse)
    for observed, chains, s, _, _, (known, below) in fine:
        assert known.shape == observed.shape
        assert below.shape == chains.shape
        noise = (observed - known).std() / s  # the exemplar's own coarser picture, less its noise
        assert noise == pytest.approx(1, abs=0.1 + 0.08 / float(s))
        again = enlarge_torus(shrink(below, 0.5), 2)  # enlarged: nothing fine is lost on the way
        assert (again - below).std() < 0.5 * below.std()
        assert (again - below).std() < 0.6 * (enlarge_torus(shrink(chains, 0.5), 2) - chains).std()


def test_the_mirror_is_only_looked_at_and_every_pixel_is_learned(seen, recipe, run):
    """In the image of its own row numbers a mirrored row stands out."""
    rows = torch.arange(64.0)[:, None].expand(1, 1, 64, 64)
    given = recipe(
        reconstruction={"updates": 8, "batch": 250, "crop": 16, "margin": 4},
        likelihood={"updates": 0},
    )
    run(given, rows)
    crops = torch.cat([x for x, *_ in seen])[:, 0, :, 0]
    counted = crops[:, 4:-4]
    assert (counted.diff() == 1).all()
    assert sorted(set(counted.flatten().tolist())) == list(range(64))
    assert (crops.diff() == -1).any()  # control: the mirror is in view


def test_act_two_compares_the_blurred_exemplar_with_its_own_chain_at_its_own_levels(
    recorded, recipe, blurred, run, monkeypatch
):
    monkeypatch.setattr(course_of, "_WORST_SPREAD", math.inf)
    given = recipe(reconstruction={"updates": 1}, likelihood={"updates": 6, "levels": 4})
    course = run(given, 1e-3 * blurred(2.0))  # so faint that observed images are their noise
    assert all(x.spread > 10 for x in course.infos if x.act == "likelihood")
    calls = [given for name, given in recorded if name == "likelihood"]
    ladder = given.levels(0)[1:].float().tolist()
    asked = [float(s) for _, _, s, *_ in calls]
    assert len(asked) == 6 * 4
    assert all(len(set(asked[k : k + 4])) == 4 for k in range(0, 24, 4))
    assert 6 < len(set(asked)) <= len(ladder)  # chosen anew at every update
    assert set(asked) <= set(ladder)
    for observed, chains, s, _, margin, _ in calls:
        assert margin == 5  # half of the field of view
        assert observed.shape == (1, 1, 26, 26)  # a canvas and its margin
        assert chains.shape == (2, 1, 16, 16)
        assert float(observed.std() / s) == pytest.approx(1, abs=5 / math.sqrt(2 * 26**2))
        if s > 2:  # noise outweighs what the field makes of it
            assert float(chains.std() / s) == pytest.approx(1, abs=0.4)
    observed = torch.stack([given[0] / given[2] for given in calls]).flatten(1)
    alike = torch.corrcoef(observed) - torch.eye(24)
    assert alike.abs().max() < 6 / 26  # noise of its own for every level and update


def test_one_climb_raises_the_likelihood_of_the_exemplar_against_the_chains(
    recorded, recipe, blurred, run, machine
):
    given = recipe(likelihood={"updates": 1, "levels": 6})
    course = run(given, blurred(2.0))
    before, after = course.states[-2].weights, course.states[-1].weights
    calls = [given for name, given in recorded if name == "likelihood"]
    engine, like = Engine(course.plan.net, machine.device, machine.dtype), calls[0][3]

    def gap(vector):
        weights = unflatten(vector, like)
        gaps = [engine.likelihood(y, chains, s, weights, m)[0] for y, chains, s, _, m, _ in calls]
        return float(torch.stack(gaps).mean())

    assert gap(before) == pytest.approx(course.infos[-1].gap, rel=1e-5)
    assert gap(after) > gap(before) + 1e-4


def test_votes_climb_at_a_rate_of_their_own(recipe, blurred, run):
    """The first step of Adam is as long as its rate wherever the gradient is not 0."""
    given = recipe(
        reconstruction={"updates": 2},
        likelihood={"updates": 1, "rate": 1e-4, "vote_rate": 3e-3},
    )
    course = run(given, blurred(2.0))
    before, after = (s.weights for s in course.states[-2:])
    moved = unflatten((after - before).abs(), course.model.sizes[0].weights)
    factor = moved.filters[0].max() / 1e-4
    assert 0.1 < factor <= 1
    for v in moved.votes:
        assert float(v.max()) == pytest.approx(3e-3 * float(factor), rel=0.05)
    for other in (*moved.filters, *moved.mixers, moved.rest):
        assert float(other.max()) == pytest.approx(1e-4 * float(factor), rel=0.05)


def test_another_seed_is_another_course(recipe, blurred, machine):
    given = recipe(
        reconstruction={"updates": 1, "crop": 16}, likelihood={"updates": 0, "finer_updates": 0}
    )
    plans = [make_plan(given, blurred(2.0), seed) for seed in (0, 0, 1)]
    ends = [
        list(course_of.learn(p, blurred(2.0), begin(p, machine.device), machine))[-1][0].weights
        for p in plans
    ]
    assert torch.equal(ends[0], ends[1])
    assert not torch.allclose(ends[0], ends[2], atol=1e-2)


def test_a_value_that_is_not_finite_rolls_back_and_halves_the_rate(broken, recipe, blurred, run):
    broken(math.nan, {15})
    given = recipe(
        reconstruction={"updates": 20, "crop": 16, "margin": 4},
        likelihood={"updates": 0, "finer_updates": 0},
    )
    course = run(given, blurred(2.0))
    events = [(k, x.event) for k, x in enumerate(course.infos) if x.event]
    ((k, event),) = events
    assert k == 14
    assert event == (
        "size 1/1, reconstruction, update 15: a value is not finite; "
        "back to update 10, rate times 0.5"
    )
    assert torch.equal(course.states[14].weights, course.states[9].weights)
    assert course.states[-1].rate_scale == 0.5
    assert course.states[-1].complete(course.plan)
    assert len(course.infos) == 20 + 5
    assert course.infos[15].rate == pytest.approx(course.infos[10].rate / 2)


def test_three_bad_losses_in_a_row_roll_back_two_do_not(broken, recipe, blurred, run):
    broken(2.5, {2, 3, 5, 6, 7})
    given = recipe(
        reconstruction={"updates": 9, "crop": 16, "margin": 4},
        likelihood={"updates": 0, "finer_updates": 0},
    )
    events = [(k, x.event) for k, x in enumerate(run(given, blurred(2.0)).infos) if x.event]
    ((k, event),) = events
    assert k == 6
    assert "the loss of reconstruction rose to 2.5; back to update 0, rate times 0.5" in event


def test_chains_that_run_away_from_the_data_are_a_symptom(course):
    info = course.infos[2]
    assert info.symptom() is None
    assert "spread 3.5 times as wide" in replace(info, spread=3.5).symptom()
    assert "spread 0.3 times as wide" in replace(info, spread=0.3).symptom()
    assert replace(info, gap=math.inf).symptom() == "a value is not finite"
    assert replace(info, spread=math.nan).symptom() == "a value is not finite"


def test_after_five_repairs_it_gives_up_with_a_sentence(broken, recipe, blurred, machine):
    broken(math.nan, range(3, 10**6))
    given = recipe(
        reconstruction={"updates": 20, "crop": 16, "margin": 4},
        likelihood={"updates": 0, "finer_updates": 0},
    )
    plan, events = make_plan(given, blurred(2.0)), []
    course = course_of.learn(plan, blurred(2.0), begin(plan, machine.device), machine)
    sentence = "learning diverged at size 1/1, reconstruction, update 1: a value is not finite"
    with pytest.raises(DivergenceError, match=sentence):
        events.extend(info.event for _, info in islice(course, 100) if info.event)
    assert len(events) == 5
    assert events[-1].endswith("rate times 0.03125")


def test_resumed_after_a_repair_it_keeps_the_lower_rate(broken, recipe, blurred, run):
    broken(math.nan, {12})
    given = recipe(
        reconstruction={"updates": 16, "crop": 16, "margin": 4},
        likelihood={"updates": 0, "finer_updates": 0},
    )
    course = run(given, blurred(2.0))
    again = run(given, blurred(2.0), course.states[12])
    assert again.states[0].rate_scale == 0.5
    assert torch.equal(again.states[-1].weights, course.states[-1].weights)
