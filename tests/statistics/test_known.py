"""Figures of pictures with holes: of what is known, and of nothing else."""

import math

import pytest
import torch

from gcn_cli.errors import ImageError
from gcn_cli.statistics import metrics
from gcn_cli.statistics.known import known_share, largest_square, whole_windows
from gcn_cli.statistics.maps import cross_correlations, cross_map_error
from gcn_cli.statistics.metrics import coherence, evaluate_texture

HOLE = (slice(None), slice(70, 100), slice(20, 50))


def noise(seed, channels=3, side=128):
    draw = torch.Generator().manual_seed(seed)
    wide = torch.randn(channels, side + 4, side + 4, generator=draw)
    soft = torch.nn.functional.avg_pool2d(wide, 5, 1)
    return (128 + 40 * soft / soft.std()).clamp(0, 255)


def holed(image, hole=HOLE, value=math.nan):
    image = image.clone()
    image[hole] = value
    return image


def test_windows_are_whole_where_every_pixel_is_known():
    image = holed(noise(0, side=20), (0, 5, 8))
    found = whole_windows(image, 3)
    wanted = torch.ones(18, 18, dtype=torch.bool)
    wanted[3:6, 6:9] = False
    assert torch.equal(found, wanted)
    assert known_share(image) == pytest.approx(1 - 1 / 400)


@pytest.mark.parametrize("seed", range(6))
def test_the_largest_square_is_found(seed):
    draw = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 17, 23, generator=draw)
    unknown = torch.rand(17, 23, generator=draw) < (0.02 * seed)
    image[1, unknown] = math.nan
    square = largest_square(image)
    sides = [
        n
        for n in range(1, 18)
        if any(
            not unknown[i : i + n, j : j + n].any() for i in range(18 - n) for j in range(24 - n)
        )
    ]
    assert square.isfinite().all()
    if seed:
        assert square.shape == (2, sides[-1], sides[-1])
    else:
        assert square is image


def test_filters_see_all_that_is_known_and_nothing_else():
    image = noise(1)
    bank = [torch.randn(4, 3, k, k, generator=torch.Generator().manual_seed(k)) for k in (3, 11)]
    (whole,) = metrics._responses(image, bank)
    (told,) = metrics._responses(holed(image), bank)
    seen = whole_windows(holed(image), 11).flatten()
    torch.testing.assert_close(told, whole[:, seen], rtol=1e-4, atol=1e-2)


@pytest.mark.slow
def test_scores_are_those_of_what_is_known():
    image, sample = noise(1), noise(2)[None]
    whole = evaluate_texture(image, sample).as_dict()
    known = evaluate_texture(holed(image), sample).as_dict()
    filled = evaluate_texture(holed(image, value=255.0), sample).as_dict()
    for name in ("colour", "swd", "gram"):
        assert known[name] == pytest.approx(whole[name], rel=0.6), name
    assert known["spectrum_db"] == pytest.approx(whole["spectrum_db"], abs=1.5)
    assert abs(filled["spectrum_db"] - whole["spectrum_db"]) > 1.5
    same = evaluate_texture(holed(image), image[None]).as_dict()
    assert same["colour"] < 0.3 < evaluate_texture(holed(image, value=255.0), sample).colour


def test_a_sample_with_holes_is_compared_likewise_and_a_copy_is_still_seen():
    image = noise(1)
    copy = coherence(holed(image), image)
    assert copy == pytest.approx(1, abs=0.02)
    assert coherence(holed(noise(2)), image) < 0.2
    both = torch.stack([holed(image), holed(noise(2))])
    told = evaluate_texture(image, both).as_dict()
    assert told["diversity"] == pytest.approx(1, abs=0.1)
    assert all(math.isfinite(value) for value in told.values())


def test_too_little_of_a_half_is_refused():
    with pytest.raises(ImageError, match=r"too little of the exemplar .*: 50.0% of it, its large"):
        evaluate_texture(holed(noise(1), (..., slice(64))), noise(2)[None])


def test_maps_are_correlated_where_all_are_known():
    maps = torch.cat([noise(1), noise(1)[:1] / 2 + noise(3)[:1]])
    pairs = [(0, 3), (1, 3)]
    hole = (slice(3, 4), *HOLE[1:])
    wanted = cross_correlations(maps[:, :, 50:], pairs)
    torch.testing.assert_close(
        cross_correlations(holed(maps, (3, slice(None), slice(50))), pairs),
        wanted,
        rtol=1e-6,
        atol=1e-9,
    )
    filled = cross_map_error(maps, holed(maps, hole, 999.0), (3, 1))
    assert cross_map_error(maps, holed(maps, hole), (3, 1)) < filled / 2
    with pytest.raises(ImageError, match=r"75.0% of the maps is known, and no square of 17 px"):
        cross_correlations(holed(maps, (..., slice(None, None, 4))), pairs)
