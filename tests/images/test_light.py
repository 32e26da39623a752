"""Uneven light: how much there is, and what is left of it."""

import torch

from gcn_cli.images.light import flattened, light, unevenness


def _texture(channels: int = 3, side: int = 160) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return 110 + 25 * torch.randn(1, side, side, generator=draw).expand(channels, -1, -1)


def _shadow(side: int = 160) -> torch.Tensor:
    """Light that falls to half from left to right."""
    return torch.exp(torch.linspace(0, -0.7, side)).expand(side, side)


def test_even_light_is_called_even_and_a_shadow_by_its_depth():
    assert unevenness(_texture()) < 1.05
    assert 1.3 < unevenness(_texture() * _shadow()) < 2


def test_the_light_found_is_the_light_that_fell():
    found = light(_texture() * _shadow())
    wanted = _shadow().log() - _shadow().log().mean()
    assert float((found - wanted)[40:-40, 40:-40].abs().max()) < 0.06


def test_a_flattened_shadow_leaves_the_texture():
    flat = flattened(_texture() * _shadow())
    assert unevenness(flat) < 1.1  # the mirror at the frame hides some of the slope
    assert abs(float(flat.mean()) - float((_texture() * _shadow()).mean())) < 0.5
    left, right = flat[..., 20:60].mean(), flat[..., -60:-20].mean()
    assert abs(float(left / right) - 1) < 0.1


def test_colours_keep_their_proportions():
    image = _texture() * torch.tensor([1.0, 0.7, 0.4])[:, None, None] * _shadow()
    before, after = image[1] / image[0], flattened(image)
    assert torch.allclose(after[1] / after[0], before, atol=1e-4)


def test_black_pictures_stay_finite():
    assert bool(torch.isfinite(flattened(torch.zeros(3, 32, 32))).all())
