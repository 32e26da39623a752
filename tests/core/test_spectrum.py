"""The spectral stage: a Gaussian field that gives chains the observed cross-spectra."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gcn_cli.core import spectrum
from gcn_cli.core.matching import push, push_
from gcn_cli.core.spectrum import learn_equaliser

LAGS = [(0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (-1, 1), (3, 0)]


def _white(seed, n=2, size=(96, 128), scale=10.0, channels=2):
    rng = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, channels, *size, generator=rng)


def _woven(seed, n=2, size=(96, 128)):
    """Tori whose two colours go together, smooth along rows and rough across."""
    white = _white(seed, n, size)
    mixed = torch.stack([1.2 * white[:, 0] + 0.2 * white[:, 1], 0.2 * white[:, 0] + white[:, 1]], 1)
    taps = torch.tensor([0.08, 0.84, 0.08])
    smooth = sum(t * mixed.roll(k, 3) for t, k in zip(taps, (-1, 0, 1), strict=True))
    return smooth - 0.1 * smooth.roll(1, 2)


def _covariances(images):
    """(lags, C, C) of tori."""
    size = images[:, 0].numel()
    return torch.stack(
        [torch.einsum("ncyx,ndyx->cd", images, images.roll(lag, (2, 3))) / size for lag in LAGS]
    )


def _even(matrices):
    return (matrices + matrices.mT) / 2


def test_chains_get_the_observed_covariances_between_places_and_colours():
    observed, chains, fresh = _woven(1, n=4), _white(2, n=4), _white(3, n=16)
    stage, mismatch = learn_equaliser(15, observed, chains)
    want, had = _covariances(_woven(4, n=16)), _covariances(fresh)
    got = _covariances(push(stage, fresh))
    assert float(mismatch) > 1
    assert float(_even(got - want).abs().max()) < 0.1 * float(_even(had - want).abs().max())


def test_periods_longer_than_a_window_are_left_alone():
    stage, _ = learn_equaliser(15, _woven(1), _white(2))
    rows, columns = torch.arange(96) / 96, torch.arange(128) / 128
    slow = torch.cos(2 * torch.pi * (2 * rows[:, None] + 2 * columns)).expand(1, 2, -1, -1)
    quick = torch.cos(2 * torch.pi * (30 * rows[:, None] + 2 * columns)).expand(1, 2, -1, -1)
    kept, moved = (float((push(stage, wave) - wave).std()) for wave in (slow, quick))
    assert kept < 0.05
    assert moved > 0.2


def test_the_step_is_the_gradient_of_a_quadratic_tilt():
    stage, _ = learn_equaliser(7, _woven(1), _white(2))
    images = _white(3, size=(20, 24)).double().requires_grad_()
    wrapped = F.pad(images, (3,) * 4, mode="circular")
    tilt = (images * F.conv2d(wrapped, stage.kernel.double())).sum() / 2
    (basis,) = torch.autograd.grad(tilt, images)
    moved = push(stage, images.detach(), torch.float64)
    torch.testing.assert_close(moved, images.detach() + basis, rtol=0, atol=1e-5)


def test_chains_that_match_already_are_left_alone():
    stage, mismatch = learn_equaliser(7, _woven(1, size=(256, 256)), _woven(2, size=(256, 256)))
    images = _woven(3)
    assert float(mismatch) < 0.5
    assert float((push(stage, images) - images).std()) < 0.05 * float(images.std())


def test_no_map_between_the_same_covariances_moves_images_less():
    """Against the map through Cholesky's factors, of one pixel's colours."""
    made = torch.tensor([[4.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    seen = torch.tensor([[3.0, -1.0], [-1.0, 2.5]], dtype=torch.float64)
    found = spectrum._symmetric_map(made, seen)
    other = torch.linalg.cholesky(seen) @ torch.linalg.inv(torch.linalg.cholesky(made))
    for way in (found, other):
        torch.testing.assert_close(way @ made @ way.mT, seen)
    one = torch.eye(2, dtype=torch.float64)
    least, more = (((way - one) @ made @ (way - one).mT).trace() for way in (found, other))
    assert least < more


def test_a_step_has_no_place_on_the_torus_and_only_in_place_touches_its_images():
    stage, _ = learn_equaliser(7, _woven(1), _white(2))
    images = _white(3).double()
    kept = images.clone()
    moved = push(stage, images)
    assert torch.equal(images, kept)
    shifted = push(stage, images.roll((5, 11), (-2, -1)))
    torch.testing.assert_close(shifted, moved.roll((5, 11), (-2, -1)), rtol=0, atol=1e-9)
    assert push_(stage, images) is images
    assert torch.equal(images, moved)


def test_bands_of_rows_give_what_the_whole_gives(monkeypatch):
    stage, _ = learn_equaliser(7, _woven(1), _white(2))
    images = _white(3).double()
    whole = push(stage, images)
    monkeypatch.setattr(spectrum, "_BAND_VALUES", 5 * 2 * 2 * 128)  # five rows
    torch.testing.assert_close(push(stage, images), whole, rtol=0, atol=1e-9)


def test_a_torus_smaller_than_the_kernel_wraps_around():
    stage, _ = learn_equaliser(15, _woven(1), _white(2))
    small = _white(3, size=(6, 5)).double()
    big = push(stage, small.tile(1, 1, 6, 6))
    torch.testing.assert_close(push(stage, small), big[..., :6, :5], rtol=0, atol=1e-9)


def test_flat_images_give_a_finite_stage_that_at_most_doubles():
    stage, _ = learn_equaliser(7, _white(1, scale=90.0), torch.zeros(1, 2, 32, 32))
    assert bool(stage.kernel.isfinite().all())
    images = _white(2)
    assert float(push(stage, images).std()) < 2.05 * float(images.std())


def test_a_kernel_has_a_middle():
    with pytest.raises(ValueError, match="odd"):
        learn_equaliser(8, _woven(1), _white(2))
