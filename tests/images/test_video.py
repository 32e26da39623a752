"""Films: every frame in its place, the last one held, no broken file left."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from gcn_cli.errors import GcnError, UsageError
from gcn_cli.images.video import Film, check_video

LEVELS = (10.0, 120.0, 240.0)


def film(height, width):
    made = Film()
    for level in LEVELS:
        made.add(torch.full((1, height, width), level))
    return made


def test_a_gif_shows_the_frames_in_order_holds_the_last_and_begins_again(tmp_path):
    film(5, 7).write(tmp_path / "deep" / "film.GIF")
    with Image.open(tmp_path / "deep" / "film.GIF") as picture:
        assert (picture.size, picture.n_frames, picture.info["loop"]) == ((7, 5), 3, 0)
        for index, level in enumerate(LEVELS):
            picture.seek(index)
            assert np.array(picture.convert("L")) == pytest.approx(level, abs=2)
            assert picture.info["duration"] == (1500 if index == 2 else 80)


@pytest.fixture
def imageio(monkeypatch):
    """A stand-in for the optional writer: the frames that it is handed, and its settings."""
    told = SimpleNamespace(frames=[], settings={}, files=[])

    class Writer:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            told.files[-1].write_bytes(b"film")

        def append_data(self, frame):
            told.frames.append(frame.copy())

    def get_writer(path, **settings):
        told.files.append(Path(path))
        told.settings = settings
        return Writer()

    module, package = ModuleType("imageio.v2"), ModuleType("imageio")
    module.get_writer = get_writer
    package.v2 = module
    monkeypatch.setitem(sys.modules, "imageio", package)
    monkeypatch.setitem(sys.modules, "imageio.v2", module)
    return told


@pytest.mark.parametrize(("sides", "even"), [((5, 7), (6, 8)), ((6, 8), (6, 8)), ((5, 8), (6, 8))])
def test_an_mp4_has_even_sides_and_takes_its_place_when_it_is_whole(imageio, tmp_path, sides, even):
    film(*sides).write(tmp_path / "film.mp4")
    assert [frame.shape for frame in imageio.frames] == [(*even, 3)] * len(imageio.frames)
    shown = [int(frame.mean()) for frame in imageio.frames]
    assert shown == [10, 120] + [240] * (1 + 1500 // 80)
    assert imageio.settings["fps"] == 12.5
    assert imageio.files[0].parent == tmp_path
    assert imageio.files[0].name.startswith(".")
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_films_that_cannot_be_written_are_refused(tmp_path, monkeypatch):
    check_video(Path("a.GIF"))
    with pytest.raises(UsageError, match=r"ends in \.gif or \.mp4; a\.avi does not"):
        check_video(Path("a.avi"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_video(Path("a.gif"))
    with pytest.raises(UsageError, match="needs an extra"):
        check_video(Path("a.MP4"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    check_video(Path("a.mp4"))
    (tmp_path / "file").touch()
    with pytest.raises(GcnError, match="cannot write"):
        film(2, 2).write(tmp_path / "file" / "film.gif")
