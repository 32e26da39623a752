"""Writing pictures: rounding, metadata, whole-or-nothing, grids and sheets."""

import math

import pytest
import torch
from PIL import Image

from gcn_cli.errors import ImageError
from gcn_cli.images.files import (
    atomic_write_bytes,
    atomic_write_text,
    load_image,
    png_bytes,
    save_png,
    to_uint8,
)
from gcn_cli.images.sheets import image_grid, labelled_sheet, resize


def flat(level, *shape):
    return torch.full(shape, float(level))


def test_to_uint8_rounds_and_clamps():
    levels = torch.tensor([-5.0, 0.4, 0.6, 254.6, 300.0])
    assert to_uint8(levels).tolist() == [0, 0, 1, 255, 255]
    picture = levels.repeat(2, 600, 1)  # converted in bands of rows
    assert (to_uint8(picture) == torch.tensor([0, 0, 1, 255, 255])).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_to_uint8_refuses_what_is_no_grey_level(bad):
    with pytest.raises(ImageError, match="not finite"):
        to_uint8(torch.tensor([1.0, bad]))


@pytest.mark.parametrize("channels", [1, 3])
def test_png_round_trip(tmp_path, channels):
    image = torch.randint(0, 256, (channels, 5, 7)).float()
    save_png(tmp_path / "p.png", image)
    assert torch.equal(load_image(tmp_path / "p.png"), image)


@pytest.mark.parametrize("shape", [(2, 4, 4), (4, 4), (1, 3, 4, 4), (3, 0, 4)])
def test_png_refuses_what_is_no_picture(shape):
    with pytest.raises(ImageError, match="1 or 3 channels"):
        png_bytes(torch.zeros(shape))


def test_metadata_round_trip_with_any_unicode(tmp_path):
    text = {"gcn:seed": "7", "gcn:command": "gcn synthesize ε=0.3\nßµ½ ∞", "Comment": "日本"}
    save_png(tmp_path / "p.png", flat(9, 1, 2, 2), text)
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.text == text


def test_png_bytes_are_reproducible():
    image = torch.rand(3, 16, 16) * 255
    assert png_bytes(image, {"a": "b"}) == png_bytes(image.clone(), {"a": "b"})
    assert png_bytes(image, {"a": "b"}) != png_bytes(image, {"a": "c"})


# ------------------------------------------------------------------------------ atomicity


def test_a_write_replaces_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "f.txt"
    atomic_write_text(path, "old, much longer")
    atomic_write_text(path, "neu: ü")
    assert path.read_bytes() == "neu: ü".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "f.bin"
    atomic_write_bytes(path, b"old")

    def full_disk(_):
        raise OSError("no space left")

    monkeypatch.setattr("gcn_cli.images.disk.os.fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        atomic_write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_cannot_begin_says_why(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError("no such luck")

    monkeypatch.setattr("gcn_cli.images.disk.Path.open", refused)
    with pytest.raises(PermissionError, match="no such luck"):
        atomic_write_bytes(tmp_path / "f.bin", b"new")


def test_the_old_content_stays_until_the_new_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "f.bin"
    atomic_write_bytes(path, b"old")
    seen = []
    monkeypatch.setattr("gcn_cli.images.disk.os.fsync", lambda _: seen.append(path.read_bytes()))
    atomic_write_bytes(path, b"new")
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"


def test_an_image_that_cannot_be_encoded_touches_no_file(tmp_path):
    with pytest.raises(ImageError):
        save_png(tmp_path / "p.png", torch.full((1, 2, 2), torch.nan))
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------- layout


def test_grid_places_each_picture():
    grid = image_grid([flat(k, 1, 2, 3) for k in range(5)], columns=3, pad=1, background=99)
    assert grid.shape == (1, 2 * 3 + 1, 3 * 4 + 1)
    for k in range(5):
        top, left = 1 + k // 3 * 3, 1 + k % 3 * 4
        assert (grid[:, top : top + 2, left : left + 3] == k).all()
    assert (grid[0, 4:6, 9:12] == 99).all()  # the sixth cell is empty
    assert int((grid == 99).sum()) == grid.numel() - 5 * 6


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (4, 2), (5, 3), (9, 3)])
def test_grid_is_nearly_square_by_default(count, columns):
    grid = image_grid([flat(0, 1, 2, 2)] * count, pad=0)
    assert grid.shape[2] == 2 * columns


