"""Spot noise has the exemplar's spectrum, on canvases of any size."""

from __future__ import annotations

import math

import pytest
import torch

from gcn_cli.core.noise import NoiseSource
from gcn_cli.core.spot import make_spot, spot_noise


def _draw(spot, shape, seed=0, chains=None):
    noise = NoiseSource(seed, chains or range(shape[0]), torch.device("cpu"))
    return spot_noise(spot, torch.empty(shape), noise)


@pytest.fixture
def colours():
    """Two colours (1, 2, 24, 20), the second one tied to the first."""
    rng = torch.Generator().manual_seed(1)
    first = 30 * torch.randn(24, 20, generator=rng)
    return torch.stack([first, 0.5 * first + 10 * torch.randn(24, 20, generator=rng)])[None]


def test_mean_power_is_the_spots(colours):
    spot = make_spot(colours)
    images = _draw(spot, (3000, 2, 24, 20))
    power = torch.fft.rfft2(images).abs().square().mean(0) / (24 * 20)
    expected = torch.fft.rfft2(spot[0]).abs().square()
    assert float(power[..., 0, 0].max()) < 1e-6  # no mean
    ratio = (power / expected).flatten(1)[:, 1:]
    assert float(ratio.mean()) == pytest.approx(1, abs=0.01)
    assert float((ratio - 1).abs().max()) < 0.15  # 3000 draws: 1 +- 0.03 at the 4.5 sigma of 528


def test_contrast_and_ties_between_colours_are_the_images(colours):
    weight = make_spot(torch.ones_like(colours) + colours * 0)  # a constant has no contrast
    assert float(weight.abs().max()) < 1e-5
    images = _draw(make_spot(colours), (400, 2, 48, 40))
    found = torch.einsum("nchw,ndhw->cd", images, images) / images[:, 0].numel()
    flat = colours[0].flatten(1)
    expected = torch.cov(flat, correction=0)
    # the taper weighs the middle more: a few hundred independent pixels are left
    torch.testing.assert_close(found, expected, rtol=0.25, atol=0)
    assert float(found[0, 1] / (found[0, 0] * found[1, 1]).sqrt()) > 0.7


def test_stripes_hold_together_over_the_exemplars_size():
    x = torch.arange(64.0)
    stripes = (50 * torch.sin(2 * math.pi * x / 8)).expand(1, 1, 64, 64)
    images = _draw(make_spot(stripes), (4, 1, 128, 128))
    white = torch.randn(4, 1, 128, 128, generator=torch.Generator().manual_seed(0))

    def alike(fields, lag):
        shifted = fields.roll(lag, -1)
        return float((fields * shifted).mean() / fields.square().mean())

    assert alike(images, 16) > 0.6
    assert alike(images, 20) < -0.6  # half a period off
    assert abs(alike(white, 16)) < 0.1  # control


def test_a_small_canvas_wraps_the_spot(colours):
    """Its power at the canvas' own frequencies is that of the zero-padded spot there."""
    spot = make_spot(colours)
    images = _draw(spot, (4000, 2, 12, 10))
    power = torch.fft.fft2(images).abs().square().mean(0) / 120
    expected = torch.fft.fft2(spot[0]).abs().square()[:, ::2, ::2]
    ratio = (power / expected).flatten(1)[:, 1:]
    assert float((ratio - 1).abs().max()) < 0.15


def test_a_chain_is_the_same_whatever_runs_beside_it(colours):
    spot = make_spot(colours)
    together = _draw(spot, (4, 2, 32, 32), chains=[5, 6, 7, 8])
    alone = _draw(spot, (1, 2, 32, 32), chains=[7])
    torch.testing.assert_close(alone[0], together[2], rtol=0, atol=1e-4)
    assert not torch.allclose(together[0], together[1])
    assert not torch.allclose(alone, _draw(spot, (1, 2, 32, 32), seed=1, chains=[7]))


def test_several_images_share_the_noise(colours):
    """Their spectra are averaged: a blank one takes off half of the power."""
    both = torch.cat([colours, torch.zeros_like(colours)])
    one, two = (_draw(make_spot(part), (300, 2, 24, 20)).var() for part in (colours, both))
    assert float(two / one) == pytest.approx(0.5, rel=0.1)
