"""Time left, and what is left out when a run is late; the clock is played."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gcn_cli.clock import (
    Clock,
    clock_text,
    matching_cost,
    matching_draw_cost,
    plan_cost,
    pool_cost,
    update_cost,
)
from gcn_cli.core.guard import StepInfo
from gcn_cli.core.matching import MatchInfo
from gcn_cli.core.schedule import begin
from gcn_cli.plan import Subject, build_plan

SHAPE = (1, 1, 48, 60)
UPDATE = StepInfo(0, 0, 0, 20, 0.1, 0.1, 3.0, 40.0, 40.0, (0.5,), 1e-3)
MATCH = MatchInfo(0, 0, 4, 1.0, 40.0, 40.0)


@pytest.fixture
def course(small_config, small_level):
    learning = {"chains": "restart", "updates": 20}
    levels = [small_level(2, learning=learning), small_level(1, learning=learning)]
    config = small_config(*levels, budget=100)
    return config, build_plan(config, Subject(1, 48, 60, 40.0))


def _at(seconds, plan, updates):
    """A clock that stands at ``seconds`` after some updates of the first level."""
    times = iter([0.0])
    clock = Clock(SHAPE, read=lambda: next(times, seconds))
    for _ in range(updates):
        clock.add(plan, UPDATE)
    return clock


def test_time_left_is_the_work_ahead_at_the_speed_so_far(course):
    _, plan = course
    costs = [update_cost(level, 0, SHAPE) for level in plan.levels]
    clock = _at(10.0, plan, 5)
    state = replace(begin(), update=5, weights=())
    expected = 10.0 * (15 * costs[0] + pool_cost(plan, 1) + 20 * costs[1]) / (5 * costs[0])
    assert clock.left(plan, state) == pytest.approx(expected)


def test_a_late_run_leaves_out_updates_of_the_levels_ahead(course):
    config, plan = course
    between = replace(begin(), level=1)
    clock = _at(60.0, plan, 20)
    left = clock.left(plan, between)
    assert left > 41
    shorter = clock.shortened(config, plan, between)
    assert shorter is not None
    updates = [level.learning.updates for level in shorter.levels]
    assert updates == [20, round(20 * 40 / left)]
    assert shorter.levels[0] == config.levels[0]
    again = build_plan(shorter, Subject(1, 48, 60, 40.0))
    assert 60 + clock.left(again, between) == pytest.approx(100, rel=0.1)


def test_matching_paths_count_as_work(small_config, small_level):
    matching = {"stages": 4, "count": 3, "filters": 8}
    level = small_level(learning={"chains": "restart", "updates": 20}, matching=matching)
    plan = build_plan(small_config(level, budget=100), Subject(1, 48, 60, 40.0))
    update, stage = update_cost(plan.levels[0], 0, SHAPE), matching_cost(plan.levels[0])
    draw = matching_draw_cost(plan, 0)
    assert min(update, stage, draw) > 0
    clock = _at(10.0, plan, 5)
    state = replace(begin(), update=5, weights=(None,))
    ahead = 15 * update + draw + 4 * stage
    assert clock.left(plan, state) == pytest.approx(10 * ahead / (5 * update))
    clock = _at(10.0, plan, 20)
    clock.add(plan, MATCH)
    state = replace(state, update=20, matching=(None,))
    assert clock.left(plan, state) == pytest.approx(10 * 3 * stage / (20 * update + draw + stage))


def test_samples_that_levels_start_from_count_as_work(small_config, small_level):
    """The finer level's pool, and what both matching paths begin with."""
    matching = {"stages": 4, "count": 3, "filters": 8}
    learning = {"chains": "restart", "updates": 20}
    levels = [small_level(r, learning=learning, matching=matching) for r in (2, 1)]
    plan = build_plan(small_config(*levels), Subject(1, 48, 60, 40.0))
    assert pool_cost(plan, 0) == 0 < pool_cost(plan, 1)
    assert matching_draw_cost(plan, 1) > matching_draw_cost(plan, 0) > 0
    own = sum(20 * update_cost(level, 0, SHAPE) + 4 * matching_cost(level) for level in plan.levels)
    drawn = pool_cost(plan, 1) + matching_draw_cost(plan, 0) + matching_draw_cost(plan, 1)
    assert plan_cost(plan, SHAPE) == pytest.approx(own + drawn)
    begun = _at(10.0, plan, 1)
    assert begun.left(plan, replace(begin(), update=1, weights=(None,))) == pytest.approx(
        10 * (own + drawn - begun.work) / begun.work
    )
    between = _at(10.0, plan, 20)
    for stage in range(4):
        between.add(plan, replace(MATCH, update=stage))
    rest = 20 * update_cost(plan.levels[1], 0, SHAPE) + 4 * matching_cost(plan.levels[1])
    rest += pool_cost(plan, 1) + matching_draw_cost(plan, 1)
    assert between.work + rest == pytest.approx(own + drawn)
    assert between.left(plan, replace(begin(), level=1)) == pytest.approx(10 * rest / between.work)


