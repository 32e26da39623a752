"""gcn synthesize: files, seeds, tiles, streams, films."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from gcn_cli import __version__
from gcn_cli.images.files import load_image
from gcn_cli.run.checkpoint import load_checkpoint


def test_one_sample_beside_its_checkpoint(gcn, run, listing):
    folder = run()
    before = listing(folder)
    result = gcn("synthesize", "--ckpt", folder / "run.pt", "--size", "30x20", "--seed", 4)
    path = folder / "synthesized" / "sample-30x20-seed4.png"
    assert (result.exit_code, result.stdout) == (0, f"{path}\n")
    assert listing(folder) - before == {"synthesized/sample-30x20-seed4.png"}
    assert load_image(path).shape == (3, 20, 30)
    assert "seed 4" in result.stderr


def test_several_samples_and_their_grid(gcn, trained, tmp_path, listing):
    result = gcn(
        *("synthesize", "--ckpt", trained["dithered"], "--size", 32),
        *("--seeds", "0,5-6", "--out", tmp_path / "a" / "b", "--quiet"),
    )
    names = [f"sample-32x32-seed{k}.png" for k in (0, 5, 6)]
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        str(tmp_path / "a" / "b" / name) for name in (*names, "grid-32x32-seed0-6-of-3.png")
    ]
    assert listing(tmp_path) == {f"a/b/{name}" for name in (*names, "grid-32x32-seed0-6-of-3.png")}


@pytest.mark.parametrize(
    ("tile", "preview", "shape"),
    [("x", "tiled2x1", (24, 80)), ("y", "tiled1x2", (48, 40)), ("xy", "tiled2x2", (48, 80))],
)
def test_tiles_have_a_preview(gcn, trained, tmp_path, listing, tile, preview, shape):
    gcn(
        *("synthesize", "--ckpt", trained["dithered"], "--size", "40x24"),
        *("--tile", tile, "--out", tmp_path),
    )
    stem = "sample-40x24-seed0"
    assert listing(tmp_path) == {f"{stem}.png", f"{stem}-{preview}.png"}
    assert load_image(tmp_path / f"{stem}-{preview}.png").shape[1:] == shape


def test_opposite_sides_of_a_tile_meet(gcn, box, tmp_path):
    """Long runs without noise: they end at modes, where neighbours resemble each other."""
    learned = gcn(
        *("train", "--images", box / "images" / "ash.png", "--config", box / "dithered.yaml"),
        *("--set", "sampling.steps=40", "--out", tmp_path / "runs"),
    )
    gcn(
        *("synthesize", "--ckpt", learned.stdout.strip(), "--size", 64, "--n", 4, "--tile", "xy"),
        *("--temperature", 0, "--out", tmp_path),
    )
    images = torch.stack([load_image(tmp_path / f"sample-64x64-seed{k}.png") for k in range(4)])
    for dim in (-2, -1):
        steps = (images - images.roll(1, dim)).square()
        seam = steps.narrow(dim, 0, 1).mean()
        inside = steps.narrow(dim, 1, 63).mean()
        far = 2 * (images - images.mean((-2, -1), keepdim=True)).square().mean()
        assert inside < 0.9 * far  # neighbours resemble each other, so a seam would show
        assert seam < 1.3 * inside


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["plain", "dithered", "bounded", "texture"])
def test_a_seed_is_one_picture_alone_or_among_others(gcn, trained, tmp_path, name, precision):
    words = ("synthesize", "--ckpt", trained[name], "--size", 32, "--precision", precision)
    gcn(*words, "--n", 5, "--batch", 5, "--out", tmp_path / "together")
    gcn(*words, "--n", 5, "--batch", 2, "--out", tmp_path / "pairs")
    gcn(*words, "--seed", 3, "--out", tmp_path / "alone")
    file = "sample-32x32-seed3.png"
    whole = (tmp_path / "together" / file).read_bytes()
    assert (tmp_path / "pairs" / file).read_bytes() == whole
    assert (tmp_path / "alone" / file).read_bytes() == whole
    assert (tmp_path / "together" / "sample-32x32-seed2.png").read_bytes() != whole


def test_a_picture_tells_its_story(gcn, trained, tmp_path):
    gcn(
        *("synthesize", "--ckpt", trained["plain"], "--size", "32x24", "--seed", 9),
        *("--tile", "x", "--temperature", 0.5, "--precision", "fp32", "--out", tmp_path / "a.png"),
    )
    with Image.open(tmp_path / "a.png") as picture:
        text = picture.text
    assert text == {
        "Software": f"gcn {__version__}",
        "gcn:checkpoint": load_checkpoint(trained["plain"]).fingerprint,
        "gcn:preset": "custom",
        "gcn:seed": "9",
        "gcn:size": "32x24",
        "gcn:tile": "x",
        "gcn:temperature": "0.5",
        "gcn:precision": "float32",
    }


def test_stdout_carries_the_picture(gcn, trained, tmp_path):
    words = ("synthesize", "--ckpt", trained["plain"], "--size", "32x24")
    streamed = gcn(*words, "-o", "-")
    filed = gcn(*words, "-o", tmp_path / "one.png")
    assert filed.stdout == f"{tmp_path / 'one.png'}\n"
    assert streamed.stdout_bytes == (tmp_path / "one.png").read_bytes()


def test_temperature_matters(gcn, trained, tmp_path):
    for heat in (0, 1):
        words = ("--size", 32, "--temperature", heat, "--out", tmp_path / f"{heat}.png")
        gcn("synthesize", "--ckpt", trained["plain"], *words)
    assert load_image(tmp_path / "0.png").std() < load_image(tmp_path / "1.png").std()


def test_a_film_of_the_chain(gcn, trained, tmp_path):
    film = tmp_path / "film.gif"
    result = gcn(
        *("synthesize", "--ckpt", trained["dithered"], "--size", "30x20"),
        *("--out", tmp_path / "a.png", "--video", film),
    )
    assert result.stdout.splitlines() == [str(tmp_path / "a.png"), str(film)]
    with Image.open(io.BytesIO(film.read_bytes())) as picture:
        assert picture.size == (30, 20)
        assert picture.n_frames >= 2


@pytest.mark.parametrize("name", ["plain", "dithered", "bounded", "texture"])
@pytest.mark.parametrize("size", ["3x5", "17x41", "100x32"])
def test_any_size(gcn, trained, tmp_path, name, size):
    path = tmp_path / "a.png"
    result = gcn("synthesize", "--ckpt", trained[name], "--size", size, "--out", path)
    assert result.exit_code == 0, result.stderr
    width, height = map(int, size.split("x"))
    assert load_image(path).shape == (3, height, width)


@pytest.mark.parametrize("more", [("--n", 3), ("--seed", 3)])
def test_seeds_are_said_once(gcn, trained, tmp_path, more):
    words = ("--ckpt", trained["plain"], "--size", 16, "--seeds", "0-1", "-o", tmp_path / "out")
    result = gcn("synthesize", *words, *more)
    assert result.exit_code == 2
    assert "leave out --n and --seed" in result.stderr
    assert not (tmp_path / "out").exists()
