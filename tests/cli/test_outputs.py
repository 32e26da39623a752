"""Where samples go: depths, formats, names, and what is never replaced."""

from __future__ import annotations

import json

import numpy as np
import OpenImageIO as oiio
import pytest
import torch
from PIL import Image

from gcn_cli.images.files import FORMATS, read_picture, save_picture
from gcn_cli.run.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def heights(gcn, box, tmp_path_factory):
    """A run learned from a 16-bit height map."""
    folder = tmp_path_factory.mktemp("heights")
    rng = np.random.default_rng(0)
    values = (30000 + 8000 * rng.standard_normal((32, 32))).clip(0, 65535).astype(np.uint16)
    Image.fromarray(values).save(folder / "sand.png")
    words = ("--images", folder / "sand.png", "--config", box / "plain.yaml")
    told = gcn("train", *words, "--set", "images.role=data", "--out", folder / "runs")
    assert told.exit_code == 0, told.stderr
    return folder / "runs" / "00000-sand"


def stored(path):
    """Type of samples and their number of channels, as the file says."""
    spec = oiio.ImageInput.open(str(path)).spec()
    return str(spec.format), spec.nchannels


def test_the_depth_is_the_exemplars_unless_told(gcn, heights, tmp_path):
    saved = load_checkpoint(heights)
    assert saved.depth == "16"
    assert not torch.equal(saved.observed, saved.observed.round())
    for name, depth, wanted in [
        ("a.png", (), "uint16"),
        ("a.tif", (), "uint16"),
        ("b.tif", ("--depth", "half"), "half"),
        ("b.png", ("--depth", "8"), "uint8"),
        ("c.exr", ("--depth", "float"), "float"),
    ]:
        told = gcn("synthesize", "--ckpt", heights, "-o", tmp_path / name, *depth)
        assert (told.exit_code, told.stdout) == (0, f"{tmp_path / name}\n")
        assert stored(tmp_path / name) == (wanted, 1)
    levels = [read_picture(tmp_path / n, "data").levels for n in ("a.png", "a.tif", "c.exr")]
    assert torch.equal(levels[0], levels[1])
    assert len(levels[0].unique()) > 2000
    clamped = levels[2].clamp(0, 255)
    assert (levels[0] - clamped).abs().max() <= 0.5 / 257 + 1e-4


def test_a_format_that_holds_less_says_so(gcn, heights, tmp_path):
    told = gcn("synthesize", "--ckpt", heights, "-o", tmp_path / "a.jpg")
    assert "the exemplar has a depth of 16; .jpg holds 8" in told.stderr
    assert stored(tmp_path / "a.jpg")[0] == "uint8"


def test_stdout_has_the_same_depth(gcn, heights, tmp_path):
    streamed = gcn("synthesize", "--ckpt", heights, "-o", "-", "--size", 40)
    gcn("synthesize", "--ckpt", heights, "-o", tmp_path / "a.png", "--size", 40)
    assert streamed.stdout_bytes == (tmp_path / "a.png").read_bytes()


def test_an_old_checkpoint_means_eight_bits(gcn, run, tmp_path):
    folder = run("texture")
    data = torch.load(folder / "run.pt", weights_only=True)
    del data["depth"], data["known"]
    torch.save(data, folder / "run.pt")
    assert load_checkpoint(folder).depth == "8"
    gcn("synthesize", "--ckpt", folder, "-o", tmp_path / "a.png", "--size", 32)
    assert stored(tmp_path / "a.png") == ("uint8", 3)


