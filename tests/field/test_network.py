"""The network: its gradient by decoding, its linear pieces, its torus, its frame."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.field.network import LayerSpec, NoiseNet, beside, initial_weights

BOUNDARIES = ("torus", "frame")
EXACT = {"rtol": 1e-12, "atol": 1e-12}


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_decoding_through_the_gates_is_the_derivative_of_the_output(
    net, boundary, noise_weights, canvas, mixed_levels
):
    weights, z, s = noise_weights(net), canvas(net).requires_grad_(True), mixed_levels(2)
    responses = net.forward(z, s, weights, boundary)
    (true,) = torch.autograd.grad(net.output(responses, weights).sum(), z)
    torch.testing.assert_close(net.gradient(z.detach(), s, weights, boundary), true, **EXACT)
    pattern = net.pattern(responses)
    shares = [float(on.double().mean()) for on in (*pattern.layers, *pattern.votes)]
    assert min(shares) > 0.05  # control: a pattern of some interest
    assert max(shares) < 0.95


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_output_is_linear_on_the_images_of_one_pattern(
    net, boundary, noise_weights, canvas, mixed_levels
):
    weights, z, s = noise_weights(net), canvas(net, 1), mixed_levels(1)
    near = z + 1e-5 * canvas(net, 1, seed=2)

    def look(images):
        responses = net.forward(images, s, weights, boundary)
        return net.pattern(responses), net.output(responses, weights)

    (here, h), (there, h_near) = look(z), look(near)
    same = all(torch.equal(a, b) for k in (0, 1) for a, b in zip(here[k], there[k], strict=True))
    assert same, "the images must lie on one piece"
    gradient = net.gradient(z, s, weights, boundary)
    alpha = h - (gradient * z).sum()
    torch.testing.assert_close(h_near, alpha + (gradient * near).sum()[None], **EXACT)
    assert abs(h_near - h) > 1e-7


def test_a_torus_rolled_by_the_stride_rolls_the_gradient(net, noise_weights, canvas, mixed_levels):
    weights, z, s, stride = noise_weights(net), canvas(net), mixed_levels(2), net.total_stride

    def rolled(by):
        return net.gradient(torch.roll(z, by, (2, 3)), s, weights, "torus")

    plain = rolled((0, 0))
    for by in ((stride, -stride), (2 * stride, 0)):
        torch.testing.assert_close(rolled(by), torch.roll(plain, by, (2, 3)), **EXACT)
    for by in ((stride - 1, 0), (0, 1)):  # control: other phases are other functions
        assert (rolled(by) - torch.roll(plain, by, (2, 3))).abs().max() > 1e-2


def test_farther_than_reach_from_the_frame_a_window_equals_the_canvas(
    net, noise_weights, canvas, mixed_levels
):
    weights, s, reach, stride = noise_weights(net), mixed_levels(1), net.reach, net.total_stride
    z = canvas(net, 1, least=4 * reach + 8 * stride)
    first = stride
    last = first + (3 * reach // stride + 2) * stride
    whole = net.gradient(z, s, weights, "torus")[..., first:last, first:last]
    part = net.gradient(z[..., first:last, first:last].clone(), s, weights, "frame")
    inside = (slice(None), slice(None), slice(reach, -reach), slice(reach, -reach))
    torch.testing.assert_close(part[inside], whole[inside], **EXACT)
    assert (part - whole)[..., : reach // 2, :].abs().max() > 1e-2  # control: near it, it does not


def test_a_value_depends_on_pixels_at_most_reach_away_and_on_one_that_far(net, noise_weights):
    """One pixel is moved so far that it switches units wherever it is seen."""
    weights, s, stride = noise_weights(net), torch.ones(1, dtype=torch.float64), net.total_stride
    side = (2 * net.reach // stride + 3) * stride
    seen = 0
    for middle in range(side // 2, side // 2 + stride):
        z = torch.zeros(1, net.channels, 1, 1, dtype=torch.float64).expand(-1, -1, side, side)
        moved = z.clone()
        moved[..., middle, middle] += 100
        change = net.gradient(moved, s, weights, "frame") - net.gradient(z, s, weights, "frame")
        rows = change.abs().sum((0, 1, 3)).nonzero()[:, 0]
        seen = max(seen, int((rows - middle).abs().max()))
    assert net.reach - 2 * stride <= seen <= net.reach


def test_every_image_of_a_batch_has_the_biases_of_its_own_level(
    net, noise_weights, canvas, mixed_levels
):
    weights, z, s = noise_weights(net), canvas(net, 3), mixed_levels(3)
    together = net.gradient(z, s, weights, "torus")
    for k in range(3):
        alone = net.gradient(z[k : k + 1], s[k : k + 1], weights, "torus")
        torch.testing.assert_close(together[k : k + 1], alone, **EXACT)
    assert (net.gradient(z, s.flip(0), weights, "torus") - together)[0].abs().max() > 1e-2


def test_biases_are_smooth_in_the_logarithm_of_the_level_and_tell_the_ends_apart(noise_weights):
    net = NoiseNet((LayerSpec(4, 4, 2), LayerSpec(3, 3, 1, True)))
    weights = noise_weights(net)
    s = torch.logspace(-1.7, 1.3, 301, dtype=torch.float64)
    biases = torch.cat(net.biases(s, weights), 1)[..., 0, 0]
    assert [b.shape[1] for b in net.biases(s, weights)] == [4, 3, 3]
    steps = (biases[1:] - biases[:-1]).norm(dim=1)
    assert steps.max() < 0.1 * (biases[0] - biases[-1]).norm()
    twin = weights._replace(levels=torch.zeros_like(weights.levels))
    still = torch.cat(net.biases(s, twin), 1)[..., 0, 0]
    assert torch.equal(still, weights.rest.expand_as(still))


def test_the_field_of_view_is_the_window_that_a_top_unit_sees(net, noise_weights):
    weights = noise_weights(net)
    weights = weights.map(torch.abs)._replace(rest=torch.ones_like(weights.rest))
    side = (net.receptive_field // net.total_stride + 3) * net.total_stride
    z = torch.ones(1, net.channels, side, side, dtype=torch.float64, requires_grad=True)
    top = net.forward(z, z.new_ones(1), weights, "frame").votes[-1]
    middle = top.shape[-1] // 2
    (seen,) = torch.autograd.grad(top[0, 0, middle, middle], z)
    for dim in (2, 3):
        lines = seen.abs().sum([d for d in range(4) if d != dim]).nonzero()
        assert lines[-1] - lines[0] + 1 == net.receptive_field == net.reach + 1


def test_what_a_network_says_of_itself_is_what_its_weights_are(net):
    weights = initial_weights(net, torch.Generator().manual_seed(0))
    assert sum(t.numel() for t in weights.tensors()) == net.n_parameters()
    assert {t.dtype for t in weights.tensors()} == {torch.float32}
    assert len(weights.rest) == net.n_biases
    again = initial_weights(net, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(again.tensors(), weights.tensors(), strict=True))
    whole = weights.of(weights.tensors())
    assert all(len(whole[k]) == len(weights[k]) for k in range(len(weights)))
    doubled = weights.map(lambda t: 2 * t)
    assert torch.equal(doubled.votes[-1], 2 * weights.votes[-1])
    assert torch.equal(doubled.embed_bias, 2 * weights.embed_bias)


def test_multiply_adds_count_filters_and_mixers_at_their_strides():
    net = NoiseNet((LayerSpec(4, 6, 2, True), LayerSpec(3, 4, 2, True)), 3)
    assert net.multiply_adds() == (4 * 3 * 36 + 16) / 4 + (3 * 4 * 16 + 9) / 16


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: LayerSpec(0, 3), "must be positive"),
        (lambda: LayerSpec(4, 2, 3), "size minus stride must be even"),
        (lambda: LayerSpec(4, 5, 2), "size minus stride must be even"),
        (lambda: NoiseNet((LayerSpec(4, 3),)), "no layer votes"),
        (lambda: NoiseNet((LayerSpec(4, 3, 1, True), LayerSpec(4, 3))), "top layer must vote"),
    ],
)
def test_networks_that_make_no_sense_are_refused(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


def test_sides_that_the_strides_do_not_divide_are_refused(noise_weights):
    net = NoiseNet((LayerSpec(2, 4, 2), LayerSpec(2, 4, 2, True)), 1)
    z = torch.zeros(1, 1, 8, 10, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"\(8, 10\) px are not multiples of the stride 4"):
        net.forward(z, z.new_ones(1), noise_weights(net), "torus")


def test_what_is_given_is_looked_at_and_not_decoded(noise_weights, mixed_levels):
    """grad h is the derivative towards z alone, and depends on what is given."""
    net = NoiseNet((LayerSpec(6, 4, 2, True), LayerSpec(4, 3, 1, True)), 2, given=3)
    weights, s = noise_weights(net), mixed_levels(2)
    generator = torch.Generator().manual_seed(1)
    z, given = (torch.randn(2, c, 12, 16, generator=generator, dtype=torch.float64) for c in (2, 3))
    z.requires_grad_(True)
    for c in (given, -given, None):
        told = net.gradient(beside(z, c).detach(), s, weights, "torus")
        h = net.output(net.forward(beside(z, c), s, weights, "torus"), weights)
        torch.testing.assert_close(told, torch.autograd.grad(h.sum(), z)[0], rtol=0, atol=1e-12)
    zeros = net.gradient(beside(z, 0 * given).detach(), s, weights, "torus")
    assert torch.equal(told, zeros)  # nothing given counts as zeros
    assert not torch.allclose(zeros, net.gradient(beside(z, given).detach(), s, weights, "torus"))
