"""Statistics that candidates are chosen by."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gcn_cli.core import likeness as module
from gcn_cli.core.likeness import draws, measure, unlikeness


def _noise(seed, channels, size):
    return torch.randn(1, channels, size, size, generator=torch.Generator().manual_seed(seed))


def _blobs(seed, size=128, channels=3):
    """Soft discs of one size on a torus: shapes, of which another seed draws others."""
    seeds = (_noise(seed, 1, size) > 2.4).float()
    grid = torch.arange(-4.0, 5)
    disc = (grid[:, None] ** 2 + grid**2 < 16).float()[None, None]
    drawn = F.conv2d(F.pad(seeds, (4,) * 4, mode="circular"), disc).clamp_max(1)
    tint = torch.tensor([90.0, 60.0, 30.0])[:channels].view(1, -1, 1, 1)
    return drawn * tint + 2 * _noise(seed + 1000, channels, size)


def _random_phase(image):
    phase = torch.fft.fft2(_noise(5, 1, image.shape[-1]))
    return torch.fft.ifft2(torch.fft.fft2(image) * phase / phase.abs()).real


@pytest.fixture(scope="module")
def known():
    return measure(_blobs(0))


def test_the_exemplar_is_nearest_and_fresh_draws_are_nearer_than_other_patterns(known):
    fresh = torch.cat([_blobs(k) for k in range(1, 7)])
    far = unlikeness(known, fresh)
    assert far.shape == (6,)
    assert unlikeness(known, _blobs(0)) < 0.5 * far.min()
    assert 0.3 < float(far.mean()) < 2  # as far as the halves, or so
    assert unlikeness(known, _random_phase(_blobs(1))) > 1.5 * far.mean()
    assert unlikeness(known, 25 * _noise(1, 3, 128)) > 3 * far.max()
    assert unlikeness(known, 1.5 * _blobs(1)) > 1.5 * far.mean()


def test_a_torus_looks_the_same_from_everywhere(known):
    image = _blobs(3)
    rolled = torch.roll(image, (12, 28), (-2, -1))
    torch.testing.assert_close(unlikeness(known, rolled), unlikeness(known, image))


def test_flat_colour_does_not_count(known):
    """Colours are the matching path's business; candidates differ in shapes."""
    image = _blobs(3)
    torch.testing.assert_close(
        unlikeness(known, image + 20), unlikeness(known, image), rtol=1e-3, atol=1e-4
    )


def test_images_do_not_meet_in_a_batch(known):
    pair = torch.cat([_blobs(1), _blobs(2)])
    each = torch.cat([unlikeness(known, image[None]) for image in pair])
    assert torch.equal(unlikeness(known, pair), each)


def test_octaves_grow_with_the_exemplar():
    assert [len(measure(_blobs(0, size)).octaves) for size in (64, 95, 96, 200, 800)] == [
        1,
        1,
        2,
        3,
        3,
    ]


def test_large_images_are_looked_at_in_part_and_alike_every_time(monkeypatch):
    monkeypatch.setattr(module, "_PATCHES", 500)
    known, image = measure(_blobs(0)), _blobs(1)
    assert torch.equal(unlikeness(known, image), unlikeness(known, image))
    assert len(module._patches(image, 7, wrap=True)) == 500
    monkeypatch.undo()
    whole = unlikeness(measure(_blobs(0)), image)
    assert unlikeness(known, image) == pytest.approx(float(whole), rel=0.6)


@pytest.mark.parametrize(("channels", "size"), [(1, 64), (3, 12), (2, 5)])
def test_few_channels_and_pixels(channels, size):
    image = 30 * _noise(0, channels, size)
    far = unlikeness(measure(image), torch.cat([image, 30 * _noise(1, channels, size)]))
    assert bool(far.isfinite().all())
    assert far[0] < far[1]


def test_a_flat_exemplar_and_flat_candidates():
    flat = torch.zeros(1, 1, 32, 32)
    assert bool(unlikeness(measure(flat), flat).isfinite())
    assert bool(unlikeness(measure(30 * _noise(0, 1, 32)), flat).isfinite())


def test_large_canvases_are_worth_fewer_candidates(known):
    sizes = [(32, 32), (128, 128), (128, 256), (256, 256), (512, 512), (4096, 4096)]
    assert [draws(known, 8, size) for size in sizes] == [8, 8, 8, 4, 1, 1]
    assert draws(None, 1, (64, 64)) == 1
    with pytest.raises(ValueError, match="nothing to choose"):
        draws(None, 2, (64, 64))
