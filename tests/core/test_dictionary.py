"""First layers that start as centroids of the exemplar's patches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gcn_cli.core.dictionary import dictionary_layer, draw_patches, patch_filters

SIGMA = 0.2


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def _strokes(sides=(96, 96), channels=1):
    """Bright horizontal and dark vertical strokes of 7 px at random places, on grey."""
    image, place = torch.zeros(1, channels, *sides), _rng(5)
    for turn in range(120):
        y, x = (int(torch.randint(n - 8, (), generator=place)) for n in sides)
        if turn % 2:
            image[..., y, x : x + 7] = 1.0
        else:
            image[..., y : y + 7, x] = -1.0
    return image


def _layer(images, shape=(16, 1, 7, 7), threshold=1.0, seed=0):
    return dictionary_layer(images, shape, sigma=SIGMA, threshold=threshold, rng=_rng(seed))


def test_filters_find_the_strokes_of_the_exemplar_and_no_others():
    image = _strokes()
    w, b = _layer(image, threshold=0.0)
    there = F.conv2d(image, w, b).amax((0, 2, 3))
    elsewhere = F.conv2d(-image, w, b).amax((0, 2, 3))  # dark horizontal, bright vertical ones
    turned = F.conv2d(image.mT, w, b).amax((0, 2, 3))  # bright vertical, dark horizontal ones
    assert (there > 1.3 * elsewhere).float().mean() > 0.8
    assert (there > 1.3 * turned).float().mean() > 0.8


def test_a_random_layer_does_not_find_them():
    image = _strokes()
    w = torch.randn(16, 1, 7, 7, generator=_rng(1))
    there, elsewhere = (F.conv2d(x, w).amax((0, 2, 3)) for x in (image, -image))
    assert (there > 1.3 * elsewhere).float().mean() < 0.5


@pytest.mark.parametrize("channels", [1, 3])
def test_filters_answer_to_noise_as_random_ones_do_and_not_to_flat_places(channels):
    w, _ = _layer(_strokes(channels=channels), (16, channels, 7, 7))
    assert w.sum((1, 2, 3)).abs().max() < 1e-4
    answers = F.conv2d(SIGMA * torch.randn(4, channels, 64, 64, generator=_rng(2)), w)
    torch.testing.assert_close(answers.std((0, 2, 3)), torch.full((16,), 2**0.5), rtol=0.1, atol=0)


@pytest.mark.parametrize("threshold", [0.5, 2.0])
def test_the_threshold_counts_deviations_of_the_answers_to_the_noisy_exemplar(threshold):
    image = _strokes()
    w, b = _layer(image, threshold=threshold)
    noisy = image + SIGMA * torch.randn(20, 1, 96, 96, generator=_rng(3))
    answers = F.conv2d(noisy, w)
    torch.testing.assert_close(
        -b / answers.std((0, 2, 3)), torch.full((16,), threshold), rtol=0.05, atol=0
    )


def test_the_same_seed_gives_the_same_layer_and_another_another():
    image = _strokes()
    torch.testing.assert_close(_layer(image), _layer(image), rtol=0, atol=0)
    assert not torch.equal(_layer(image)[0], _layer(image, seed=1)[0])


def test_the_unit_of_the_grey_levels_changes_nothing():
    image = _strokes()
    w, b = _layer(image)
    scaled = dictionary_layer(4 * image, w.shape, sigma=4 * SIGMA, threshold=1.0, rng=_rng())
    torch.testing.assert_close(4 * scaled[0], w)
    torch.testing.assert_close(scaled[1], b)


@pytest.mark.parametrize(
    "image",
    [torch.zeros(1, 1, 20, 20), torch.ones(1, 1, 7, 7), torch.rand(1, 1, 4, 9), _strokes((9, 9))],
)
def test_flat_and_tiny_exemplars_give_finite_filters_of_the_usual_size(image):
    w, b = _layer(image)
    assert w.isfinite().all()
    assert b.isfinite().all()
    torch.testing.assert_close(w.square().sum((1, 2, 3)).sqrt() * SIGMA, torch.full((16,), 2**0.5))


def test_large_images_are_sampled_and_small_ones_seen_whole():
    small = torch.arange(144.0).view(1, 1, 12, 12)
    assert draw_patches(small, 3, _rng()).shape == (100, 9)
    assert len(draw_patches(small, 3, _rng()).unique(dim=0)) == 100
    assert draw_patches(torch.zeros(2, 3, 300, 300), 3, _rng()).shape == (50_000, 27)


def test_filters_answer_to_one_cluster_each_where_the_noise_is_not_whitened():
    means = 10 * torch.eye(6)[:3]
    patches = means.repeat(200, 1) + 0.1 * torch.randn(600, 6, generator=_rng(4))
    centred = F.normalize(means - means.mean(0), dim=1)
    kept, split = (
        F.normalize(patch_filters(patches, 12, sd, _rng()), dim=1) @ centred.mT
        for sd in (4.0, 1e-3)
    )
    assert kept.amax(0).min() > 0.98  # every cluster has a filter
    assert kept.amax(1).min() > 0.95  # and every filter a cluster
    assert split.amax(1).min() < 0.3  # noise brought to the size of the clusters splits them


def test_filters_are_blind_to_what_varies_in_every_cluster():
    """Two clusters along one axis, strong variation that tells nothing along another."""
    side = torch.tensor([1.0, -1.0]).repeat(300)[:, None]
    shared = 10 * torch.randn(600, 1, generator=_rng(6))
    patches = torch.cat([side, shared + side], 1)

    def blind(noise_sd):
        filters = F.normalize(patch_filters(patches, 8, noise_sd, _rng()), dim=1)
        clusters, variation = (filters @ torch.tensor([[1.0, 1.0], [0.0, 1.0]]).mT).abs().mT
        return (variation < 0.3 * clusters).float().mean()

    assert blind(0.1) > 0.5
    assert blind(100.0) < 0.2  # not whitened