def test_grid_mixes_sizes_and_colours():
    grid = image_grid([flat(10, 1, 2, 2), flat(20, 3, 4, 5)], pad=2)
    assert grid.shape == (3, 8, 16)
    assert (grid[:, 2:4, 2:4] == 10).all()


def test_grid_scale_repeats_pixels():
    image = torch.tensor([[[1.0, 2.0]]])
    assert image_grid([image], pad=0, scale=2).tolist() == [[[1, 1, 2, 2], [1, 1, 2, 2]]]


@pytest.mark.parametrize("empty", [lambda: image_grid([]), lambda: labelled_sheet([("a", [])])])
def test_nothing_to_lay_out(empty):
    with pytest.raises(ImageError, match="at least one"):
        empty()


def test_sheet_shows_every_picture_and_some_text():
    rows = [
        ("exemplar", [flat(50, 1, 20, 30)]),
        ("samples", [flat(k, 3, 20, 30) for k in (60, 70)]),
    ]
    sheet = labelled_sheet(rows, ["first", "second"])
    assert sheet.shape[0] == 3
    for level in (50, 60, 70):
        assert int((sheet[0] == level).sum()) >= 600
    assert int((sheet[0] < 40).sum()) > 20  # letters, darker than any picture
    assert labelled_sheet(rows).shape[1] < sheet.shape[1]


def test_titles_stand_above_their_columns_and_labels_beside_their_rows():
    rows = [("", [flat(200, 1, 30, 40)] * 3), ("", [flat(200, 1, 30, 40)] * 3)]
    bare, left = labelled_sheet(rows, ["", "", ""]), 12
    for column in range(3):
        titles = ["I" if k == column else "" for k in range(3)]
        rows_of, columns_of = (labelled_sheet(rows, titles) != bare)[0].nonzero().T
        assert rows_of.max() < 22  # above the first row
        assert left + 46 * column <= columns_of.min()
        assert columns_of.max() < left + 46 * column + 10
    told = labelled_sheet([rows[0], ("III", rows[1][1])])[0]
    letters = (told[:, :-138] < 128).nonzero()
    assert letters[:, 0].min() > 36
    assert letters[:, 1].min() >= 6


def test_the_longest_label_makes_room_for_all():
    pictures = [flat(9, 1, 4, 4)]
    both = labelled_sheet([("a", pictures), ("a long label", pictures)])
    assert both.shape == labelled_sheet([("a long label", pictures)] * 2).shape


def test_a_long_title_widens_its_column():
    rows = [("r", [flat(9, 1, 4, 4)] * 2)]
    assert (
        labelled_sheet(rows, ["a" * 30, "b"]).shape[2] > labelled_sheet(rows, ["a", "b"]).shape[2]
    )


def test_resize_keeps_the_range_and_the_mean():
    torch.manual_seed(0)
    image = torch.rand(3, 32, 48) * 255
    for size in [(16, 24), (64, 96), (7, 90)]:
        out = resize(image, size)
        assert out.shape == (3, *size)
        assert out.min() >= image.min()
        assert out.max() <= image.max()
        assert abs(float(out.mean() - image.mean())) < 3
    assert resize(image, (32, 48)) is image


def test_resize_low_passes_before_shrinking():
    """Waves of 3.3 px: a quarter of the pixels alone would show them at half their strength."""
    waves = 128 + 100 * torch.sin(0.6 * math.pi * torch.arange(64)).expand(1, 64, 64)
    for image in (waves, waves.mT):
        small = resize(image, (16, 16))
        assert small[:, 2:-2, 2:-2].std() < 5
        assert image[:, 1::4, 1::4].std() > 50  # control
