"""The fast basis equals the reference."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gcn_cli.engine.fused import FusedBasis, side_by_side
from gcn_cli.field.convnet import ConvNet, LayerSpec


def _fused(case, cpu, batch=2, dtype=torch.float64):
    net, boundary, size = case
    return FusedBasis(net, (batch, net.channels, *size), boundary, dtype, cpu)


def test_equals_decoder_and_autograd(case, cpu, draw_weights, draw_images, basis_by_autograd):
    net, boundary, size = case
    weights, images = draw_weights(net), draw_images(2, net.channels, *size)
    found = _fused(case, cpu).load(weights)(images)
    for oracle in (ConvNet.basis, basis_by_autograd):
        want = oracle(net, images, weights, boundary)
        torch.testing.assert_close(found, want, rtol=1e-12, atol=1e-12)


def test_buffers_carry_nothing_from_earlier_calls(case, cpu, draw_weights, draw_images):
    net, boundary, size = case
    fused = _fused(case, cpu)
    for seed in range(3):
        weights = draw_weights(net, seed)
        fused.load(weights)
        for loud in (1e3, 1.0):
            images = draw_images(2, net.channels, *size, seed=seed, scale=loud)
            torch.testing.assert_close(
                fused(images), net.basis(images, weights, boundary), rtol=1e-12, atol=1e-12
            )


def test_bfloat16_is_close_and_not_equal(case, cpu, draw_weights, all_on_weights, draw_images):
    """Rounding alone costs a percent; the units that it switches cost a median image more."""
    net, boundary, size = case
    images = draw_images(24, net.channels, *size, dtype=torch.float32)
    fused = _fused(case, cpu, 24, torch.bfloat16)

    def median_error(weights):
        exact = net.basis(images.double(), weights, boundary)
        rough = fused.load(weights)(images)
        assert rough.dtype == torch.float32
        error, size = ((x.flatten(1).norm(dim=1)) for x in (rough - exact, exact))
        return float((error / size)[size > 0].median())

    assert 1e-5 < median_error(all_on_weights(net)) < 0.01
    assert 1e-5 < median_error(draw_weights(net)) < 0.12


def test_channels_last_input_gives_the_same(cpu, draw_weights, draw_images):
    net = ConvNet((LayerSpec(3, 5, 3, 2), LayerSpec(2, 2, 2)), 2)
    fused = FusedBasis(net, (2, 2, 11, 13), "bounded", torch.float64, cpu).load(draw_weights(net))
    images = draw_images(2, 2, 11, 13)
    first = fused(images).clone()
    assert torch.equal(first, fused(images.contiguous(memory_format=torch.channels_last)))


@pytest.mark.parametrize(
    ("layers", "size"),
    [((LayerSpec(2, 9),), (4, 16)), ((LayerSpec(2, 4, 2), LayerSpec(2, 5)), (16, 6))],
)
def test_a_torus_smaller_than_a_margin_is_refused(layers, size, cpu):
    with pytest.raises(ValueError, match="too small"):
        FusedBasis(ConvNet(layers, 1), (1, 1, *size), "torus", torch.float32, cpu)


def test_the_smallest_torus_it_accepts_is_right(cpu, draw_weights, draw_images):
    net = ConvNet((LayerSpec(3, 7), LayerSpec(2, 6)), 1)
    weights, images = draw_weights(net), draw_images(2, 1, 6, 6)
    fused = FusedBasis(net, (2, 1, 6, 6), "torus", torch.float64, cpu).load(weights)
    torch.testing.assert_close(fused(images), net.basis(images, weights, "torus"))


@pytest.mark.parametrize("group", [1, 2, 3])
def test_places_side_by_side_are_the_same_convolution(group):
    rng = torch.Generator().manual_seed(0)
    w = torch.randn(3, 5, 4, 4, generator=rng, dtype=torch.float64)
    x = torch.randn(2, 5, 15, 21, generator=rng, dtype=torch.float64)
    at_once = F.conv2d(x, side_by_side(w, group), stride=group)
    torch.testing.assert_close(F.pixel_shuffle(at_once, group), F.conv2d(x, w))
