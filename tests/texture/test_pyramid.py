"""Resampling between pyramid levels."""

from __future__ import annotations

import math

import pytest
import torch

from gcn_cli.texture.pyramid import enlarge_rows, enlarge_torus, shrink


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_enlarging_commutes_with_shifts_of_the_torus(factor, draw_images):
    images = draw_images(2, 3, 6, 9)
    big = enlarge_torus(images, factor)
    assert big.shape == (2, 3, 6 * factor, 9 * factor)
    for dy, dx in [(1, 0), (0, -2), (3, 5)]:
        moved = enlarge_torus(torch.roll(images, (dy, dx), (-2, -1)), factor)
        expected = torch.roll(big, (dy * factor, dx * factor), (-2, -1))
        torch.testing.assert_close(moved, expected, rtol=0, atol=1e-12)
        off = torch.roll(big, (dy * factor + 1, dx * factor), (-2, -1))
        assert (moved - off).abs().max() > 0.1  # control


def test_enlarging_works_on_a_torus_smaller_than_the_kernel(draw_images):
    image = draw_images(1, 1, 2, 3)
    tiled = enlarge_torus(image.repeat(1, 1, 3, 3), 2)
    torch.testing.assert_close(enlarge_torus(image, 2), tiled[..., :4, :6])


def test_rows_at_the_same_size_are_a_copy(draw_images):
    images = draw_images(2, 1, 5, 7)
    rows = enlarge_rows(images, 1, 1, 4)
    torch.testing.assert_close(rows, images[..., 1:4, :], rtol=0, atol=1e-12)
    rows.zero_()
    assert images[..., 1:4, :].abs().min() > 0


def test_plain_interpolation_would_not_commute(draw_images):
    """Control of the test above: bicubic with clamped edges has seams."""
    images = draw_images(1, 1, 6, 6)

    def enlarge(x):
        return torch.nn.functional.interpolate(x, scale_factor=2, mode="bicubic")

    gap = enlarge(torch.roll(images, 2, -1)) - torch.roll(enlarge(images), 4, -1)
    assert gap.abs().max() > 0.05


@pytest.mark.parametrize("scale", [0.5, 0.25, 1 / 3])
def test_a_constant_stays_constant(scale):
    flat = torch.full((1, 2, 12, 24), 37.0, dtype=torch.float64)
    small = shrink(flat, scale)
    assert small.shape == (1, 2, round(12 * scale), round(24 * scale))
    torch.testing.assert_close(small, torch.full_like(small, 37.0))
    torch.testing.assert_close(
        enlarge_torus(small, 2), torch.full_like(enlarge_torus(small, 2), 37)
    )


def test_shrinking_filters_what_the_small_image_cannot_show():
    """Waves of 3.3 px; those of 2 px would vanish by themselves, halfway between two pixels."""
    waves = torch.sin(0.6 * math.pi * torch.arange(64, dtype=torch.float64)).expand(1, 1, 64, 64)
    inside = shrink(waves, 0.25)[..., 2:-2]
    assert inside.abs().max() < 0.05
    assert waves[..., 1::4].abs().max() > 0.5  # control
    assert shrink(waves, 1) is waves
