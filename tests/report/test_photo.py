"""What is said of a picture before anything is learned from it."""

from pathlib import Path

import torch

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