@pytest.mark.parametrize("suffix", [suffix for suffix in FORMATS if suffix != ".jxl"])
def test_the_suffix_says_the_format(gcn, trained, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    told = gcn("synthesize", "--ckpt", trained["plain"], "--size", 32, "-o", path, "--tile", "x")
    preview = tmp_path / f"a-tiled2x1{suffix}"
    assert told.stdout.split() == [str(path), str(preview)]
    assert read_picture(path).levels.shape == (3, 32, 32)
    assert read_picture(preview).levels.shape == (3, 32, 64)


def test_light_goes_in_and_comes_out(gcn, box, tmp_path):
    picture = read_picture(box / "images" / "ash.png").levels
    save_picture(tmp_path / "ash.exr", picture, "half")
    words = ("--config", box / "plain.yaml", "--out", tmp_path / "runs")
    told = gcn("train", "--images", tmp_path / "ash.exr", *words)
    assert told.exit_code == 0, told.stderr
    saved = load_checkpoint(tmp_path / "runs" / "00000-ash")
    assert saved.depth == "half"
    assert (saved.observed[0] - picture).abs().max() < 0.5
    told = gcn("synthesize", "--ckpt", tmp_path / "runs" / "00000-ash", "--size", 32)
    (path,) = told.stdout.split()
    assert path.endswith("sample-32x32-seed0.exr")
    assert stored(path) == ("half", 3)


def test_names_by_a_template(gcn, trained, tmp_path, listing):
    words = ("--size", "32x24", "--n", 2, "--out", tmp_path)
    gcn("synthesize", "--ckpt", trained["plain"], *words, "--name", "{stem}-{seed:04d}-{size}")
    gcn("synthesize", "--ckpt", trained["plain"], *words[:4], "-o", tmp_path / "t", "--name")
    assert listing(tmp_path) == {
        "ash-0000-32x24.png",
        "ash-0001-32x24.png",
        "grid-32x24-seed0-1.png",
    }
    gcn(
        *("synthesize", "--ckpt", trained["plain"], "--size", 32, "--out", tmp_path / "more"),
        *("--name", "{seed}.tif"),
    )
    assert listing(tmp_path / "more") == {"0.tif"}


def test_nothing_that_exists_is_replaced(gcn, trained, tmp_path, listing):
    words = ("synthesize", "--ckpt", trained["plain"], "--size", 32, "--out", tmp_path)
    assert gcn(*words, "--n", 2).exit_code == 0
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    for more in (("--seed", 1), ("--seeds", "1,5"), ("--seeds", "0-1")):
        told = gcn(*words, *more, "--temperature", 0)
        assert told.exit_code == 2
        assert told.stdout == ""
        name = "sample-32x32-seed0" if more[1] == "0-1" else "sample-32x32-seed1"
        assert f"{name}.png exists already; --overwrite replaces it" in told.stderr
        assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert gcn(*words, "--seed", 1, "--temperature", 0, "--overwrite").exit_code == 0
    changed = [p.name for p in before if p.read_bytes() != before[p]]
    assert changed == ["sample-32x32-seed1.png"]


def test_a_preview_and_a_film_count_too(gcn, trained, tmp_path):
    words = ("synthesize", "--ckpt", trained["plain"], "--size", 32, "-o", tmp_path / "a.png")
    (tmp_path / "a-tiled2x1.png").touch()
    assert "a-tiled2x1.png exists" in gcn(*words, "--tile", "x").stderr
    (tmp_path / "a.gif").touch()
    assert "a.gif exists" in gcn(*words, "--video", tmp_path / "a.gif").stderr
    assert not (tmp_path / "a.png").exists()


def test_the_exemplar_is_never_replaced(gcn, run, tmp_path):
    folder = run()
    Image.new("RGB", (4, 4)).save(tmp_path / "mine.png")
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"images": [str(tmp_path / "mine.png")]}))
    before = (tmp_path / "mine.png").read_bytes()
    told = gcn("synthesize", "--ckpt", folder, "-o", tmp_path / "mine.png", "--overwrite")
    assert told.exit_code == 2
    assert "is what the model was learned from" in told.stderr
    assert (tmp_path / "mine.png").read_bytes() == before


def test_other_seeds_go_beside_those_that_are_there(gcn, trained, tmp_path, listing):
    words = ("synthesize", "--ckpt", trained["plain"], "--size", 32, "--out", tmp_path)
    for seeds in ("0-1", "2-3", "4,7"):
        assert gcn(*words, "--seeds", seeds).exit_code == 0
    grids = {name for name in listing(tmp_path) if name.startswith("grid")}
    assert grids == {
        "grid-32x32-seed0-1.png",
        "grid-32x32-seed2-3.png",
        "grid-32x32-seed4-7-of-2.png",
    }
