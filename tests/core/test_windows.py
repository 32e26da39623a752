"""Large canvases, window by window, equal small ones computed whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gcn_cli.core.langevin import LangevinParams
from gcn_cli.core.matching import MatchingParams, learn_stage
from gcn_cli.core.model import LevelModel, Model, SamplerParams
from gcn_cli.core.network import ConvNet, LayerSpec, initial_weights
from gcn_cli.core.noise import BAND
from gcn_cli.core.pyramid import enlarge_rows, enlarge_torus
from gcn_cli.core.synthesis import final_images, synthesize
from gcn_cli.core.windows import parts

MEAN = torch.tensor([100.0, 60.0]).view(2, 1, 1)
TALL = 2 * BAND + 12  # two bands and a short one


def _level(layers, scale=1.0, boundary="torus", **langevin):
    net = ConvNet(layers, 2)
    weights = initial_weights(net, torch.Generator().manual_seed(3), sigma=10.0)
    params = LangevinParams(10.0, 5.0, **langevin)
    return LevelModel(net, weights, params, SamplerParams(4, 10.0, 1), boundary, scale)


def _matched(level):
    """The level with a matching path of two stages."""
    rng = torch.Generator().manual_seed(4)
    chains, observed = (scale * torch.randn(1, 2, 40, 40, generator=rng) for scale in (20, 40))
    params = MatchingParams(2, 1, (40, 40), filters=8)
    path = tuple(learn_stage(params, stage, observed, chains, 0)[0] for stage in range(2))
    return replace(level, matching=path)


LEVELS = {
    "stride 1": [_level((LayerSpec(4, 5), LayerSpec(3, 3)), cooling=0.5)],
    "dilated": [_level((LayerSpec(4, 3), LayerSpec(3, 3, dilation=2)))],
    "stride 3, dithered": [_level((LayerSpec(4, 5, 3), LayerSpec(3, 3)), dither=3)],
    "bounded": [_level((LayerSpec(4, 5, 2, 2), LayerSpec(3, 3, 1, 1)), boundary="bounded")],
    "pyramid": [
        _level((LayerSpec(4, 3), LayerSpec(3, 3)), scale=0.5),
        _level((LayerSpec(4, 5), LayerSpec(3, 3))),
    ],
}


@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS.keys())
def test_windows_give_the_whole_canvas_up_to_rounding(levels, cpu):
    model = Model(tuple(levels), MEAN)
    size = (
        (TALL + 1, 90)
        if levels[0].boundary == "torus" and levels[0].net.total_stride == 3
        else (TALL, 90)
    )
    draw = {
        w: final_images(synthesize(model, size, [0, 7], 5, device=cpu, window=w))
        for w in (None, 40)
    }
    assert float(draw[None].std()) > 5
    torch.testing.assert_close(draw[40], draw[None], rtol=0, atol=2e-3)


def test_a_matched_canvas_differs_only_where_rounding_crosses_a_knot(cpu):
    model = Model((_matched(LEVELS["stride 1"][0]),), MEAN)
    whole, cut = (
        final_images(synthesize(model, (TALL, 90), [0, 7], 5, device=cpu, window=w))
        for w in (None, 40)
    )
    bare = Model((LEVELS["stride 1"][0],), MEAN)
    assert (whole - final_images(synthesize(bare, (TALL, 90), [0, 7], 5, device=cpu))).std() > 1
    assert (cut - whole).abs().mean() < 1e-3
    assert (cut - whole).abs().max() < 0.5


def test_a_margin_too_small_would_show(cpu, monkeypatch):
    """Control: one pixel less than the field's reach changes the picture."""
    levels = LEVELS["stride 1"]
    whole = final_images(synthesize(Model(tuple(levels), MEAN), (TALL, 90), [0], 5, device=cpu))
    monkeypatch.setattr(ConvNet, "receptive_field", 6)  # it is 7
    cut = final_images(
        synthesize(Model(tuple(levels), MEAN), (TALL, 90), [0], 5, device=cpu, window=40)
    )
    assert (cut - whole).abs().max() > 0.1


def test_a_canvas_within_the_window_is_computed_whole(cpu):
    model = Model((replace(LEVELS["stride 1"][0]),), MEAN)
    small = (20, 24)
    whole = final_images(synthesize(model, small, [0], 5, device=cpu))
    assert torch.equal(final_images(synthesize(model, small, [0], 5, device=cpu, window=24)), whole)


@pytest.mark.parametrize("factor", [2, 3])
def test_rows_of_an_enlargement(factor, draw_images):
    images = draw_images(2, 3, 9, 8)
    whole = enlarge_torus(images, factor)
    for top, bottom in ((0, 5), (4, 13), (7, 9 * factor)):
        rows = enlarge_rows(images, factor, top, bottom)
        torch.testing.assert_close(rows, whole[..., top:bottom, :], rtol=0, atol=1e-10)


def test_parts_are_even_and_cover_everything():
    assert parts(1032, 1024) == [(0, 516), (516, 1032)]
    assert parts(1032, 1024, 256) == [(0, 768), (768, 1032)]
    assert parts(524, 40, 256) == [(0, 256), (256, 512), (512, 524)]
    assert parts(7, 100) == [(0, 7)]
