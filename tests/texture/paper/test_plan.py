"""The rate of learning along a stage."""

from __future__ import annotations

import math

import pytest

from gcn_cli.field.ascent import AdamParams
from gcn_cli.texture.paper.plan import LearningParams, rate_factor


def _learning(updates, fall):
    return LearningParams(updates, 1, "data", AdamParams(1.0), fall=fall)


def test_rate_falls_along_half_a_cosine():
    params = _learning(10, 0.2)
    assert rate_factor(params, 0) == pytest.approx(1.0)
    assert rate_factor(params, 5) == pytest.approx(0.6)
    assert rate_factor(params, 10) == pytest.approx(0.2)
    course = [rate_factor(params, k) for k in range(11)]
    assert course == sorted(course, reverse=True)
    assert rate_factor(params, 1) == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 10)) / 2)
    assert all(rate_factor(_learning(10, 1.0), k) == 1 for k in range(11))


def test_rate_rises_linearly_while_warming_up():
    warm = LearningParams(100, 1, "restart", AdamParams(1e-3), warmup=4)
    course = [rate_factor(warm, k) for k in range(6)]
    assert course == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
