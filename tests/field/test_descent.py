"""Descents to modes of a density whose modes are known: two wells on every pixel, at -1 and 1."""

from __future__ import annotations

import math

import pytest
import torch

from gcn_cli.field.descent import descend, distances, distinct, spoil


def _wells(y):
    """E[x | y] of x = -1 or 1 under noise of level 0.5: its fixed points are the modes."""
    return torch.tanh(y / 0.25)


def _signs(n=3, side=12):
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 2, (n, 1, side, side), generator=rng).double() * 2 - 1


def test_a_descent_ends_at_its_own_reconstruction():
    x = 0.3 * _signs()
    *_, last = descend(_wells, x, 60)
    assert last.step == 60
    assert float(distances(last.images, last.reconstructions).max()) < 1e-12
    assert float((last.images.abs() - 1).abs().max()) < 1e-2
    assert [m.step for m in descend(_wells, x, 60)] == [0, 1, 2, 5, 10, 20, 50, 60]


def test_a_share_of_the_way_is_gone():
    first, second = list(descend(_wells, 0.3 * _signs(), 1, share=0.25))
    wanted = first.images + 0.25 * (first.reconstructions - first.images)
    torch.testing.assert_close(second.images, wanted)


def test_what_is_recalled_is_what_was_spoiled():
    x = _signs()
    noisy = spoil(x, "noise", torch.Generator().manual_seed(1), 0.3)
    assert float(distances(noisy, x).mean()) == pytest.approx(0.3 * float(x.std()), rel=0.1)
    *_, last = descend(_wells, noisy, 40)
    assert float(distances(last.images, x).max()) < 1e-2
    holed = spoil(x, "hole", torch.Generator())
    assert float(distances(holed, x)[0]) == pytest.approx(1 / 3)
    *_, last = descend(_wells, holed, 40)  # 0 is a saddle, where a hole stays
    assert float(distances(last.images, x)[0]) == pytest.approx(1 / 3, abs=1e-3)
    assert torch.equal(spoil(x, "whole", torch.Generator()), x)


def test_distinct_modes_are_counted():
    x = _signs(2)
    starts = torch.cat([0.9 * x, 0.2 * x, 0.5 * x[:1]])
    assert distinct(starts, 1e-3) == 5
    *_, last = descend(_wells, starts, 60)
    assert distinct(last.images, 1e-3) == 2
    assert distinct(last.images, math.inf) == 1
