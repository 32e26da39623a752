"""The network, its pattern, and the decoder that gives the basis B(I)."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.field.convnet import ConvNet, LayerSpec, initial_weights, margins


def test_paper_network_has_the_known_size():
    net = ConvNet((LayerSpec(100, 15, 3, 2), LayerSpec(64, 5, 1, 2), LayerSpec(30, 3, 1, 2)))
    assert net.n_parameters() == 244_974
    assert net.receptive_field == 33
    assert net.total_stride == 3


def _windows(spec, boundary, size, out):
    """Yields (unit, filter tap, pixel) for one axis pair of a layer, by the definition."""
    before, _ = margins(spec, boundary)
    for p in range(out[0]):
        for q in range(out[1]):
            for dy in range(spec.size):
                for dx in range(spec.size):
                    y = p * spec.stride + dy - before
                    x = q * spec.stride + dx - before
                    if boundary == "torus":
                        y, x = y % size[0], x % size[1]
                    if 0 <= y < size[0] and 0 <= x < size[1]:
                        yield (p, q), (dy, dx), (y, x)


def by_hand(net, image, weights, boundary):
    """Tilt and basis of one image (C, H, W): bottom up, mask, transposed filters top down."""
    sizes = net.map_sizes(tuple(image.shape[-2:]), boundary)
    x, masks = image, []
    for spec, (w, b), size, out in zip(net.layers, weights, sizes, sizes[1:], strict=False):
        a = b[:, None, None].repeat(1, *out)
        for (p, q), (dy, dx), (y, z) in _windows(spec, boundary, size, out):
            a[:, p, q] += w[:, :, dy, dx] @ x[:, y, z]
        masks.append(a > 0 if spec.relu else torch.ones_like(a, dtype=torch.bool))
        x = a * masks[-1]
    tilt, g = x.sum(), masks[-1].to(image.dtype)
    for level in reversed(range(len(net.layers))):
        spec, w = net.layers[level], weights[level].w
        down = image.new_zeros(w.shape[1], *sizes[level])
        for (p, q), (dy, dx), (y, z) in _windows(spec, boundary, sizes[level], sizes[level + 1]):
            down[:, y, z] += g[:, p, q] @ w[:, :, dy, dx]
        g = down * masks[level - 1] if level else down
    return tilt, g


def test_decoder_equals_autograd_and_the_loop_by_hand(
    case, draw_weights, draw_images, basis_by_autograd
):
    net, boundary, size = case
    weights = draw_weights(net)
    images = draw_images(2, net.channels, *size)
    decoded = net.basis(images, weights, boundary)
    torch.testing.assert_close(
        decoded, basis_by_autograd(net, images, weights, boundary), rtol=1e-12, atol=1e-12
    )
    tilt, basis = by_hand(net, images[0], weights, boundary)
    torch.testing.assert_close(decoded[0], basis, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(net.tilt(images, weights, boundary)[0], tilt, rtol=1e-12, atol=1e-12)
    assert decoded.abs().max() > 0.1


def test_the_pattern_gates_the_decoder(case, draw_weights, draw_images):
    """Control: a pass without the lower masks gives another basis."""
    net, boundary, size = case
    weights, images = draw_weights(net), draw_images(1, net.channels, *size)
    pattern = net.pattern(net.forward(images, weights, boundary))
    assert 0 < pattern[0].to(torch.float64).mean() < 1
    ungated = [torch.ones_like(m) for m in pattern[:-1]] + [pattern[-1]]
    with_gates = net.decode(pattern, weights, boundary, size)
    without = net.decode(ungated, weights, boundary, size)
    assert (with_gates - without).abs().max() > 1e-3


def test_torus_smaller_than_a_filter_wraps_more_than_once(draw_weights, draw_images):
    net = ConvNet((LayerSpec(2, 9),), 1)
    weights, image = draw_weights(net), draw_images(1, 1, 4, 3)
    _, basis = by_hand(net, image[0], weights, "torus")
    torch.testing.assert_close(net.basis(image, weights, "torus")[0], basis)


def test_linear_top_layer_keeps_negative_responses(draw_weights, draw_images):
    net = ConvNet((LayerSpec(1, 4, relu=False),), 1)
    weights, image = draw_weights(net), draw_images(1, 1, 4, 4)
    up, down = net.tilt(image, weights, "valid"), net.tilt(-image, weights, "valid")
    torch.testing.assert_close(up + down, 2 * weights[0].b)
    assert min(float(up), float(down)) < 0


@pytest.mark.parametrize(
    ("net", "size", "step"),
    [
        (ConvNet((LayerSpec(3, 4, 2), LayerSpec(2, 3)), 1), (8, 12), 2),
        (ConvNet((LayerSpec(3, 5, 3), LayerSpec(2, 3, 2)), 1), (12, 18), 6),
        (ConvNet((LayerSpec(3, 3), LayerSpec(2, 4)), 1), (7, 9), 1),
    ],
)
def test_torus_commutes_with_shifts_by_the_total_stride(net, size, step, draw_weights, draw_images):
    weights, images = draw_weights(net), draw_images(2, 1, *size)
    f, basis = net.tilt(images, weights, "torus"), net.basis(images, weights, "torus")
    assert net.total_stride == step
    for shift in [(step, 0), (0, -step), (2 * step, 3 * step)]:
        moved = torch.roll(images, shift, (-2, -1))
        torch.testing.assert_close(net.tilt(moved, weights, "torus"), f, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            net.basis(moved, weights, "torus"),
            torch.roll(basis, shift, (-2, -1)),
            rtol=1e-12,
            atol=1e-12,
        )
    if step > 1:  # control: shifts between the stride's phases change both
        moved = torch.roll(images, (1, 0), (-2, -1))
        assert ((net.tilt(moved, weights, "torus") - f).abs() > 1e-3).all()
        off = net.basis(moved, weights, "torus") - torch.roll(basis, (1, 0), (-2, -1))
        assert off.abs().max() > 1e-2
    bounded = net.tilt(torch.roll(images, (step, 0), (-2, -1)), weights, "valid")
    assert ((bounded - net.tilt(images, weights, "valid")).abs() > 1e-6).all()


@pytest.mark.parametrize(
    ("size", "boundary", "words"),
    [((9, 8), "torus", "multiple of the stride"), ((3, 8), "valid", "fewer than")],
)
def test_sizes_that_do_not_fit_are_refused(size, boundary, words):
    net = ConvNet((LayerSpec(1, 4, 2),), 1)
    with pytest.raises(ValueError, match=words):
        net.map_sizes(size, boundary)


@pytest.mark.parametrize(
    "layer", [(0, 3), (1, 0), (1, 3, 0), (1, 3, 4), (1, 3, 1, 3), (1, 3, 1, -1)]
)
def test_layers_that_make_no_sense_are_refused(layer):
    with pytest.raises(ValueError, match=r"positive|skips|padding"):
        LayerSpec(*layer)


def test_initial_weights_scale_with_the_unit_and_the_top_gain():
    net = ConvNet((LayerSpec(50, 7), LayerSpec(40, 5)), 3)
    one, ten = (
        initial_weights(net, torch.Generator().manual_seed(3), sigma=s, top_gain=g)
        for s, g in ((1.0, 1.0), (10.0, 0.5))
    )
    torch.testing.assert_close(one[0].w, ten[0].w * 10)
    torch.testing.assert_close(one[1].w, ten[1].w * 2)
    assert float(one[0].w.std()) == pytest.approx((2 / (3 * 49)) ** 0.5, rel=0.05)
    plain = initial_weights(net, torch.Generator().manual_seed(3), sigma=9.0, std=0.01)
    for layer in plain:
        assert float(layer.w.std()) == pytest.approx(0.01, rel=0.05)
        assert not layer.b.any()
