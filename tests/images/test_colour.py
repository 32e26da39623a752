"""Colour spaces: profiles and chunks are converted to sRGB, once told, and Pillow agrees."""

import io
import struct
import zlib

import numpy as np
import OpenImageIO as oiio
import pytest
import torch
from PIL import Image, ImageCms

from gcn_cli.errors import ImageError
from gcn_cli.images.colour import (
    _TO_D50,
    SRGB_PRIMARIES,
    _to_xyz,
    linear_of,
    space_of_profile,
)
from gcn_cli.images.files import read_picture
from gcn_cli.images.picture import decoded, encoded

P3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
IHDR_END = 33  # bytes of a PNG before which no chunk may come
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile(primaries=P3, gamma=2.2, name=b"Display P3", kind=b"RGB "):
    """An ICC profile of version 2, of primaries and an exponent."""
    columns = (_TO_D50 @ linear_of(primaries)).T
    text = b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name + bytes(80)
    curve = b"curv" + bytes(4) + struct.pack(">IHH", 1, round(256 * gamma), 0)
    tags = {b"desc": text, b"wtpt": _xyz((0.9642, 1.0, 0.8249)), b"cprt": b"text" + bytes(8)}
    if kind == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        tags |= {t: _xyz(c) for t, c in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _packed(tags, kind)


def _xyz(numbers):
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * n) for n in numbers))


def _packed(tags, kind):
    table, body, place = b"", b"", 132 + 12 * len(tags)
    for name, tag in tags.items():
        data = tag + bytes(-len(tag) % 4)
        table += struct.pack(">4sII", name, place + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", 0, b"none", 0x02400000, b"mntr", kind, b"XYZ ")
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    whole = head + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_a_profile_is_applied_as_pillow_would(tmp_path):
    picture = Image.fromarray(noise(20, 20, 3))
    picture.save(tmp_path / "a.png", icc_profile=profile())
    found = read_picture(tmp_path / "a.png")
    assert found.notes == ("read from Display P3, converted to sRGB",)
    given = ImageCms.ImageCmsProfile(io.BytesIO(profile()))
    wanted = ImageCms.profileToProfile(picture, given, ImageCms.createProfile("sRGB"))
    told = torch.tensor(np.asarray(wanted).astype(np.float32)).permute(2, 0, 1)
    assert (found.levels - told).abs().max() < 1.5
    assert (found.levels - told).abs().mean() < 0.3


def test_data_are_left_as_they_are(tmp_path):
    pixels = noise(20, 20, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=profile())
    found = read_picture(tmp_path / "a.png", "data")
    assert found.notes == ()
    assert np.array_equal(found.levels.permute(1, 2, 0).numpy(), pixels)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_srgb_itself_changes_nothing_and_is_not_told(tmp_path, suffix):
    pixels = Image.fromarray(noise(8, 8, 3))
    lossless = {"lossless": True} if suffix == ".webp" else {}
    pixels.save(tmp_path / f"a{suffix}", icc_profile=SRGB, **lossless)
    pixels.save(tmp_path / f"b{suffix}", **lossless)
    found, plain = (read_picture(tmp_path / f"{n}{suffix}") for n in "ab")
    assert found.notes == ()
    assert torch.equal(found.levels, plain.levels)


def test_sixteen_bits_stay_finer_than_eight_under_a_profile(tmp_path):
    samples = np.linspace(20000, 21000, 400).astype(np.uint16).reshape(20, 20, 1).repeat(3, 2)
    spec = oiio.ImageSpec(20, 20, 3, "uint16")
    data = np.frombuffer(profile(), np.uint8)
    spec.attribute("ICCProfile", oiio.TypeDesc(f"uint8[{len(data)}]"), data)
    out = oiio.ImageOutput.create(str(tmp_path / "a.tif"))
    assert out.open(str(tmp_path / "a.tif"), spec)
    out.write_image(samples)
    out.close()
    out.geterror()
    found = read_picture(tmp_path / "a.tif")
    assert found.depth == "16"
    assert "Display P3" in found.notes[0]
    assert len(found.levels[0].unique()) > 300


def test_grey_profiles_and_grey_pictures_under_a_colour_profile(tmp_path):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for kind in (b"GRAY", b"RGB "):
        given = profile(gamma=1.0, kind=kind, name=b"Linear")
        Image.fromarray(ramp).save(tmp_path / "a.png", icc_profile=given)
        found = read_picture(tmp_path / "a.png")
        assert found.levels.shape == (1, 16, 16)
        assert found.levels[0, 8, 0].item() == pytest.approx(188.0, abs=0.5)  # 128 / 255 of light


def test_cmyk_goes_through_its_profile_of_tables_or_is_taken_plainly(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 0, 0)).save(tmp_path / "plain.jpg", quality=100)
    plain = read_picture(tmp_path / "plain.jpg")
    assert plain.levels.shape == (3, 8, 8)
    assert plain.levels[:, 4, 4].tolist() == pytest.approx([255, 0, 255], abs=3)
    picture = Image.new("CMYK", (8, 8), (0, 255, 0, 0))
    picture.save(tmp_path / "odd.jpg", quality=100, icc_profile=profile())
    odd = read_picture(tmp_path / "odd.jpg")  # a profile of another kind of colours
    assert odd.notes


