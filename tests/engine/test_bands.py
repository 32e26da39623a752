"""Large canvases, window by window, equal small ones computed whole."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.engine.bands import parts
from gcn_cli.field.convnet import ConvNet, LayerSpec, initial_weights
from gcn_cli.field.langevin import LangevinParams
from gcn_cli.field.noise import BAND
from gcn_cli.texture.paper.draw import final_images, synthesize
from gcn_cli.texture.paper.model import Model, SamplerParams
from gcn_cli.texture.pyramid import enlarge_rows, enlarge_torus

MEAN = torch.tensor([100.0, 60.0]).view(2, 1, 1)
TALL = 2 * BAND + 12  # two bands and a short one


def _model(layers, boundary="torus", **langevin):
    net = ConvNet(layers, 2)
    weights = initial_weights(net, torch.Generator().manual_seed(3), sigma=10.0)
    params = LangevinParams(10.0, 5.0, **langevin)
    return Model(net, weights, params, SamplerParams(4, 10.0, 1), boundary, MEAN)


MODELS = {
    "stride 1": _model((LayerSpec(4, 5), LayerSpec(3, 3))),
    "stride 3, dithered": _model((LayerSpec(4, 5, 3), LayerSpec(3, 3)), dither=3),
    "bounded": _model((LayerSpec(4, 5, 2, 2), LayerSpec(3, 3, 1, 1)), boundary="bounded"),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_windows_give_the_whole_canvas_up_to_rounding(model, cpu):
    size = (
        (TALL + 1, 90) if model.boundary == "torus" and model.net.total_stride == 3 else (TALL, 90)
    )
    draw = {
        w: final_images(synthesize(model, size, [0, 7], 5, device=cpu, window=w))
        for w in (None, 40)
    }
    assert float(draw[None].std()) > 5
    torch.testing.assert_close(draw[40], draw[None], rtol=0, atol=2e-3)


def test_a_margin_too_small_would_show(cpu, monkeypatch):
    """Control: one pixel less than the field's reach changes the picture."""
    model = MODELS["stride 1"]
    whole = final_images(synthesize(model, (TALL, 90), [0], 5, device=cpu))
    monkeypatch.setattr(ConvNet, "receptive_field", 6)  # it is 7
    cut = final_images(synthesize(model, (TALL, 90), [0], 5, device=cpu, window=40))
    assert (cut - whole).abs().max() > 0.1


def test_a_canvas_within_the_window_is_computed_whole(cpu):
    model = MODELS["stride 1"]
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
