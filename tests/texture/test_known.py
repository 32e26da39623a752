"""Unknown pixels are left out of learning: nothing in them can be told from the model."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.errors import ImageError
from gcn_cli.field.learning import likelihood_gap, reconstruction_loss
from gcn_cli.statistics.motif import correlation_length
from gcn_cli.texture.exemplar import Exemplar
from gcn_cli.texture.known import Windows, eroded, filled, known_values, reduced_known
from gcn_cli.texture.learn import begin, learn
from gcn_cli.texture.plan import at_size, known_at, make_plan

CPU = torch.device("cpu")


def holed(side=64, hole=(20, 30), width=8, n=1):
    known = torch.ones(n, 1, side, side, dtype=torch.bool)
    known[0, :, hole[0] : hole[0] + width, hole[1] : hole[1] + width] = False
    return known


def test_eroded_is_what_a_square_of_known_pixels_surrounds():
    known = holed(20, (8, 9), 2)
    told = eroded(known, 3)
    for i in range(20):
        for j in range(20):
            square = known[0, 0, max(0, i - 3) : i + 4, max(0, j - 3) : j + 4]
            assert bool(told[0, 0, i, j]) == bool(square.all())


@pytest.mark.parametrize("reduction", [2, 4])
@pytest.mark.parametrize("side", [64, 61])
def test_what_reduces_to_a_known_pixel_is_known(reduction, side):
    """No value of an unknown pixel changes a reduced one that counts as known."""
    known = holed(side)
    images = torch.rand(1, 1, side, side)
    other = torch.where(known, images, 1e3 * torch.ones(()))
    differs = at_size(images, reduction) != at_size(other, reduction)
    told = known_at(known, reduction)
    assert differs.any()
    assert told.any()
    assert not (differs & told).any()
    assert reduced_known(known, (side, side)) is known


def test_windows_lie_where_enough_counts():
    counts = torch.zeros(2, 1, 12, 15, dtype=torch.bool)
    counts[1, 0, 2:10, 3:11] = True
    draw = torch.Generator().manual_seed(0)
    whole = Windows(counts, (6, 6), 0, whole=True)
    assert len(whole) == 9
    for k, i, j in whole.draw(50, draw):
        assert counts[k, 0, i : i + 6, j : j + 6].all()
    inner = Windows(counts, (6, 6), 2, whole=False)
    for k, i, j in inner.draw(50, draw):
        assert k == 1
        assert int(counts[k, 0, i + 2 : i + 4, j + 2 : j + 4].sum()) >= 2
    assert len(Windows(torch.zeros(1, 1, 9, 9, dtype=torch.bool), (4, 4), 0, whole=True)) == 0


def test_statistics_are_those_of_known_pixels(blurred):
    images, known = blurred(3.0, 128, channels=3), holed(128, (40, 50), 30)
    hostile = torch.where(known, images, 50 * torch.ones(()))
    assert correlation_length(hostile, known) == correlation_length(filled(hostile, known), known)
    assert abs(correlation_length(hostile, known) - correlation_length(images)) <= 2
    assert correlation_length(hostile) > correlation_length(images) + 2  # control
    assert float(known_values(hostile, known).std()) == pytest.approx(1, abs=0.1)


def test_weights_of_one_change_nothing_and_weights_of_none_leave_out(recipe, blurred):
    net = recipe().net(1)
    state = begin(make_plan(recipe(), blurred(1.0)), CPU)
    from gcn_cli.field.network import initial_weights
    from gcn_cli.field.noise import generator
    from gcn_cli.field.optimise import unflatten

    weights = unflatten(state.weights, initial_weights(net, generator(0, "shapes")))
    x, noise, s = blurred(1.0, 32, 2), torch.randn(2, 1, 32, 32), torch.tensor([0.3, 2.0])
    ones = torch.ones(2, 1, 32, 32)
    plain = reconstruction_loss(net, x, noise, s, weights, 5)
    torch.testing.assert_close(reconstruction_loss(net, x, noise, s, weights, 5, None, ones), plain)
    one = ones.clone()
    one[1] = 0
    alone = reconstruction_loss(net, x[:1], noise[:1], s[:1], weights, 5)
    told = reconstruction_loss(net, x, noise, s, weights, 5, None, one)
    torch.testing.assert_close(told, alone)
    args = (net, x[:1], x[1:], 0.5, weights, 4)
    torch.testing.assert_close(
        likelihood_gap(*args, weight=ones[:1]), likelihood_gap(*args), rtol=1e-5, atol=1e-6
    )


def course(given, observed, known):
    plan = make_plan(given, observed, known=known)
    from gcn_cli.engine import Machine

    return plan, list(learn(plan, observed, begin(plan, CPU), Machine(CPU), known))


@pytest.mark.parametrize("width", [6, 22])  # whole windows are left; none is
def test_nothing_can_be_told_of_unknown_pixels(recipe, blurred, width):
    """Two exemplars that differ in their unknown pixels alone give the same model, bit for bit."""
    given = recipe(
        sizes={"coarsest": 2},
        reconstruction={"updates": 25, "finer_updates": 25, "margin": 9, "crop": 32},
        likelihood={"updates": 2, "finer_updates": 2, "canvas": 24},
    )
    known = holed(96, (36, 38), width)
    first = filled(blurred(2.0, 96), known)
    second = torch.where(known, first, torch.full((), 9.0))
    (plan, one), (_, two) = (course(given, images, known) for images in (first, second))
    windows = Exemplar(plan, 1, first, CPU, False, known)._views
    assert (windows.weights is None) == (width == 6)
    for (a, told), (b, also) in zip(one, two, strict=True):
        assert torch.equal(a.weights, b.weights)
        assert told == also
    (_, plain) = course(given, second, None)
    assert not torch.equal(plain[-1][0].weights, two[-1][0].weights)  # control


def test_the_coarsest_size_is_one_at_which_enough_is_left(recipe, blurred):
    given = recipe(sizes={"coarsest": None}, reconstruction={"crop": 32, "margin": 5})
    images = blurred(12.0, 128)
    assert make_plan(given, images).sizes[0].reduction > 1
    known = torch.zeros(1, 1, 128, 128, dtype=torch.bool)
    known[..., 40:84, 40:84] = True
    assert make_plan(given, images, known=known).sizes[0].reduction == 1


def test_too_little_is_refused_with_its_share(recipe, blurred):
    known = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    known[..., 20:38, 20:38] = True
    sentence = r"0\.4% of the picture can be learned from, pixels with 7 px of known ones"
    with pytest.raises(ImageError, match=sentence):
        make_plan(recipe(), blurred(1.0), known=known)
