"""No depth is lost: 16 bits, half and float, in every mode, read and written."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gcn_cli.errors import ImageError
from gcn_cli.images import write
from gcn_cli.images.files import (
    DEPTHS,
    FORMATS,
    check_folder,
    check_format,
    fitting_depth,
    read_picture,
    save_picture,
    usual_suffix,
)

NUMPY = {"8": np.uint8, "16": np.uint16, "half": np.float16, "float": np.float32}
PAIRS = [(s, d) for s, depths in FORMATS.items() for d in depths]
PAIRS = [(s, d) for s, d in PAIRS if s != ".jxl" or write._writes_jxl()]
LOSSLESS = [(s, d) for s, d in PAIRS if s not in (".jpg", ".jpeg")]
GENTLE = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def stored(path, samples, **attributes):
    """A file of samples (H, W, C), written by OpenImageIO itself."""
    spec = oiio.ImageSpec(samples.shape[1], samples.shape[0], samples.shape[2], "uint16")
    spec.set_format(str({"float16": "half", "float32": "float"}.get(samples.dtype.name, "uint16")))
    spec.alpha_channel = samples.shape[2] - 1 if samples.shape[2] in (2, 4) else -1
    for name, value in attributes.items():
        spec.attribute(name.replace("__", ":"), value)
    if "tile" in attributes:
        spec.tile_width = spec.tile_height = attributes["tile"]
    out = oiio.ImageOutput.create(str(path))
    assert out.open(str(path), spec), out.geterror()
    assert out.write_image(samples), out.geterror()
    out.close()
    out.geterror()
    return path


def noise(channels, kind=np.uint16, side=9):
    rng = np.random.default_rng(channels)
    if kind is np.uint16:
        return rng.integers(0, 65536, (side, side + 2, channels), dtype=np.uint16)
    return (3 * rng.random((side, side + 2, channels))).astype(kind)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_are_read_whole_in_every_mode(tmp_path, suffix, channels):
    samples = noise(channels)
    path = stored(tmp_path / f"a{suffix}", samples, oiio__UnassociatedAlpha=1)
    found = read_picture(path)
    colours = 1 if channels < 3 else 3
    assert found.depth == "16"
    assert found.levels.shape == (colours, 9, 11)
    told = (found.levels * 257).round().permute(1, 2, 0).numpy()
    known = np.ones((9, 11), bool) if channels in (1, 3) else samples[..., -1] >= 32767.5
    assert np.array_equal(told[known], samples[..., :colours][known])
    assert np.array_equal(known, np.ones((9, 11), bool) if found.known is None else found.known)


@pytest.mark.parametrize("suffix", [".tif", ".exr"])
@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_floats_are_read_whole(tmp_path, suffix, kind, channels):
    samples = noise(channels, kind)
    found = read_picture(stored(tmp_path / f"a{suffix}", samples, tiff__half=1), "data")
    assert found.depth == {2: "half", 4: "float"}[np.dtype(kind).itemsize]
    told = (found.levels / 255).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(told, samples.astype(np.float32), rtol=2e-7)


def test_scans_in_tiles_are_read(tmp_path):
    samples = noise(3, side=70)
    found = read_picture(stored(tmp_path / "a.tif", samples, tile=32))
    assert np.array_equal((found.levels * 257).round().permute(1, 2, 0).numpy(), samples)


def test_exr_has_its_colours_divided_by_alpha(tmp_path):
    samples = np.full((4, 4, 4), 0.25, np.float32)
    samples[..., 3] = 0.5
    samples[0, 0] = 0
    found = read_picture(stored(tmp_path / "a.exr", samples))
    assert int((~found.known).sum()) == 1
    assert found.levels[0, 1, 1].item() == pytest.approx(187.516, abs=1e-2)  # one half


def test_channels_that_are_no_picture_are_refused(tmp_path):
    spec = oiio.ImageSpec(4, 4, 5, "float")
    spec.channelnames = ("a", "b", "c", "d", "e")
    spec.alpha_channel = -1
    out = oiio.ImageOutput.create(str(tmp_path / "a.exr"))
    out.open(str(tmp_path / "a.exr"), spec)
    out.write_image(np.zeros((4, 4, 5), np.float32))
    out.close()
    with pytest.raises(ImageError, match=r"holds the channels \w, \w"):
        read_picture(tmp_path / "a.exr")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_camera_is_turned_back_at_any_depth(tmp_path, orientation):
    samples = noise(1)
    deep = read_picture(stored(tmp_path / "a.tif", samples, Orientation=orientation)).levels
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray((samples[..., 0] >> 8).astype(np.uint8)).save(tmp_path / "b.png", exif=exif)
    flat = read_picture(tmp_path / "b.png").levels
    assert torch.equal((deep * 257).round() // 256, flat)


@pytest.mark.parametrize("part", [0.3, 0.7])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".exr"])
def test_a_truncated_deep_file_is_refused(tmp_path, suffix, part):
    kind = np.float16 if suffix == ".exr" else np.uint16
    path = stored(tmp_path / f"a{suffix}", noise(3, kind, side=60), compression="zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(ImageError, match=r"a\.(png|tif|exr)"):
        read_picture(path)


def test_a_name_alone_invents_no_picture(tmp_path):
    (tmp_path / "x.null").write_text("hello")
    with pytest.raises(ImageError, match="not an image"):
        read_picture(tmp_path / "x.null")


# ------------------------------------------------------------------------------ round trips


@pytest.mark.parametrize(("suffix", "depth"), LOSSLESS)
@GENTLE
@given(
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 2**16),
    role=st.sampled_from(["colour", "data"]),
)
def test_what_was_written_is_read_again(
    tmp_path, suffix, depth, channels, height, width, seed, role
):
    if suffix == ".jxl":  # smaller ones OpenImageIO does not know again
        height, width = max(height, 4), max(width, 4)
    rng = np.random.default_rng(seed)
    most = {"8": 256, "16": 65536}.get(depth)
    scale = {"8": 1, "16": 257}.get(depth, 1)
    shape = (channels, height, width)
    values = rng.integers(0, most, shape) if most else 300 * rng.random(shape)
    levels = torch.tensor((values / scale).astype(np.float32))
    path = tmp_path / f"a{suffix}"
    save_picture(path, levels, depth, role)
    found = read_picture(path, role)
    assert found.depth == depth
    assert found.known is None
    again = found.levels
    levels = levels.expand(len(again), -1, -1)  # WebP has colours alone
    if most:
        assert torch.equal((again * scale).round(), (levels * scale).round())
    else:
        torch.testing.assert_close(again, levels, rtol=1e-3 if depth == "half" else 2e-6, atol=1e-3)


@pytest.mark.parametrize(("suffix", "depth"), LOSSLESS)
@GENTLE
@given(
    channels=st.sampled_from([1, 3]),
    height=st.integers(4, 40),
    width=st.integers(4, 40),
    seed=st.integers(0, 2**16),
    data=st.data(),
)
def test_any_part_of_what_was_written_is_that_part_of_the_whole(
    tmp_path, suffix, depth, channels, height, width, seed, data
):
    draw = torch.Generator().manual_seed(seed)
    path = tmp_path / f"a{suffix}"
    save_picture(path, 255 * torch.rand(channels, height, width, generator=draw), depth)
    whole = read_picture(path).levels
    x, y = (data.draw(st.integers(0, n - 1)) for n in (width, height))
    w, h = data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))
    part = read_picture(path, crop=(x, y, w, h))
    assert torch.equal(part.levels, whole[:, y : y + h, x : x + w])
    assert part.whole == (width, height)


def test_a_height_map_keeps_its_65536_levels(tmp_path):
    samples = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    for suffix in (".png", ".tif"):
        first = read_picture(stored(tmp_path / f"a{suffix}", samples), "data")
        save_picture(tmp_path / f"b{suffix}", first.levels, first.depth, "data")
        again = read_picture(tmp_path / f"b{suffix}", "data").levels
        assert len((again * 257).round().unique()) == 65536
        assert np.array_equal((again * 257).round()[0].numpy(), samples[..., 0])


def test_the_smallest_halves_survive_a_processor_that_flushes_denormal_numbers(tmp_path):
    """So it does as soon as an engine was opened."""
    values = torch.tensor([[[2.8e-5, 1e-6, -3e-5, 0.5]]])
    torch.set_flush_denormal(True)
    try:
        save_picture(tmp_path / "a.exr", 255 * values, "half", "data")
        again = read_picture(tmp_path / "a.exr", "data").levels / 255
    finally:
        torch.set_flush_denormal(False)
    torch.testing.assert_close(again, values, rtol=1e-3, atol=3e-8)


def test_light_above_white_comes_back(tmp_path):
    light = torch.tensor([[[0.0, 0.5, 1.0, 7.5]]])
    for depth, suffix in (("half", ".exr"), ("float", ".exr"), ("float", ".tif")):
        samples = light[0, ..., None].numpy().astype(NUMPY[depth])
        first = read_picture(stored(tmp_path / f"a{suffix}", samples))
        assert first.levels.max() > 255
        save_picture(tmp_path / f"b{suffix}", first.levels, depth)
        again = read_picture(tmp_path / f"b{suffix}", "data").levels / 255
        torch.testing.assert_close(again, light, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("suffix", "depth"), PAIRS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_format_is_written_and_read_by_pillow_or_openimageio(
    tmp_path, suffix, depth, channels
):
    y, x = np.mgrid[:20, :30]
    levels = torch.tensor((x * 8 + y).astype(np.float32)).expand(channels, -1, -1)
    save_picture(tmp_path / f"a{suffix}", levels, depth)
    found = read_picture(tmp_path / f"a{suffix}")
    assert found.levels.shape[1:] == (20, 30)
    assert (found.levels - levels).abs().max() < 4
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_colours_say_that_they_are_srgb_and_data_do_not(tmp_path, suffix):
    for depth in (d for d in FORMATS[suffix] if d in ("8", "16")):
        for role in ("colour", "data"):
            path = tmp_path / f"{role}{depth}{suffix}"
            save_picture(path, torch.rand(3, 8, 8) * 255, depth, role)
            if suffix == ".png":
                marked = b"sRGB" in path.read_bytes()
            else:
                spec = oiio.ImageInput.open(str(path)).spec()
                marked = spec.getattribute("ICCProfile") is not None
            assert marked == (role == "colour")
            assert read_picture(path).notes == ()


def test_text_is_carried_by_png_of_16_bits_too(tmp_path):
    text = {"gcn:seed": "7", "Comment": "日本"}
    save_picture(tmp_path / "a.png", torch.rand(3, 300, 5) * 255, "16", metadata=text)
    with Image.open(tmp_path / "a.png") as picture:
        picture.load()
        assert picture.text == text


# -------------------------------------------------------------------------------- refusals


def test_refusals_before_any_work(tmp_path):
    with pytest.raises(ImageError, match=r"a\.xyz has no suffix of a format that is written: \.pn"):
        check_format("a.xyz")
    with pytest.raises(ImageError, match=r"\.jpg holds a depth of 8, not of 16; \.png, \.tif"):
        check_format("a.jpg", "16")
    check_format("a.EXR", "half")
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="file is a file, not a folder"):
        check_folder(tmp_path / "file" / "below")
    check_folder(tmp_path / "new" / "newer")


def test_a_folder_that_is_locked_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("gcn_cli.images.write.os.access", lambda *_: False)
    with pytest.raises(ImageError, match="cannot be written to"):
        check_folder(tmp_path)


def test_the_nearest_depth_and_suffix():
    assert fitting_depth(".png", "half") == "16"
    assert fitting_depth(".jpg", "float") == "8"
    assert fitting_depth(".exr", "8") == "half"
    assert [usual_suffix(d) for d in DEPTHS] == [".png", ".png", ".exr", ".exr"]


# --------------------------------------------------------------------------- large scans


@pytest.mark.parametrize("tile", [None, 16])
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_scan_beyond_the_bound_is_averaged_while_it_is_read(tmp_path, monkeypatch, suffix, tile):
    samples = noise(3, side=203)
    tiled = {"tile": tile} if tile and suffix == ".tif" else {}
    path = stored(tmp_path / f"a{suffix}", samples, **tiled)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30_000)
    with pytest.raises(ImageError, match=r"megapixels; images\.max_side"):
        read_picture(path)
    found = read_picture(path, max_side=25)
    assert found.levels.shape == (3, 50, 51)  # twice as many as are wanted
    assert found.notes == ("its 205x203 px were reduced 4 times on reading",)
    squares = samples[:200, :204].astype(np.float64).reshape(50, 4, 51, 4, 3).mean((1, 3)) / 257
    np.testing.assert_allclose(found.levels.permute(1, 2, 0).numpy(), squares, rtol=1e-5)
    assert read_picture(path, max_side=49).levels.shape == (3, 101, 102)
    with pytest.raises(ImageError, match="megapixels"):
        read_picture(path, max_side=60)  # half the size would do, and that is not enough


def test_a_reduced_pixel_is_known_where_its_whole_square_is(tmp_path, monkeypatch):
    samples = np.full((80, 80, 4), 65535, np.uint16)
    samples[5, 9] = 0
    path = stored(tmp_path / "a.png", samples, oiio__UnassociatedAlpha=1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5_000)
    found = read_picture(path, max_side=10)
    assert [tuple(p) for p in (~found.known).nonzero().tolist()] == [(1, 2)]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["a.tif", "tiled.tif", "a.png", "a.exr"])
def test_a_part_that_is_read_alone_is_that_part_of_the_whole(tmp_path, form, orientation):
    samples = noise(3, np.float16 if form == "a.exr" else np.uint16, side=75)
    tiled = {"tile": 16} if "tiled" in form else {}
    path = stored(tmp_path / form, samples, Orientation=orientation, **tiled)
    whole = read_picture(path).levels
    for x, y, w, h in ((0, 0, 75, 75), (5, 33, 64, 31), (74, 74, 1, 1), (16, 64, 32, 11)):
        found = read_picture(path, crop=(x, y, w, h))
        assert torch.equal(found.levels, whole[:, y : y + h, x : x + w])
        assert found.whole == (whole.shape[2], whole.shape[1])
    with pytest.raises(ImageError, match=r"the crop 70,0,8,9 lies outside .*, 7[57]x7[57] px"):
        read_picture(path, crop=(70, 0, 8, 9))


def test_a_part_of_a_scan_beyond_the_bound_needs_no_reduction(tmp_path, monkeypatch):
    samples = noise(4, side=203)
    samples[..., 3] = 65535
    samples[20, 30, 3] = 0
    path = stored(tmp_path / "a.tif", samples, tile=16, oiio__UnassociatedAlpha=1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    found = read_picture(path, crop=(25, 15, 90, 100))
    wanted = samples[15:115, 25:115, :3].astype(np.float32)
    told = (found.levels * 257).round().permute(1, 2, 0).numpy()
    assert np.array_equal(told[found.known], wanted[found.known])
    assert [tuple(p) for p in (~found.known).nonzero().tolist()] == [(5, 5)]
    with pytest.raises(ImageError, match=r"a.tif is transparent everywhere in the crop"):
        read_picture(path, crop=(30, 20, 1, 1))
    with pytest.raises(ImageError, match="megapixels"):
        read_picture(path, crop=(0, 0, 150, 150))
    less = read_picture(path, crop=(3, 1, 150, 152), max_side=25)
    squares = samples[1:151, 3:153, :3].astype(np.float64).reshape(50, 3, 50, 3, 3).mean((1, 3))
    got = (less.levels * 257).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(got[less.known], squares[less.known], rtol=1e-5)
    assert less.notes[0] == "its 150x152 px were reduced 3 times on reading"


@pytest.mark.slow
def test_a_scan_of_400_megapixels_takes_little_memory(tmp_path):
    """Of a process of its own, beside what it takes before it reads anything."""
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "bench_scan.py"
    words = [sys.executable, str(script), "--folder", str(tmp_path), "--json"]
    told = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    assert set(told) == {"crop 2000x2000", "max_side 1024"}
    for name, one in told.items():
        assert one["right"], name
        assert one["extra_mb"] < 350, name  # the picture has 1200
