"""What a user asks for: sides, tiles, seeds, batches; and how large a canvas that needs."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.engine import Machine
from gcn_cli.errors import UsageError
from gcn_cli.field.convnet import ConvNet, LayerSpec
from gcn_cli.field.langevin import LangevinParams
from gcn_cli.run import sampling
from gcn_cli.run.field_sampling import FieldArtist
from gcn_cli.run.gallery import draw
from gcn_cli.run.progress import NullProgress
from gcn_cli.run.sampling import (
    MAX_SIDE,
    Request,
    batches,
    cut,
    fit_canvas,
    fitting_batch,
    parse_seeds,
    parse_size,
)
from gcn_cli.texture.paper.model import Model, SamplerParams


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0", (0,)), (" 3, 1 ", (3, 1)), ("0,3,5-7", (0, 3, 5, 6, 7)), ("4-4,4,3-5", (4, 3, 5))],
)
def test_seeds_and_ranges_each_once_in_the_order_given(text, seeds):
    assert parse_seeds(text) == seeds
    assert len(parse_seeds("1-10000")) == 10000


@pytest.mark.parametrize("text", ["", "a", "1,", "1-", "-1", "1-b", "a-1", "1.5", "1--2"])
def test_what_is_no_seed_is_refused(text):
    with pytest.raises(UsageError, match="seeds read like"):
        parse_seeds(text)


@pytest.mark.parametrize("text", ["3-2", "0-10000"])
def test_ranges_that_are_empty_or_too_long_are_refused(text):
    with pytest.raises(UsageError, match="empty or too long"):
        parse_seeds(text)


def test_a_size_is_two_sides_or_a_square():
    assert parse_size("512x384") == (512, 384)
    assert parse_size("7X9") == (7, 9)
    assert parse_size("64") == (64, 64)
    for text in ("", "x", "64x", "x64", "a", "64xa", "-3", "1x2x3"):
        with pytest.raises(UsageError, match="a size reads like"):
            parse_size(text)


@pytest.mark.parametrize(
    ("width", "height", "tile", "canvas"),
    [
        (40, 24, "none", (24, 40)),
        (41, 23, "none", (24, 48)),
        (1, 1, "none", (24, 24)),
        (40, 23, "x", (24, 40)),
        (41, 24, "y", (24, 48)),
        (24, 24, "xy", (24, 24)),
    ],
)
def test_a_canvas_is_the_request_rounded_up_to_strides_and_a_field_of_view(
    width, height, tile, canvas
):
    assert fit_canvas(Request(width, height, (0,), tile), 8, 20) == canvas


@pytest.mark.parametrize(
    ("width", "height", "tile", "words"),
    [
        (41, 24, "x", "the width must be a multiple of 8 px and at least 24; nearest to 41: 40 or"),
        (
            40,
            30,
            "xy",
            "the height must be a multiple of 8 px and at least 24; nearest to 30: 24 o",
        ),
        (8, 24, "x", "nearest to 8: 24$"),
        (26, 24, "x", "nearest to 26: 24 or 32$"),
    ],
)
def test_a_side_that_tiles_is_a_multiple_or_refused_with_its_neighbours(width, height, tile, words):
    with pytest.raises(UsageError, match=words):
        fit_canvas(Request(width, height, (0,), tile), 8, 20)


@pytest.mark.parametrize(
    ("width", "height"), [(0, 5), (5, 0), (MAX_SIDE + 1, 5), (5, MAX_SIDE + 1)]
)
def test_sides_out_of_range_are_refused(width, height):
    with pytest.raises(UsageError, match="sides lie between 1 and 32768"):
        fit_canvas(Request(width, height, (0,)), 8, 20)
    assert fit_canvas(Request(MAX_SIDE, 1, (0,)), 8, 20) == (24, MAX_SIDE)


def test_a_batch_takes_a_quarter_of_the_free_memory_and_no_more_than_two_gib(monkeypatch):
    free = [2**30]
    monkeypatch.setattr(sampling, "free_memory", lambda device: free[0])
    card = torch.device("cuda")
    assert fitting_batch(2**26, card) == 4
    assert fitting_batch(2**26 + 1, card) == 3
    assert fitting_batch(2**40, card) == 1
    assert fitting_batch(1, card) == 16
    assert fitting_batch(2**40, card, wanted=7) == 7
    free[0] = 2**40
    assert fitting_batch(2**29, card) == 4


def test_a_processor_draws_one_by_one_whatever_is_wanted(cpu):
    assert fitting_batch(1, cpu) == fitting_batch(1, cpu, wanted=16) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])
def test_a_seed_is_one_picture_where_convolutions_round_by_the_batch(
    channels, dtype, cpu, draw_weights
):
    """In float32 three chains of a canvas this small, in one pass, differ from each alone."""
    net = ConvNet(
        (LayerSpec(32, 8, 2, 2), LayerSpec(32, 3, 1, 1), LayerSpec(16, 3, 1, 1)), channels
    )
    weights = draw_weights(net, dtype=torch.float32)
    steps, mean = SamplerParams(4, start_noise=1.0), torch.zeros(channels, 1, 1)
    model = Model(net, weights, LangevinParams(1.0, 0.3), steps, "bounded", mean)
    artist, machine = FieldArtist(model), Machine(cpu, dtype)

    def drawn(*seeds):
        request = Request(32, 32, seeds)
        at_once = artist.batch(request, machine, len(seeds))
        return dict(draw(artist, request, machine, NullProgress(), at_once))

    assert torch.equal(drawn(1, 2, 3)[3], drawn(3)[3])
    assert not torch.equal(drawn(2)[2], drawn(3)[3])


def test_batches_hold_every_seed_once():
    assert batches((5, 3, 9, 1, 2), 2) == [(5, 3), (9, 1), (2,)]
    assert batches((5,), 4) == [(5,)]


def test_what_exceeds_the_request_is_cut_below_and_on_the_right():
    images = torch.arange(24.0).view(1, 1, 4, 6)
    assert torch.equal(cut(images, Request(5, 3, (0,))), images[:, :, :3, :5])
