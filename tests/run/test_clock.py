"""Time left, of a played clock."""

from __future__ import annotations

import pytest

from gcn_cli.run.clock import Clock, clock_text
from gcn_cli.run.field_cost import update_cost
from gcn_cli.run.plan import Subject, build_plan


def _clock(*times):
    """A clock that reads these seconds, one after the other."""
    played = iter([0.0, *times])
    return Clock(read=lambda: next(played))


def test_time_left_is_the_work_ahead_at_the_speed_so_far():
    clock = _clock(2.0, 3.0)
    clock.add("", 10)
    clock.add("", 5)
    assert clock.elapsed == 3.0
    assert clock.left({"": 30}) == pytest.approx(30 * 3 / 15)
    assert clock.left({"": 0}) == 0
    assert clock.left({}) == 0


def test_acts_go_at_speeds_of_their_own():
    clock = _clock(2.0, 10.0)
    clock.add("one", 10)
    assert clock.left({"one": 5, "two": 5}) == pytest.approx(2.0)  # nothing known of two
    clock.add("two", 10)
    assert clock.left({"one": 5, "two": 5}) == pytest.approx(5 * 0.2 + 5 * 0.8)
    assert clock.left({"three": 10}) == pytest.approx(10 * 10 / 20)


def test_an_update_costs_more_the_more_it_sees(small_config):
    plan = build_plan(
        small_config(learning={"grow": True, "updates": 20}), Subject(1, 48, 60, 40.0)
    )
    costs = [update_cost(plan, 1, (n, 1, 48, 60)) for n in (1, 2, 3)]
    assert costs[0] < costs[1] < costs[2]
    assert costs[2] - costs[1] == pytest.approx(costs[1] - costs[0])
    assert update_cost(plan, 0, (1, 1, 48, 60)) < costs[0]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (75, "1m15s"), (3720, "1h02m"), (-3, "0s")]
)
def test_clock_text(seconds, text):
    assert clock_text(seconds) == text