def test_a_late_run_shortens_the_matching_paths_ahead(small_config, small_level):
    learning = {"chains": "restart", "updates": 20}
    matching = {"stages": 8, "count": 3, "filters": 8}
    levels = [small_level(r, learning=learning, matching=matching) for r in (2, 1)]
    config = small_config(*levels, budget=100)
    plan = build_plan(config, Subject(1, 48, 60, 40.0))
    shorter = _at(500.0, plan, 20).shortened(config, plan, replace(begin(), level=1))
    assert shorter is not None
    assert [level.matching.stages for level in shorter.levels] == [8, 2]


def test_a_hopeless_run_keeps_a_quarter(course):
    config, plan = course
    shorter = _at(500.0, plan, 20).shortened(config, plan, replace(begin(), level=1))
    assert shorter is not None
    assert [level.learning.updates for level in shorter.levels] == [20, 5]


def test_a_shortened_level_takes_larger_steps(course):
    """A quarter of the updates is what a pace of 0.25 leaves: twice the rate, as there."""
    config, plan = course
    shorter = _at(500.0, plan, 20).shortened(config, plan, replace(begin(), level=1))
    assert shorter is not None
    before, after = ([lv.learning.optimiser.rate for lv in c.levels] for c in (config, shorter))
    assert after == pytest.approx([before[0], 2 * before[1]])
    for pace, more in ((0.4, 2 / 1.25), (0.25, 1)):  # never more than twice in all
        paced = config.model_copy(update={"pace": pace})
        shorter = _at(500.0, plan, 20).shortened(paced, plan, replace(begin(), level=1))
        assert shorter is not None
        assert shorter.levels[1].learning.optimiser.rate == pytest.approx(more * before[1])


def test_a_run_in_time_and_a_run_within_a_level_go_on_as_they_are(course):
    config, plan = course
    between = replace(begin(), level=1)
    assert _at(5.0, plan, 20).shortened(config, plan, between) is None
    late = _at(500.0, plan, 20)
    assert late.shortened(config.model_copy(update={"budget": 0.0}), plan, between) is None
    within = replace(between, weights=(None,))
    assert late.shortened(config, plan, within) is None


def test_an_update_costs_more_the_more_it_sees(course):
    _, plan = course
    level = plan.levels[1]
    costs = [update_cost(level, 0, (n, 1, 48, 60)) for n in (1, 2, 3)]
    assert costs[0] < costs[1] < costs[2]
    assert costs[2] - costs[1] == pytest.approx(costs[1] - costs[0])
    huge = [update_cost(level, 0, (1, 1, side, side)) for side in (1000, 4000)]
    assert huge[0] == huge[1]  # a glimpse bounds it


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (75, "1m15s"), (3720, "1h02m"), (-3, "0s")]
)
def test_clock_text(seconds, text):
    assert clock_text(seconds) == text
