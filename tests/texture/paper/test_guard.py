"""Signs of divergence in one update's figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gcn_cli.texture.paper.guard import GuardParams, StepInfo, fatal, symptom

HEALTHY = StepInfo(
    stage=0,
    update=3,
    updates=10,
    f_observed=1.2,
    f_synthesized=1.0,
    spread_basis=30.0,
    spread_chains=45.0,
    spread_data=40.0,
    active=(0.5, 0.3),
    rate=1e-3,
)
SIGMA = 20.0


def test_a_healthy_update_has_no_symptom():
    assert symptom(HEALTHY, SIGMA, GuardParams()) is None
    assert HEALTHY.gap == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("change", "words", "at_once"),
    [
        ({"f_observed": float("nan")}, "not finite", True),
        ({"f_synthesized": float("inf")}, "not finite", True),
        ({"spread_chains": float("nan")}, "not finite", True),
        ({"active": (0.5, 0.0)}, "dead", False),
        ({"spread_basis": 0.0}, "dead", False),
        ({"f_observed": 100.0}, "ran away", False),
        ({"f_synthesized": 100.0}, "ran away", False),
        ({"spread_chains": 181.0}, "spread over", False),
    ],
)
def test_each_way_of_diverging_is_named(change, words, at_once):
    phrase = symptom(replace(HEALTHY, **change), SIGMA, GuardParams())
    assert phrase is not None
    assert words in phrase
    assert fatal(phrase) == at_once


def test_without_a_guard_only_what_is_not_finite_is_told():
    off = GuardParams(enabled=False)
    for change in ({"active": (0.5, 0.0)}, {"f_observed": 1e9}, {"spread_chains": 1e9}):
        assert symptom(replace(HEALTHY, **change), SIGMA, GuardParams()) is not None
        assert symptom(replace(HEALTHY, **change), SIGMA, off) is None
    assert symptom(replace(HEALTHY, f_observed=float("nan")), SIGMA, off) is not None


def test_limits_are_relative_to_the_data_and_adjustable():
    wide = replace(HEALTHY, spread_chains=181.0)
    assert symptom(wide, SIGMA, GuardParams(spread=4.0)) is None
    # 1.5 (spread^2 / sigma^2 + 1) = 7.5 nats per pixel
    edge = replace(HEALTHY, f_observed=1.0 + 14.9)
    assert symptom(edge, SIGMA, GuardParams()) is None
    assert symptom(edge, SIGMA, GuardParams(gap=1.9)) is not None
    assert symptom(replace(HEALTHY, active=(0.0, 0.3)), SIGMA, GuardParams()) is None