@pytest.mark.parametrize("damage", [40, 131, 150, 300])
def test_a_damaged_profile_is_told_and_left_out(tmp_path, damage):
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / "a.png", icc_profile=profile()[:damage])
    found = read_picture(tmp_path / "a.png")
    assert "left out" in found.notes[0]


def png(tmp_path, **chunks):
    """A grey PNG with chunks that need not be known to Pillow, which leaves such out."""
    path = tmp_path / "a.png"
    Image.fromarray(np.full((4, 4, 3), 128, np.uint8)).save(path)
    told = [(name.encode() + data, len(data)) for name, data in chunks.items()]
    added = [struct.pack(">I", n) + text + struct.pack(">I", zlib.crc32(text)) for text, n in told]
    whole = path.read_bytes()
    path.write_bytes(b"".join([whole[:IHDR_END], *added, whole[IHDR_END:]]))
    return read_picture(path)


def test_png_tells_by_chunks(tmp_path):
    plain = torch.full((3, 4, 4), 128.0)
    assert torch.equal(png(tmp_path, gAMA=struct.pack(">I", 45455)).levels, plain)
    linear = png(tmp_path, gAMA=struct.pack(">I", 100000))
    torch.testing.assert_close(linear.levels, torch.full((3, 4, 4), 188.0), atol=0.5, rtol=0)
    assert linear.notes == ("read from PNG's gAMA and cHRM, converted to sRGB",)
    both = png(tmp_path, sRGB=b"\0", gAMA=struct.pack(">I", 100000))
    assert torch.equal(both.levels, plain)
    assert torch.equal(png(tmp_path, cICP=bytes([1, 13, 0, 1])).levels, plain)
    assert png(tmp_path, cICP=bytes([12, 13, 0, 1])).notes[0].startswith("read from Display P3")


def chunked(path, pixels, *chunks):
    """A PNG of these chunks and no others before its pixels, in this order."""
    image = Image.fromarray(pixels) if pixels.dtype == np.uint8 else None
    if image is None:
        write = oiio.ImageOutput.create(str(path))
        write.open(str(path), oiio.ImageSpec(*pixels.shape[1::-1], 3, "uint16"))
        write.write_image(pixels)
        write.close()
    else:
        image.save(path)
    data = path.read_bytes()
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    ]
    path.write_bytes(data[:33] + b"".join(parts) + data[data.index(b"IDAT") - 4 :])
    return path


