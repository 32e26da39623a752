"""Noise, blur and reduction undone from the command line."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from gcn_cli.images.files import load_image, read_picture, save_picture, save_png
from gcn_cli.images.sheets import resize

SIDE = 64


@pytest.fixture(scope="module")
def folder(box, tmp_path_factory):
    """A picture, noisy and small; others that do not fit."""
    folder = tmp_path_factory.mktemp("damaged")
    wall = load_image(box / "ordinary.png").round().clamp(0, 255)
    noise = 25 * torch.randn(wall.shape, generator=torch.Generator().manual_seed(0))
    save_png(folder / "noisy.png", wall + noise)
    save_png(folder / "small.png", resize(wall, (SIDE // 2, SIDE // 2)))
    save_png(folder / "grey.png", wall.mean(0, keepdim=True))
    cut = Image.open(folder / "noisy.png").convert("RGBA")
    cut.putpixel((3, 3), (0, 0, 0, 0))
    cut.save(folder / "cut.png")
    return folder


@pytest.fixture
def restore(gcn, trained, folder, tmp_path):
    """The command with the tiny model; its files as pictures."""

    def run(image, *words):
        out = () if "-o" in words else ("-o", tmp_path / "out.png")
        result = gcn("restore", folder / image, *words, "--ckpt", trained["texture"], *out)
        assert result.exit_code == 0, result.stderr
        return {name: load_image(name) for name in result.stdout.split()}

    return run


@pytest.mark.parametrize(
    ("image", "words", "side"),
    [
        ("noisy.png", ("--noise", 25), SIDE),
        ("noisy.png", ("--noise", 25, "--blur", 1.5), SIDE),
        ("small.png", ("--upscale", 2), SIDE),
        ("small.png", ("--upscale", 4, "--blur", 0.5, "--noise", 1), 2 * SIDE),
        ("grey.png", ("--noise", 10), SIDE),
    ],
)
def test_a_picture_is_restored(image, words, side, restore, tmp_path):
    files = restore(image, *words)
    assert list(files) == [str(tmp_path / "out.png")]
    assert files[str(tmp_path / "out.png")].shape == (3, side, side)


def test_what_was_reduced_reduces_to_what_was_given(restore, folder):
    (told,) = restore("small.png", "--upscale", 2).values()
    small = load_image(folder / "small.png")
    inner = slice(2, -2)
    off = (resize(told, (SIDE // 2, SIDE // 2)) - small)[:, inner, inner]
    assert off.abs().mean() < 1
    assert off.abs().max() < 6  # where it was clipped


def test_samples_lie_beside_with_their_mean_and_spread(restore, tmp_path):
    files = restore("noisy.png", "--noise", 40, "--n", 3, "--seed", 5, "-o", tmp_path / "answers")
    names = [name.rsplit("/", 1)[1] for name in files]
    assert names == [
        "noisy-restored.png",
        *(f"noisy-restored-seed{k}.png" for k in (5, 6, 7)),
        "noisy-restored-mean.png",
        "noisy-restored-spread.png",
    ]
    guess, *samples, mean, spread = files.values()
    assert not torch.equal(samples[0], samples[1])
    assert (mean - torch.stack(samples).mean(0)).abs().max() <= 1
    assert spread.mean() > 1
    assert (guess - mean).abs().mean() < (guess - samples[0]).abs().mean()


def test_by_default_it_lies_in_the_run_folder(gcn, run, folder):
    copy = run("texture")
    result = gcn("restore", folder / "noisy.png", "--noise", 9, "--ckpt", copy)
    assert result.stdout.split() == [str(copy / "restored" / "noisy-restored.png")]
    again = gcn("restore", folder / "noisy.png", "--noise", 9, "--ckpt", copy)
    assert again.exit_code == 2
    assert "--overwrite replaces it" in again.stderr


def test_a_depth_is_kept(restore, folder, tmp_path):
    save_picture(tmp_path / "deep.png", load_image(folder / "noisy.png") + 0.3, "16")
    restore(tmp_path / "deep.png", "--noise", 25)
    assert read_picture(tmp_path / "out.png").depth == "16"


@pytest.mark.parametrize(
    ("image", "words", "told"),
    [
        ("noisy.png", (), "what is to be undone"),
        ("noisy.png", ("--upscale", 3), "--upscale is 2 or 4"),
        ("noisy.png", ("--noise", "-1"), "--noise lies between"),
        ("noisy.png", ("--blur", "nan"), "--blur lies between"),
        ("cut.png", ("--noise", 9), "gcn inpaint first"),
        ("none.png", ("--noise", 9), "none.png"),
        ("noisy.png", ("--noise", 9, "-o", "noisy.png", "--overwrite"), "never replaced"),
    ],
)
def test_bad_input_is_told_in_a_sentence(image, words, told, gcn, trained, folder, tmp_path):
    words = [folder / word if str(word).endswith(".png") else word for word in words]
    out = () if "-o" in words else ("-o", tmp_path / "out.png")
    result = gcn("restore", folder / image, "--ckpt", trained["texture"], *words, *out)
    assert result.exit_code in (1, 2, 3), result.stdout
    assert told in result.stderr
    assert result.stderr.count("error:") == 1
    assert not (tmp_path / "out.png").exists()


def test_a_model_of_the_papers_kind_cannot(gcn, trained, folder, tmp_path):
    words = ("--noise", 9, "--ckpt", trained["plain"], "-o", tmp_path / "a.png")
    result = gcn("restore", folder / "noisy.png", *words)
    assert result.exit_code == 2
    assert "only models of kind texture" in result.stderr
