"""A canvas in windows equals the whole; the pieces cover it once and keep the phase."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.engine import windows
from gcn_cli.engine.windows import move_bands, parts, window, windowed_gradient
from gcn_cli.field.network import LayerSpec, NoiseNet, beside

NET = NoiseNet((LayerSpec(6, 6, 2, True), LayerSpec(6, 4, 2, True)), 2, 1)  # reach 11, stride 4
S = torch.tensor([0.7, 2.0])


@pytest.fixture
def sampler(draw_field, engines):
    return engines(NET).opened(draw_field(NET)[0])


@pytest.mark.parametrize(("n", "most"), [(10, 3), (9, 3), (2, 3), (1, 1)])
def test_parts_cover_a_line_once_in_order(n, most):
    pieces = parts(n, most)
    assert [k for first, last in pieces for k in range(first, last)] == list(range(n))
    assert all(0 < last - first <= most for first, last in pieces)


@pytest.mark.parametrize("stride", [1, 3, 4])
@pytest.mark.parametrize("shift", [0, 1, 2])
def test_a_window_holds_the_reach_and_is_in_phase_with_the_rolled_strides(stride, shift):
    for first, last, reach in ((0, 7, 5), (13, 20, 11), (8, 16, 0)):
        start, stop = window(first, last, reach, stride, shift)
        assert 0 <= (first - reach) - start < stride
        assert 0 <= stop - (last + reach) < stride
        assert (start + shift) % stride == (stop + shift) % stride == 0


def known(size):
    """What is given beside a canvas of a size: a torus of one channel."""
    return torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(2))


def steps(sampler, canvas, shifts, side):
    """A few steps in place, window by window."""
    y, given = canvas.clone(), known(canvas.shape[-2:])
    for shift in shifts:

        def move(rows, top, inner, shift=shift):
            lines = torch.arange(top, top + rows.shape[-2]) % canvas.shape[-2]
            both = beside(rows, given[..., lines, :])
            told = windowed_gradient(
                lambda piece: sampler.window(piece, S), both, 2, top, inner, 11, 4, shift, side
            )
            return rows[..., inner[0] - top : inner[1] - top, :] + 0.3 * told

        move_bands(y, 11, 4, shift[0], move)
    return y


def whole(sampler, canvas, shifts):
    y, given = canvas, known(canvas.shape[-2:])
    for dy, dx in shifts:
        told = sampler(torch.roll(beside(y, given), (dy, dx), (2, 3)), S)
        y = y + 0.3 * torch.roll(told, (-dy, -dx), (2, 3))
    return y


def share_alike(told, true):
    """Share of pixels that are equal: where rounding switched a unit, those that see it are not."""
    return float(((told - true).abs() < 1e-5).double().mean())


SHIFTS = [(0, 0), (3, 1), (2, 0)]


@pytest.mark.parametrize(
    ("size", "band", "side"),
    [
        ((48, 72), 16, 24),  # three bands of three windows
        ((44, 68), 18, 26),  # short last pieces, bands out of phase with the stride
        ((28, 100), 256, 40),  # one band
        ((64, 16), 24, 16),  # as narrow as one window
        ((48, 24), 6, 24),  # bands lower than the reach
    ],
)
def test_steps_in_windows_equal_steps_of_the_whole_canvas(size, band, side, sampler, monkeypatch):
    monkeypatch.setattr(windows, "BAND", band)
    canvas = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(1))
    told, true = steps(sampler, canvas, SHIFTS, side), whole(sampler, canvas, SHIFTS)
    assert share_alike(told, true) > 0.96
    assert share_alike(told, canvas) < 0.1  # control: something moved
    other = whole(sampler, canvas, [(0, 0), (3, 2), (2, 0)])
    assert share_alike(told, other) < 0.9  # control: the phase matters


@pytest.mark.parametrize("height", [4, 8, 12])
def test_a_canvas_lower_than_the_reach_wraps_more_than_once(height, sampler):
    canvas = torch.randn(2, 2, height, 72, generator=torch.Generator().manual_seed(1))
    told, true = steps(sampler, canvas, SHIFTS, 24), whole(sampler, canvas, SHIFTS)
    assert share_alike(told, true) > 0.96
