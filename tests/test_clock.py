"""Time left, of a played clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gcn_cli.clock import Clock, clock_text, update_cost
from gcn_cli.core.guard import StepInfo
from gcn_cli.core.schedule import begin
from gcn_cli.plan import Subject, build_plan

SHAPE = (1, 1, 48, 60)
UPDATE = StepInfo(0, 0, 20, 0.1, 0.1, 3.0, 40.0, 40.0, (0.5,), 1e-3)


@pytest.fixture
def plan(small_config):
    """Two stages of 20 updates."""
    config = small_config(learning={"grow": True, "updates": 20})
    return build_plan(config, Subject(1, 48, 60, 40.0))


def _at(seconds, plan, *stages):
    """A clock that stands at ``seconds`` after an update of each of these stages."""
    times = iter([0.0])
    clock = Clock(SHAPE, read=lambda: next(times, seconds))
    for stage in stages:
        clock.add(plan, replace(UPDATE, stage=stage))
    return clock


def test_time_left_is_the_work_ahead_at_the_speed_so_far(plan):
    first, second = (update_cost(plan, stage, SHAPE) for stage in (0, 1))
    assert first < second
    clock = _at(10.0, plan, *[0] * 5)
    expected = 10.0 * (15 * first + 20 * second) / (5 * first)
    assert clock.left(plan, replace(begin(), update=5)) == pytest.approx(expected)
    clock = _at(30.0, plan, 0, 1, 1)
    expected = 30.0 * 18 * second / (first + 2 * second)
    assert clock.left(plan, replace(begin(), stage=1, update=2)) == pytest.approx(expected)
    assert clock.left(plan, replace(begin(), stage=1, update=20)) == 0


def test_an_update_costs_more_the_more_it_sees(plan):
    costs = [update_cost(plan, 1, (n, 1, 48, 60)) for n in (1, 2, 3)]
    assert costs[0] < costs[1] < costs[2]
    assert costs[2] - costs[1] == pytest.approx(costs[1] - costs[0])


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (75, "1m15s"), (3720, "1h02m"), (-3, "0s")]
)
def test_clock_text(seconds, text):
    assert clock_text(seconds) == text
