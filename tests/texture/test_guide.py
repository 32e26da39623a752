"""Sketches in an exemplar's colours."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.texture.guide import brightness, in_colours_of


def exemplar():
    """Dark red below, bright blue above, each with its shades."""
    ramp = torch.linspace(0, 60, 512)
    dark = torch.stack([40 + ramp, 0.1 * ramp, 0.1 * ramp])
    bright = torch.stack([100 + ramp, 120 + ramp, 195 + ramp])
    return torch.cat([dark, bright], 1).reshape(1, 3, 32, 32)


def test_dark_gets_the_dark_colours_and_bright_the_bright_ones():
    sketch = torch.zeros(1, 8, 8)
    sketch[:, :, 4:] = 200.0
    told = in_colours_of(sketch, exemplar())
    assert told.shape == (3, 8, 8)
    assert (told[0, :, :4] > told[2, :, :4]).all()  # red
    assert (told[2, :, 4:] > told[0, :, 4:]).all()  # blue
    assert len(told.flatten(1).unique(dim=1).T) == 2  # equal pixels stay equal


def test_brightness_keeps_its_order_and_the_exemplars_range():
    sketch = torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(0))
    told = in_colours_of(sketch, exemplar())
    order = brightness(sketch).flatten().argsort()
    assert (brightness(told).flatten()[order].diff() >= -1e-3).all()
    assert brightness(told).min() < 30
    assert brightness(told).max() > 170


def test_brightness_weighs_the_colours():
    red = torch.tensor([255.0, 0, 0]).view(3, 1, 1)
    assert float(brightness(red)) == pytest.approx(0.299 * 255)
    assert float(brightness(torch.tensor([[[3.0]], [[5.0]]]))) == 4
