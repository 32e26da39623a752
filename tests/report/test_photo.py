"""What is said of a picture before anything is learned from it."""

from pathlib import Path

import pytest
import torch

from gcn_cli.errors import ImageError
from gcn_cli.images.files import Picture
from gcn_cli.report.photo import examine_photo


def _told(levels, **more):
    return examine_photo(Path("x.png"), Picture(levels, **more))


def test_a_sound_picture_is_recommended_as_it_is(blurred):
    photo = _told(120 + 30 * blurred(2.0, 128)[0])
    assert photo.advice == ("nothing speaks against learning it as it is",)
    assert (photo.width, photo.height, photo.channels, photo.known) == (128, 128, 1, 1.0)


def test_large_motifs_few_motifs_and_shadows_are_told(blurred):
    large = _told(120 + 30 * blurred(16.0, 1536)[0])
    side = int(large.advice[0].partition("max_side=")[2].split()[0])
    assert abs(large.motif * side / 1536 - 40) < 3
    few = _told(120 + 30 * blurred(10.0, 96)[0])
    assert "fewer than 4 of its largest motifs" in few.advice[0]
    shadow = torch.exp(torch.linspace(0, -0.9, 128))
    assert "--flatten" in _told((120 + 20 * blurred(1.0, 128)[0]) * shadow).advice[-1]


def test_a_frame_is_to_be_cropped_before_anything_else(blurred):
    levels = 120 + 30 * blurred(2.0, 128)[0]
    levels[:, :6] = 255
    assert _told(levels).advice[0] == "it has a frame: --crop 0,6,128,122 leaves it out"


def test_what_is_unknown_and_what_was_done_on_reading_is_told(blurred):
    known = torch.ones(64, 64, dtype=torch.bool)
    known[:16] = False
    photo = _told(120 + 30 * blurred(1.0, 64)[0], known=known, depth="16", notes=("from CMYK",))
    text = "\n".join(photo.told())
    assert "64x64 px, 1 channel, depth 16, 75.0% of it known" in text
    assert "  from CMYK" in text
    assert photo.as_data()["inside"] == {"x": 0, "y": 0, "width": 64, "height": 64}


def test_what_is_unknown_is_not_measured():
    """Transparent pixels hold a flat colour: neither a motif nor a frame nor even light."""
    draw = torch.Generator().manual_seed(0)
    whole = 120 + 30 * torch.randn(3, 96, 96, generator=draw)
    known = torch.ones(96, 96, dtype=torch.bool)
    known[:30] = False
    known[:, 80:] = False
    seen = []
    for value in (0.0, 250.0):
        levels = torch.where(known, whole, torch.full_like(whole, value))
        told = examine_photo(Path("x.png"), Picture(levels, known))
        seen.append((told.motif, told.blockiness, told.inside))
        assert told.known == pytest.approx(float(known.float().mean()))
        assert tuple(told.inside) == (0, 0, 96, 96)
        assert told.motif < 10 < examine_photo(Path("x.png"), Picture(levels)).motif
    assert seen[0] == seen[1]


def test_what_is_too_scattered_is_refused_with_its_share():
    known = torch.zeros(1500, 20, dtype=torch.bool)
    known[::3] = True
    with pytest.raises(ImageError, match=r"33.3% of x.png is known, too scattered"):
        examine_photo(Path("x.png"), Picture(torch.rand(3, 1500, 20), known))
