"""Descents of a density whose one mode is known: white noise, whose mode is 0."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.report.modes import find_modes


def test_all_descents_end_at_the_one_mode(white_field, noise):
    x = noise(1, 2, 24, 24)
    told = find_modes(white_field, 2, x, [1.0, 0.5], steps=50)
    contrast = float(x.std())
    first, second = told.levels
    assert (first.modes, first.arrived, first.starts) == (1, 5, 5)
    assert float(first.ends.abs().max()) < 1e-6
    whole = first.descents[0]  # D = y / (1 + s^2): half of y is left at every step
    rms = float(x.square().mean().sqrt()) / contrast
    assert whole.error[0] == pytest.approx(0.5 * rms, rel=1e-4)
    assert whole.error[1] == pytest.approx(0, abs=1e-6)
    assert whole.moved == pytest.approx(rms, rel=1e-4)
    assert whole.away == pytest.approx((0, 0, rms), rel=1e-4, abs=1e-6)
    assert second.descents[0].error[0] == pytest.approx(0.2 * rms, rel=1e-4)


def test_recall_is_measured_where_it_was_spoiled(white_field, noise):
    x = noise(1, 2, 24, 24)
    told = find_modes(white_field, 1, x, [1.0], steps=5)
    covered, noisy = told.levels[0].descents[1:3]
    hole = float(x[..., 8:16, 8:16].square().mean().sqrt() / x.std())
    assert covered.away[0] == pytest.approx(hole, rel=1e-4)
    assert covered.away[2] == pytest.approx(hole, rel=1e-4)  # 0 is where it was put, and the mode
    assert noisy.away[0] == pytest.approx(0.5, abs=0.05)
    # x + n shrunk by k is |k n - (1 - k) x|: least at k = 1 / (1 + 1/4), nearest on the way: 1
    assert noisy.nearest_step == 0
    assert told.sentence.startswith("recall at 1/1: with noise 5")


def test_few_steps_reach_no_mode(white_field, noise):
    told = find_modes(white_field, 1, noise(1, 2, 24, 24), [0.5], steps=2).levels[0]
    assert told.arrived == 0
    assert told.modes >= 3


def test_nothing_sees_the_frame(random_field, noise):
    """A step in the mirrored surround is the same where the surround is wider."""
    x = noise(1, 2, 16, 16)
    told = find_modes(random_field, 1, x, [0.5], steps=1).levels[0].ends[:1]
    a, s = 2 * random_field.margin, torch.tensor([0.5])
    wide = torch.nn.functional.pad(x, (15,) * 4, mode="reflect")[..., 3:-3, 3:-3]  # 12 px, even
    z = wide / 1.25**0.5
    with torch.no_grad():
        h = random_field.net.gradient(z, s, random_field.weights, "frame")
    wanted = (wide / 1.25 + 0.5 / 1.25**0.5 * h)[..., 12:-12, 12:-12]
    assert a >= 12 >= random_field.net.reach
    torch.testing.assert_close(told, wanted, rtol=1e-4, atol=1e-4)