RAMP = {
    kind: np.linspace(0, np.iinfo(kind).max, 3 * 64).reshape(8, 8, 3).astype(kind)
    for kind in (np.uint8, np.uint16)
}


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("code", "primaries", "curve"),
    [
        ((9, 13, 0, 1), (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046), decoded),
        ((9, 8, 0, 1), (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046), np.array),
        ((12, 13, 0, 1), P3, decoded),
        ((1, 8, 0, 1), SRGB_PRIMARIES, np.array),
        ((1, 4, 0, 1), SRGB_PRIMARIES, lambda x: x**2.2),
    ],
)
def test_colours_that_cicp_names_are_converted(tmp_path, kind, code, primaries, curve):
    pixels = RAMP[kind]
    light = curve(pixels / np.iinfo(kind).max) @ linear_of(primaries).T
    wanted = (255 * encoded(light)).clip(0, 255)
    long = b"Comment\0" + b"x" * 100_000  # what stands before it hides it not
    chunks = ((b"tEXt", long), (b"sRGB", b"\0"), (b"cICP", bytes(code)))
    found = read_picture(chunked(tmp_path / "a.png", pixels, *chunks))
    np.testing.assert_allclose(found.levels.permute(1, 2, 0).numpy(), wanted, atol=1e-3)
    assert "converted to sRGB" in found.notes[0]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("name", "body", "sentence"),
    [
        (b"cICP", bytes([9, 16, 0, 1]), r"primaries 9, transfer 16 \(PQ\).* not converted"),
        (b"cICP", bytes([9, 18, 0, 1]), r"transfer 18 \(HLG\), matrix 0, range 1\) are not"),
        (b"cICP", bytes([1, 13, 0, 0]), "range 0"),
        (b"cICP", bytes([1, 13, 6, 1]), "matrix 6"),
        (b"cICP", bytes([2, 2, 0, 1]), "primaries 2, transfer 2"),
        (b"cICP", b"\1", "are not converted; save it as sRGB"),
        (b"gAMA", bytes(4), r"exponent \(gAMA\) is damaged"),
        (b"cHRM", bytes(32), r"primaries \(cHRM\) are damaged"),
        (b"cHRM", struct.pack(">8I", *(31270, 32900) * 4), r"primaries \(cHRM\) are damaged"),
    ],
)
def test_colours_that_are_not_converted_are_refused_not_taken_as_srgb(
    tmp_path, kind, name, body, sentence
):
    path = chunked(tmp_path / "a.png", RAMP[kind], (name, body))
    with pytest.raises(ImageError, match=rf"a\.png: its .*{sentence}"):
        read_picture(path)
    data = read_picture(path, "data")  # numbers have no colours
    assert data.notes == ()
    levels = RAMP[kind].astype(np.float32) / np.float32(1 if kind is np.uint8 else 257)
    np.testing.assert_array_equal(data.levels.permute(1, 2, 0).numpy(), levels)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_an_exponent_and_primaries_are_converted_together(tmp_path, kind):
    pixels = RAMP[kind]
    told = struct.pack(">8I", *(round(100000 * n) for n in P3))
    chunks = ((b"gAMA", struct.pack(">I", 55556)), (b"cHRM", told))
    found = read_picture(chunked(tmp_path / "a.png", pixels, *chunks))
    light = (pixels / np.iinfo(kind).max) ** (1 / 0.55556) @ linear_of(P3).T
    wanted = (255 * encoded(light)).clip(0, 255)
    np.testing.assert_allclose(found.levels.permute(1, 2, 0).numpy(), wanted, atol=1e-2)
    assert found.notes == ("read from PNG's gAMA and cHRM, converted to sRGB",)


def test_exr_of_other_primaries_is_converted(tmp_path):
    light = np.random.default_rng(0).random((6, 6, 3)).astype(np.float32)
    spec = oiio.ImageSpec(6, 6, 3, "float")
    spec.attribute("chromaticities", oiio.TypeDesc("float[8]"), (*P3[2:], *P3[:2]))
    out = oiio.ImageOutput.create(str(tmp_path / "a.exr"))
    assert out.open(str(tmp_path / "a.exr"), spec)
    out.write_image(light)
    out.close()
    found = read_picture(tmp_path / "a.exr")
    assert "chromaticities" in found.notes[0]
    wanted = light @ linear_of(P3).T
    x = found.levels.permute(1, 2, 0).numpy() / 255
    told = np.where(x <= 0.04045, x / 12.92, ((np.maximum(x, 0) + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(told, wanted, atol=1e-5)


def test_the_matrices_are_those_of_the_books():
    np.testing.assert_allclose(linear_of(SRGB_PRIMARIES), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(_to_xyz(SRGB_PRIMARIES)[1], [0.2126, 0.7152, 0.0722], atol=1e-4)
    np.testing.assert_allclose(linear_of(P3)[0], [1.2249, -0.2247, 0], atol=1e-3)
    assert space_of_profile(SRGB).is_srgb
