"""The diameter of motifs where it is known, and the size that follows from it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gcn_cli.statistics.motif import coarsest_reduction, correlation_length, motif


@pytest.mark.parametrize("width", [2.0, 4.0])
def test_blurred_noise_has_the_correlation_length_of_its_blur(width, blurred):
    """The correlation of noise blurred by w is exp(-d^2 / 4 w^2), 0.1 at d = 3.03 w."""
    images = blurred(width, 256, n=6)
    assert 0 < correlation_length(images) - 2 * width * math.sqrt(math.log(10)) < 2
    assert motif(images) == 2 * correlation_length(images)


def test_the_motifs_grow_as_the_blur(blurred):
    small, large = (motif(blurred(w, 256, n=2)) for w in (3.0, 6.0))
    assert large / small == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("swap", [False, True])
def test_long_motifs_count_by_their_length(swap, blurred):
    """A mean over 20 px in a row has the correlation 1 - d / 20 along it."""
    streaks = F.avg_pool2d(blurred(0.0, 256, n=4), (1, 20), 1)
    images = streaks.mT if swap else streaks
    assert abs(correlation_length(images) - 19) <= 1


@pytest.mark.parametrize("flip", [False, True])
def test_long_motifs_along_either_diagonal_count_alike(flip, blurred):
    """A mean over 14 px along a diagonal: 0.1 is left after 12.6 of them, 17.8 px."""
    white = blurred(0.0, 256, n=4)
    streaks = sum(white.roll((k, k), (2, 3)) for k in range(14)) / 14
    images = streaks.flip(3) if flip else streaks
    assert abs(correlation_length(images) - 12.6 * math.sqrt(2)) <= 1.5


def test_white_noise_has_motifs_of_a_pixel(blurred):
    assert correlation_length(blurred(0.0, 64)) == 1


def test_unit_and_mean_of_the_grey_levels_do_not_matter(blurred):
    images = blurred(1.0, 64)
    assert correlation_length(40 * images + 100) == correlation_length(images) < 5


def test_motifs_that_never_end_count_a_quarter_of_the_shorter_side():
    ramp = torch.linspace(-1, 1, 96).expand(1, 1, 48, 96)
    assert correlation_length(ramp) == 12


def test_no_correlation_goes_around_the_frame():
    """Of slopes whose ends are opposites, the correlation along either axis is 0.38 at 16 of 64 px;
    were they a torus, -0.13."""
    slope = torch.linspace(-1, 1, 64)
    assert correlation_length((slope[:, None] * slope).view(1, 1, 64, 64)) == 16


def test_the_coarsest_size_is_the_first_that_sees_two_motifs_side_by_side(blurred):
    images = blurred(4.0, 192)
    twice = 2 * int(motif(images))
    for view, reduction in ((twice, 1), (twice - 1, 2), (twice // 2, 2), (twice // 4, 4)):
        assert coarsest_reduction(images, view, 1) == reduction


def test_no_side_falls_below_the_least(blurred):
    images = blurred(4.0, 192)
    for least, reduction in ((193, 1), (97, 1), (96, 2), (48, 4), (25, 4)):
        assert coarsest_reduction(images, 1, least) == reduction
    assert coarsest_reduction(images[..., :100, :], 1, 48) == 2


def test_long_motifs_are_found_along_either_diagonal():
    white = torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(6))
    along = sum(torch.roll(white, (k, k), (-2, -1)) for k in range(13))
    found = motif(along)
    assert found == motif(along.flip(-1))
    assert found > 2 * motif(sum(torch.roll(white, k, -1) for k in range(4)))
