"""Filters of matching stages."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gcn_cli.core.filters import (
    detail_filters,
    largest_gain,
    pursued_filters,
    white_filters,
)


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_detail_filters_are_blind_to_flat_areas_and_ramps():
    plain, fine = white_filters(6, 1, 5, _rng()), detail_filters(6, 1, 5, _rng())
    ramp = torch.arange(9.0).view(1, 1, 1, 9).expand(1, 1, 9, 9)
    assert F.conv2d(ramp, fine).abs().max() < 0.05  # what bfloat16 leaves
    assert F.conv2d(ramp, plain).abs().max() > 1


def test_the_largest_gain_bounds_decoder_after_encoder(draw_images):
    filters = white_filters(6, 2, 7, _rng())
    bound = float(largest_gain(filters))
    image = draw_images(1, 2, 24, 24, dtype=torch.float32)
    for _ in range(200):  # power iteration
        x = image.detach().requires_grad_(True)
        wrapped = F.conv2d(F.pad(x, (3,) * 4, mode="circular"), filters)
        (image,) = torch.autograd.grad(0.5 * wrapped.square().sum(), x)
        gain = float(image.norm() / x.detach().norm())
        image = image / image.norm()
    assert gain == pytest.approx(bound, rel=0.02)


def _patches(seed, spread, axis):
    """Patches of 3x3x2 values: white, but ``spread`` times as wide along ``axis``."""
    white = 10 * torch.randn(20000, 18, generator=_rng(seed))
    along = white @ axis
    return white + (spread - 1) * along[:, None] * axis


@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_pursuit_finds_the_direction_in_which_patches_differ(spread):
    axis = torch.randn(18, generator=_rng(3))
    axis /= axis.norm()
    observed, made = _patches(1, 1.0, axis), _patches(2, spread, axis)
    filters = pursued_filters(64, observed, made, 3, _rng())
    assert filters.shape == (64, 2, 3, 3)
    seen = (filters.flatten(1) @ axis).square().mean()
    blind = (white_filters(64, 2, 3, _rng()).flatten(1) @ axis).square().mean()
    assert seen > 4 * blind  # 1/18 of a random filter's power


def test_pursuit_survives_two_flat_colours():
    """Strong edges beside directions without any variance: their ratio is beyond float32."""
    y, x = torch.meshgrid(torch.arange(200), torch.arange(200), indexing="ij")
    picture = ((y // 16 + x // 16) % 2 * 250.0 - 125).expand(3, -1, -1)
    windows = (
        picture.unfold(1, 9, 1).unfold(2, 9, 1).permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)
    )
    made = windows.roll(1, 0) * 0.9
    rough = windows - windows.mean(0)
    assert torch.linalg.eigvalsh(rough.mT @ rough / len(rough)).min() < -0.01  # what float32 gives
    filters = pursued_filters(64, windows, made, 9, _rng())
    norms = filters.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(64), rtol=0.01, atol=0)


def test_pursuit_survives_flat_patches():
    flat = torch.zeros(100, 18)
    filters = pursued_filters(8, flat, flat, 3, _rng())
    assert bool(torch.isfinite(filters).all())
    torch.testing.assert_close(filters.flatten(1).norm(dim=1), torch.ones(8), rtol=0, atol=5e-3)
