"""First layers that start as Gabor filters."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gcn_cli.core.gabor import GaborStart, gabor_filters
from gcn_cli.core.network import ConvNet, LayerSpec, initial_weights


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def _bank(count=16, channels=1, side=11, wavelengths=(4.0,)):
    return gabor_filters(count, channels, side, wavelengths, _rng())


@pytest.mark.parametrize("count", [16, 7])
def test_strokes_are_bright_and_dark_in_turn_and_blind_to_flat_areas(count):
    grey, bank = _bank(count), _bank(count, channels=3)
    torch.testing.assert_close(grey[0], -grey[1])
    assert bank.shape == (count, 3, 11, 11)
    middle = bank[:, 0, 5, 5]
    assert (middle[::2] > 0).all()
    assert (middle[1::2] < 0).all()
    assert bank.sum((2, 3)).abs().max() < 1e-3
    torch.testing.assert_close(bank.square().mean((1, 2, 3)), torch.ones(count))


def test_each_filter_answers_most_to_stripes_of_its_orientation():
    bank = _bank()
    place = torch.arange(32.0)
    y, x = torch.meshgrid(place, place, indexing="ij")
    for turn in range(8):
        angle = math.pi * turn / 8
        stripes = torch.cos(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / 4)
        answers = F.conv2d(stripes[None, None], bank).amax((0, 2, 3))
        assert int(answers[::2].argmax()) == turn


def test_the_smallest_strokes_have_unit_size_too():
    bank = _bank(side=3, wavelengths=(2.0, 3.0, 100.0))
    torch.testing.assert_close(bank.square().mean((1, 2, 3)), torch.ones(16))


def test_wavelengths_take_turns():
    bank = _bank(wavelengths=(3.0, 6.0))[::2, 0]
    spectrum = torch.fft.fft2(bank, s=(64, 64)).abs()
    peak = spectrum.flatten(1).argmax(1)
    y, x = peak // 64, peak % 64
    frequency = torch.hypot(torch.minimum(y, 64 - y).float(), torch.minimum(x, 64 - x).float()) / 64
    assert (frequency[0::2] > 0.27).all()
    assert (frequency[1::2] < 0.23).all()


@pytest.mark.parametrize(("threshold", "share"), [(0.0, 0.5), (1.0, 0.1587), (2.0, 0.0228)])
def test_the_threshold_counts_deviations_of_the_answers_to_noise(threshold, share):
    net, sigma = ConvNet((LayerSpec(32, 9), LayerSpec(4, 3)), 3), 7.0
    weights = initial_weights(net, _rng(), sigma=sigma, gabor=GaborStart(threshold))
    noise = torch.randn(4, 3, 64, 64, generator=_rng(1)) * sigma
    active = (F.conv2d(noise, *weights[0]) > 0).float().mean()
    assert float(active) == pytest.approx(share, abs=0.01)
    assert not weights[1].b.any()


def test_only_the_first_layer_starts_so():
    net = ConvNet((LayerSpec(8, 7), LayerSpec(4, 3)), 1)
    plain, strokes = (initial_weights(net, _rng(), gabor=g) for g in (None, GaborStart()))
    torch.testing.assert_close(plain[0].w.std(), strokes[0].w.std(), rtol=0.1, atol=0)
    assert float(strokes[0].w.sum((2, 3)).abs().max()) < 1e-3
    assert float(plain[0].w.sum((2, 3)).abs().max()) > 0.1
    assert plain[1].w.std() == pytest.approx(float(strokes[1].w.std()), rel=0.2)
