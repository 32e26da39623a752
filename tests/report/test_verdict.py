"""The verdict on the density, by what is known of equations and of long chains."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gcn_cli.field.moments import Equation
from gcn_cli.report.certificate import LevelEquations
from gcn_cli.report.verdict import equations_text, judge_density


def _level(distance, error, s=0.3):
    return LevelEquations(4, s, {"votes": Equation(distance, error)})


def _stay(stays=True, rhat=1.02):
    return SimpleNamespace(stays=stays, rhat=rhat, sentence="a long chain did so")


FINE = [_level(0.02, 0.02), _level(0.04, 0.01, 1.0)]  # 4 errors off, but less than 5 %


@pytest.mark.parametrize(
    ("equations", "stays", "kind"),
    [
        (FINE, [_stay()], "calibrated"),
        (FINE, [], "undecided"),
        (FINE, [_stay(rhat=1.5)], "undecided"),
        (FINE, [_stay(stays=False)], "short-run"),
        ([*FINE, _level(0.2, 0.02)], [_stay()], "short-run"),
        ([*FINE, _level(0.2, 0.02)], [], "short-run"),
        ([*FINE, _level(0.2, 0.15)], [_stay()], "calibrated"),  # no more than error
        (FINE, [_stay(), _stay()], "calibrated"),
        (FINE, [_stay(), _stay(rhat=1.5)], "undecided"),  # one size is enough
        (FINE, [_stay(rhat=1.5), _stay(stays=False)], "short-run"),
        ([], [_stay()], "undecided"),
        ([], [_stay(stays=False)], "short-run"),
    ],
)
def test_the_rule(equations, stays, kind):
    told = judge_density(equations, stays)
    assert told.kind == kind
    assert told.sentence.endswith(".")


def test_the_verdict_says_why():
    told = judge_density([*FINE, _level(0.2, 0.02, 0.77)], []).sentence
    assert "20 % off the exemplar's (s = 0.77 at 1/4, 10.0 errors)" in told
    assert "--long 500 tells" in judge_density(FINE, []).sentence


def test_the_certificate_in_a_line():
    told = equations_text(FINE)
    assert "at 1 of 2 levels; widest 4 % beyond the error, s = 1 at 1/4" in told
    assert equations_text([]).startswith("moments: not told")
