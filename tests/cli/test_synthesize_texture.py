"""gcn synthesize of the default recipe: tori, windows, films, what its numbers are."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from gcn_cli.engine import NoiseSource, open_engine
from gcn_cli.engine.support import Machine
from gcn_cli.field.ladder import reconstruct
from gcn_cli.images.files import load_image, to_uint8
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.run.sampling import Request
from gcn_cli.run.texture_sampling import TextureArtist
from gcn_cli.texture import draw

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(trained):
    return load_checkpoint(trained["texture"]).model


def _draw(gcn, trained, *words):
    result = gcn("synthesize", "--ckpt", trained["texture"], *words, "--precision", "fp32")
    assert result.exit_code == 0, result.stderr
    return result


def test_the_picture_is_the_end_of_the_chain_in_grey_levels(gcn, trained, tmp_path, model):
    _draw(gcn, trained, "--size", "32x16", "--seed", 5, "--tile", "xy", "-o", tmp_path / "a.png")
    *_, last = draw.draw(model, (16, 32), NoiseSource(0, [5], CPU), draw.Machine(CPU))
    wanted = to_uint8(model.to_grey(last.y)[0]).float()
    assert torch.equal(load_image(tmp_path / "a.png"), wanted)
    preview = load_image(tmp_path / "a-tiled2x2.png")
    assert torch.equal(preview, wanted.repeat(1, 2, 2))


def test_what_is_not_tiled_is_cut_from_the_next_larger_torus(gcn, trained, tmp_path):
    _draw(gcn, trained, "--size", "30x18", "-o", tmp_path / "cut.png")
    _draw(gcn, trained, "--size", "32x20", "--tile", "xy", "-o", tmp_path / "whole.png")
    whole = load_image(tmp_path / "whole.png")
    assert torch.equal(load_image(tmp_path / "cut.png"), whole[:, :18, :30])


@pytest.mark.parametrize("size", [0, 1])
def test_a_step_sees_no_seam(model, size):
    """The reconstruction of a torus laid beside itself is the reconstruction laid beside itself."""
    y = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    sampler = open_engine(model.net, CPU, torch.float32).opened(model.sizes[size].weights)
    for s in (0.02, 1.0, 20.0):
        level = torch.tensor([s])
        once = reconstruct(sampler, y, level)
        twice = reconstruct(sampler, y.repeat(1, 1, 2, 2), level)
        assert torch.allclose(twice, once.repeat(1, 1, 2, 2), atol=1e-5)


def test_a_canvas_holds_a_field_of_view_at_the_coarsest_size(model):
    artist = TextureArtist(model)
    assert artist.canvas(Request(3, 5, (0,))) == (16, 16)  # 8 px at half size
    assert artist.canvas(Request(33, 21, (0,))) == (24, 36)


def test_frames_tell_every_step_and_the_noise_falls(model):
    """The noise is scaled away: every frame spreads about as the data does."""
    artist = TextureArtist(model)
    frames = list(artist.frames(Request(32, 32, (0, 1)), Machine(CPU)))
    assert [frame.step for frame in frames] == list(range(model.total_steps + 1))
    shown = [frame.shown() for frame in frames]
    assert all(one.shape == (3, 32, 32) for one in shown)
    assert shown[0].std() == pytest.approx(model.contrast, rel=0.3)
    assert frames[-1].finish().shape == (2, 3, 32, 32)


def test_a_film_shows_every_step(gcn, trained, tmp_path, model):
    film = tmp_path / "film.gif"
    words = ("--size", "30x20", "-o", tmp_path / "a.png", "--video", film)
    result = _draw(gcn, trained, *words)
    assert result.stdout.splitlines() == [str(tmp_path / "a.png"), str(film)]
    with Image.open(io.BytesIO(film.read_bytes())) as picture:
        assert picture.size == (30, 20)
        assert picture.n_frames == model.total_steps + 1


def test_half_a_run_draws_enlarged_pictures(model, trained):
    from dataclasses import replace

    half = replace(model, sizes=model.sizes[:1])
    *_, last = TextureArtist(half).frames(Request(32, 24, (0,)), Machine(CPU))
    assert last.finish().shape == (1, 3, 24, 32)


def test_windows_give_the_same_picture(model, monkeypatch):
    """To a thousandth of a grey level, but where rounding switched a unit that pixels see."""
    whole, parts = (_finished(model, monkeypatch, window) for window in (1024, 24))
    assert float(((whole - parts).abs() < 1e-3).double().mean()) > 0.995


def _finished(model, monkeypatch, window):
    noise = NoiseSource(0, [0], CPU)
    *_, last = draw.draw(model, (64, 96), noise, draw.Machine(CPU), window=window)
    return model.to_grey(last.y)
