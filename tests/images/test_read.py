"""Reading pictures: every mode that people have, and every refusal."""

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gcn_cli.errors import ImageError
from gcn_cli.images.files import find_images, load_image, read_picture

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOUR = np.stack([RAMP, 255 - RAMP, RAMP // 2], -1)


def saved(tmp_path, picture, name="p.png", **options):
    picture.save(tmp_path / name, **options)
    return tmp_path / name


def test_greyscale_has_one_channel(tmp_path):
    image = load_image(saved(tmp_path, Image.fromarray(RAMP)))
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert torch.equal(image, torch.tensor(RAMP[None], dtype=torch.float32))


def test_colour_has_three_channels_in_rgb_order(tmp_path):
    image = load_image(saved(tmp_path, Image.fromarray(COLOUR)))
    assert torch.equal(image, torch.tensor(COLOUR.transpose(2, 0, 1), dtype=torch.float32))


def test_bilevel_is_black_and_white(tmp_path):
    image = load_image(saved(tmp_path, Image.fromarray(RAMP > 100)))
    assert image.shape == (1, 3, 4)
    assert set(image.unique().tolist()) == {0.0, 255.0}


def test_sixteen_bits_keep_their_precision(tmp_path):
    values = np.array([[0, 1, 257], [300, 40000, 65535]], dtype=np.uint16)
    image = load_image(saved(tmp_path, Image.fromarray(values)))
    expected = torch.tensor(values.astype(np.float32) / 257)
    torch.testing.assert_close(image, expected[None])
    assert image.max() == 255


def test_wide_integers_are_sixteen_bit_values_or_refused(tmp_path):
    values = np.array([[0, 65535]], dtype=np.int32)
    good = load_image(saved(tmp_path, Image.fromarray(values), "a.tiff"))
    assert good.tolist() == [[[0.0, 255.0]]]
    path = saved(tmp_path, Image.fromarray(values + 1), "b.tiff")
    with pytest.raises(ImageError, match="16-bit range"):
        load_image(path)


def test_floats_are_linear_light_in_colour_and_plain_numbers_in_data(tmp_path):
    values = np.array([[0.0, 0.5, 1.0, 4.0, -0.5]], dtype=np.float32)
    path = saved(tmp_path, Image.fromarray(values), "f.tiff")
    seen = read_picture(path)
    assert seen.depth == "float"
    wanted = torch.tensor([[[0.0, 187.516, 255.0, 465.32, -1647.3]]])
    torch.testing.assert_close(seen.levels, wanted, atol=0.1, rtol=0)
    assert seen.notes == ("its values go up to 4; 1 is white",)
    assert read_picture(path, "data").levels.tolist() == (255 * values[None]).tolist()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_floats_that_are_no_numbers_are_refused(tmp_path, bad):
    values = np.array([[0.0, bad]], dtype=np.float32)
    path = saved(tmp_path, Image.fromarray(values), "f.tiff")
    with pytest.raises(ImageError, match="not finite"):
        load_image(path)


def test_palette_gives_its_colours(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putdata([0, 1])
    image = load_image(saved(tmp_path, picture))
    assert image[:, 0, :].T.tolist() == [[10, 20, 30], [200, 100, 50]]


def test_a_transparent_colour_of_a_palette_is_unknown(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putdata([0, 1])
    found = read_picture(saved(tmp_path, picture, transparency=0))
    assert found.known.tolist() == [[False, True]]
    assert found.levels[:, 0].T.tolist() == [[200, 100, 50], [200, 100, 50]]


def test_alpha_below_one_half_is_unknown_and_nothing_is_blended(tmp_path):
    pixels = np.array(
        [[[1, 2, 3, 0], [1, 2, 3, 127], [100, 0, 50, 128], [200, 100, 0, 255]]], dtype=np.uint8
    )
    found = read_picture(saved(tmp_path, Image.fromarray(pixels)))
    assert found.known.tolist() == [[False, False, True, True]]
    mean = [150.0, 50.0, 25.0]
    assert found.levels[:, 0].T.tolist() == [mean, mean, [100, 0, 50], [200, 100, 0]]
    assert found.notes == ("50.0% of it is transparent and left out",)


def test_what_is_transparent_everywhere_is_refused(tmp_path):
    assert "transparent everywhere" in refusal(saved(tmp_path, Image.new("RGBA", (3, 3))))


def test_opaque_alpha_changes_nothing(tmp_path):
    opaque = np.concatenate([COLOUR, np.full((3, 4, 1), 255, np.uint8)], -1)
    a = load_image(saved(tmp_path, Image.fromarray(opaque), "a.png"))
    b = load_image(saved(tmp_path, Image.fromarray(COLOUR), "b.png"))
    assert torch.equal(a, b)


def test_grey_with_alpha_stays_grey(tmp_path):
    pixels = Image.merge("LA", [Image.fromarray(RAMP), Image.new("L", (4, 3), 255)])
    image = load_image(saved(tmp_path, pixels))
    assert torch.equal(image, torch.tensor(RAMP[None], dtype=torch.float32))


def test_cmyk_becomes_rgb(tmp_path):
    picture = Image.new("CMYK", (8, 8), (0, 0, 0, 0))
    image = load_image(saved(tmp_path, picture, "c.jpg"))
    assert image.shape == (3, 8, 8)
    assert image.min() > 250


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate clockwise to see it upright
    path = saved(tmp_path, Image.fromarray(RAMP), exif=exif)
    expected = np.rot90(RAMP, k=-1).astype(np.float32)
    assert torch.equal(load_image(path), torch.tensor(expected.copy())[None])


def test_a_single_pixel_is_an_image(tmp_path):
    assert load_image(saved(tmp_path, Image.new("L", (1, 1), 7))).tolist() == [[[7.0]]]


# ------------------------------------------------------------------------------- refusals


def refusal(path):
    with pytest.raises(ImageError) as caught:
        load_image(path)
    sentence = str(caught.value)
    assert path.name in sentence
    assert not sentence.endswith(".")  # the command line shows it behind "error: "
    assert "\n" not in sentence
    return sentence


def test_missing_file_and_folder(tmp_path):
    assert "does not exist" in refusal(tmp_path / "none.png")
    assert "folder" in refusal(tmp_path)


def test_not_an_image(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    assert "not an image" in refusal(tmp_path / "text.png")


def test_empty_file(tmp_path):
    (tmp_path / "empty.png").touch()
    refusal(tmp_path / "empty.png")


@pytest.mark.parametrize("name", ["t.png", "t.jpg", "t.tiff", "t.bmp", "t.webp"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated_file(tmp_path, name, part):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), name)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    refusal(path)


@pytest.mark.parametrize("factor", [1.5, 3])  # Pillow warns above 1 and raises above 2
def test_decompression_bomb(tmp_path, monkeypatch, factor):
    path = saved(tmp_path, Image.new("L", (300, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(30_000 / factor))
    assert "megapixels" in refusal(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30_000)
    assert load_image(path).shape == (1, 100, 300)


def test_metadata_bomb_in_a_small_picture(tmp_path):
    info = PngInfo()
    info.add_text("bomb", "x" * 80_000_000, zip=True)
    refusal(saved(tmp_path, Image.new("L", (2, 2)), pnginfo=info))


# ------------------------------------------------------------------------- finding, metadata


def test_find_images_sorts_and_skips_what_is_not_a_picture(tmp_path):
    for name in ["b.PNG", "a.jpg", "notes.txt", ".hidden.png", "c.tif"]:
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in find_images(tmp_path)] == ["a.jpg", "b.PNG", "c.tif"]


def test_find_images_takes_a_file_at_its_word(tmp_path):
    (tmp_path / "odd.raw").touch()
    assert find_images(str(tmp_path / "odd.raw")) == [tmp_path / "odd.raw"]


def test_find_images_refuses_empty_and_missing(tmp_path):
    with pytest.raises(ImageError, match="holds no images"):
        find_images(tmp_path)
    with pytest.raises(ImageError, match="does not exist"):
        find_images(tmp_path / "none")
