"""What is missing of a picture, drawn from the command line: holes, room around, seams."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from gcn_cli import __version__
from gcn_cli.images.files import load_image, save_png
from gcn_cli.run.checkpoint import load_checkpoint

SIDE = 64
HOLE = (slice(20, 44), slice(16, 50))


@pytest.fixture(scope="module")
def folder(box, tmp_path_factory):
    """A picture, a mask, the picture with the hole transparent."""
    folder = tmp_path_factory.mktemp("wall")
    picture = load_image(box / "ordinary.png").round().clamp(0, 255)
    save_png(folder / "wall.png", picture)
    mask = torch.zeros(1, SIDE, SIDE)
    mask[0][HOLE] = 255
    save_png(folder / "hole.png", mask)
    save_png(folder / "all.png", torch.full((1, SIDE, SIDE), 255.0))
    save_png(folder / "small.png", torch.zeros(1, 8, 8))
    cut = Image.open(folder / "wall.png").convert("RGB")
    cut.putalpha(Image.open(folder / "hole.png").point(lambda v: 255 - v))
    cut.save(folder / "cut.png")
    return folder


@pytest.fixture
def draw(gcn, trained, folder, tmp_path):
    """A command on the picture with the tiny model, its files as pictures."""

    def run(verb, *words, image="wall.png", ckpt=True):
        model = ("--ckpt", trained["texture"]) if ckpt else ()
        out = () if "-o" in words else ("-o", tmp_path / "out.png")
        result = gcn(verb, folder / image, *words, *model, *out)
        assert result.exit_code == 0, result.stderr
        return result, {name: load_image(name) for name in result.stdout.split()}

    return run


def first(files):
    return next(iter(files.values()))


def test_a_hole_is_filled_and_the_rest_stays(draw, folder):
    wall = load_image(folder / "wall.png")
    result, files = draw("inpaint", "--mask", folder / "hole.png")
    told = first(files)
    outside = torch.ones(SIDE, SIDE, dtype=torch.bool)
    outside[HOLE] = False
    assert len(files) == 1
    assert torch.equal(told[:, outside], wall[:, outside])
    assert (told - wall)[:, HOLE[0], HOLE[1]].abs().mean() > 5
    assert told[:, HOLE[0], HOLE[1]].std() > 5
    assert "white in the mask" in result.stderr


def test_transparent_pixels_are_a_hole(draw, folder):
    told = first(draw("inpaint", image="cut.png")[1])
    again = first(draw("inpaint", "--mask", folder / "hole.png", "--overwrite")[1])
    assert torch.equal(told, again)


def test_several_answers_differ_and_have_a_mean_and_a_spread(draw, folder, tmp_path):
    _, files = draw("inpaint", "--mask", folder / "hole.png", "--n", 3, "-o", tmp_path / "answers")
    names = [name.rsplit("/", 1)[1] for name in files]
    assert names == [
        *(f"wall-inpainted-seed{k}.png" for k in range(3)),
        "grid-64x64-seed0-2.png",
        "wall-inpainted-mean.png",
        "wall-inpainted-spread.png",
    ]
    answers = torch.stack(list(files.values())[:3])
    assert not torch.equal(answers[0], answers[1])
    mean, spread = list(files.values())[4:]
    assert (mean - answers.mean(0)).abs().max() < 1
    known = torch.ones(SIDE, SIDE, dtype=torch.bool)
    known[HOLE] = False
    assert not spread[:, known].any()
    wanted = (4 * answers.std(0)).clamp(0, 255)
    assert (spread - wanted)[:, HOLE[0], HOLE[1]].abs().max() < 6  # of rounded pictures


def test_room_around_is_drawn(draw, folder):
    wall = load_image(folder / "wall.png")
    told = first(draw("inpaint", "--pad", "8,0,20,12")[1])
    assert told.shape == (3, SIDE + 12, SIDE + 28)
    assert torch.equal(told[:, :SIDE, 8 : 8 + SIDE], wall)
    assert told[:, :SIDE, :8].std() > 5


def test_a_picture_is_made_to_tile(draw, folder, tmp_path):
    """Its middle stays; what was far apart at the seam has come together."""
    wall = load_image(folder / "wall.png")
    _, files = draw("seamless", "--band", 20)
    told, laid = files.values()
    inner = slice(10, SIDE - 10)
    assert torch.equal(told[:, inner, inner], wall[:, inner, inner])
    assert not torch.equal(told[:, :10], wall[:, :10])
    assert torch.equal(laid, told.repeat(1, 2, 2))


def test_one_seam_alone(draw, folder):
    wall = load_image(folder / "wall.png")
    told = first(draw("seamless", "--band", 20, "--tile", "x")[1])
    assert torch.equal(told[:, :, 10:-10], wall[:, :, 10:-10])
    assert not torch.equal(told[:, :, :10], wall[:, :, :10])


def test_sides_that_cannot_tile_are_cut_and_told(gcn, trained, folder, tmp_path):
    save_png(tmp_path / "odd.png", load_image(folder / "wall.png")[:, :, :61])
    result = gcn(
        "seamless", tmp_path / "odd.png", "--ckpt", trained["texture"], "-o", tmp_path / "o.png"
    )
    assert result.exit_code == 0, result.stderr
    multiple = load_checkpoint(trained["texture"]).model.multiple
    assert load_image(tmp_path / "o.png").shape[2] == 61 // multiple * multiple
    assert f"steps of {multiple} px" in result.stderr


def test_without_a_model_one_is_learned_from_what_is_known(gcn, box, folder, tmp_path):
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, :12, :12] = 255
    save_png(tmp_path / "corner.png", mask)
    words = ("--config", box / "texture.yaml", "--runs", tmp_path / "runs")
    result = gcn("inpaint", folder / "wall.png", "--mask", tmp_path / "corner.png", *words)
    assert result.exit_code == 0, result.stderr
    run = tmp_path / "runs" / "00000-wall"
    saved = load_checkpoint(run)
    assert saved.known is not None
    assert (saved.origin.images, saved.origin.gcn) == (("wall.png",), __version__)
    assert result.stdout.split() == [str(run / "inpainted" / "wall-inpainted-seed0.png")]
    assert f"next time: --ckpt {run}" in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "nothing is missing"),
        (("--pad", "8,0,0,0", "-o", "out.foo"), "no suffix of a format"),
        (("--pad", "8,0,0,0", "-o", "wall.png"), "exists already"),
        (("--pad", "8,0,0,0", "-o", "new.png", "--n", "2"), "one file for 2 pictures"),
    ],
)
def test_what_cannot_end_well_is_told_before_anything_is_learned(
    words, told, gcn, folder, tmp_path
):
    words = [folder / word if word.endswith(".png") else word for word in words]
    result = gcn("inpaint", folder / "wall.png", "--runs", tmp_path / "runs", *words)
    assert result.exit_code == 2
    assert told in result.stderr
    assert not (tmp_path / "runs").exists()


def test_a_band_that_leaves_nothing_is_told_before_anything_is_learned(gcn, folder, tmp_path):
    words = ("--band", SIDE, "--runs", tmp_path / "runs")
    result = gcn("seamless", folder / "wall.png", *words)
    assert result.exit_code == 2
    assert f"a band is 2 to {SIDE - 1} px wide, not {SIDE}" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_a_depth_is_kept(draw, folder, tmp_path):
    from gcn_cli.images.files import read_picture, save_picture

    save_picture(tmp_path / "deep.png", load_image(folder / "wall.png") + 0.3, "16")
    draw("inpaint", "--pad", "4,0,0,0", image=tmp_path / "deep.png")
    told = read_picture(tmp_path / "out.png")
    assert told.depth == "16"
    assert torch.equal(told.levels[..., 4:], read_picture(tmp_path / "deep.png").levels)


@pytest.mark.parametrize(
    ("verb", "words", "told"),
    [
        ("inpaint", (), "nothing is missing"),
        ("inpaint", ("--mask", "all.png"), "leaves nothing"),
        ("inpaint", ("--mask", "small.png"), "the mask"),
        ("inpaint", ("--pad", "1,2,3"), "room reads like"),
        ("inpaint", ("--pad", "1,2,3,\u00b2"), "room reads like"),
        ("inpaint", ("--pad", "9,0,0,0", "-o", "wall.png", "--overwrite"), "never replaced"),
        ("inpaint", ("--pad", "9,0,0,0", "--config", "texture"), "leave it out"),
        ("seamless", ("--tile", "z"), "--tile is one of"),
        ("seamless", ("--band", "64"), "a band is 2 to 63 px wide"),
    ],
)
def test_bad_input_is_told_in_a_sentence(verb, words, told, gcn, trained, folder, tmp_path):
    words = [folder / word if word.endswith(".png") else word for word in words]
    out = () if "-o" in words else ("-o", tmp_path / "out.png")
    result = gcn(verb, folder / "wall.png", "--ckpt", trained["texture"], *words, *out)
    assert result.exit_code in (2, 1, 3), result.stdout
    assert told in result.stderr
    assert result.stderr.count("error:") == 1
    assert not (tmp_path / "out.png").exists()


def test_a_model_of_the_papers_kind_cannot(gcn, trained, folder, tmp_path):
    result = gcn(
        "inpaint", folder / "cut.png", "--ckpt", trained["plain"], "-o", tmp_path / "a.png"
    )
    assert result.exit_code == 2
    assert "only models of kind texture" in result.stderr
