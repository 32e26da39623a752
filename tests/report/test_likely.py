"""-log2 p by two ways of a Gaussian field whose p is known: errors are what they are said to be."""

from __future__ import annotations

import math

import pytest
import torch

from gcn_cli.engine import Machine
from gcn_cli.field.ladder import noise_levels
from gcn_cli.field.network import LayerSpec, NoiseNet, initial_weights
from gcn_cli.field.noise import generator
from gcn_cli.report.likely import Wanted, _Coarsest, likely
from gcn_cli.texture.draw import Model, SizeModel

NET = NoiseNet((LayerSpec(2, 4, 2, vote=True),), 1, 0)
SIDE, LEAST, SEEDS = 8, 0.1, 20
FREQUENCIES = torch.fft.fftfreq(SIDE, dtype=torch.float64)
POWER = torch.exp(-2 * (FREQUENCIES[:, None] ** 2 + FREQUENCIES[None] ** 2)) + 0.05
POWER = POWER / POWER.mean()


def _density(steeper):
    """Of the field of this power, off by 3 nats; below s = 0.7 ``steeper`` times as steep."""

    def density(self, y, s):
        waves = torch.fft.fft2(y.double(), norm="ortho")
        share = waves / (POWER + s**2) * (steeper if s < 0.7 else 1.0)
        log_q = 3 - (waves * share.conj()).real.flatten(1).sum(1) / 2
        return log_q, -torch.fft.ifft2(share, norm="ortho").real.float()

    return density


def _told(monkeypatch, seed, steeper=1.0, **wanted):
    monkeypatch.setattr(_Coarsest, "density", _density(steeper))
    size = SizeModel(1, noise_levels(20.0, LEAST, 8), initial_weights(NET, generator(0, "test")))
    model = Model(NET, (size,), torch.full((1, 1, 1), 120.0), 40.0)
    z = torch.randn(1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)).double()
    x = torch.fft.ifft2(torch.fft.fft2(z) * POWER.sqrt()).real
    settings = Wanted(**{"steps": 30, "moves": 3, "seed": seed, **wanted})
    return likely(model, 120 + 40 * x.float(), Machine(torch.device("cpu")), settings), x


def _known(x, s):
    """The mean over Z of -log2 p_s(x + s Z), bits a value, per grey level."""
    waves = torch.fft.fft2(x, norm="ortho").abs().square()
    nats = ((waves + s**2) / (POWER + s**2) + (2 * math.pi * (POWER + s**2)).log()).mean() / 2
    return float(nats) / math.log(2) + math.log2(40)


def test_the_truth_lies_within_the_stated_errors(monkeypatch):
    """Two standard errors, and half the way between bounds: of twenty at most two lie outside."""
    off = {"annealed": [], "denoised": []}
    for seed in range(SEEDS):
        told, x = _told(monkeypatch, seed, lowest=LEAST, steps=60)
        for way, kept in off.items():
            error = getattr(told, f"{way}_error")
            kept.append((getattr(told, way) - _known(x, LEAST)) / error)
            assert error < 0.06
        assert told.agree
    for way, kept in off.items():
        assert sum(abs(k) > 1 for k in kept) <= 2, way
        assert abs(sum(kept) / SEEDS) < 0.4, way  # to neither side
        assert max(abs(k) for k in kept) > 0.2, way  # no error so large that it says nothing


def test_where_the_ways_part_the_level_above_is_told(monkeypatch):
    """A field too steep below s = 0.7: p_s there is no neighbour's blurred."""
    told, x = _told(monkeypatch, 0, steeper=4, steps=60)
    assert told.searched
    assert 0.7 < told.level < 0.8
    assert told.agree
    assert told.bits == pytest.approx(_known(x, told.level), abs=told.error)
    assert "the least down to which both agree" in told.told
    fixed, _ = _told(monkeypatch, 0, steeper=4, steps=60, lowest=LEAST)
    assert fixed.bits is None
    assert fixed.level == pytest.approx(LEAST)
    assert not fixed.searched


def test_white_noise_of_its_contrast_is_what_a_field_has_to_beat(monkeypatch):
    told, x = _told(monkeypatch, 0, lowest=LEAST)
    variance = 1 + LEAST**2
    nats = (x.square().mean() + LEAST**2) / variance / 2 + math.log(2 * math.pi * variance) / 2
    assert told.white == pytest.approx(float(nats) / math.log(2) + math.log2(40), abs=1e-4)
