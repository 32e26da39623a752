"""Several models in one picture, and samples that follow another picture."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from gcn_cli.errors import UsageError
from gcn_cli.images.files import load_image, save_png
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.run.texture_mixing import check_mixable


@pytest.fixture(scope="module")
def runs(gcn, box, trained, tmp_path_factory):
    """Two models: of ash, and of its negative."""
    folder = tmp_path_factory.mktemp("negative")
    save_png(folder / "coal.png", 255 - load_image(box / "images" / "ash.png"))
    words = ("--config", box / "texture.yaml", "--out", folder)
    result = gcn("train", "--images", folder / "coal.png", *words)
    assert result.exit_code == 0, result.stderr
    return trained["texture"], result.stdout.strip()


def one(gcn, *words):
    result = gcn(*words)
    assert result.exit_code == 0, result.stderr
    return load_image(result.stdout.split()[0])


def test_a_model_mixed_with_itself_draws_what_it_draws_alone(gcn, trained, tmp_path):
    run = trained["texture"]
    words = ("--size", "32x48", "--seed", 3)
    alone = one(gcn, "synthesize", "--ckpt", run, *words, "-o", tmp_path / "alone.png")
    for blend in ("patches", "product"):
        given = (f"{run}:0.3", f"{run}:0.7", "--blend", blend)
        mixed = one(gcn, "mix", *given, *words, "-o", tmp_path / f"{blend}.png")
        assert float(((mixed - alone).abs() <= 1).double().mean()) > 0.97


def test_a_map_says_which_model_draws_where(gcn, runs, tmp_path):
    """Left as the first alone, right as the second: means of the colours tell."""
    share = torch.zeros(1, 64, 128)
    share[..., 64:] = 255
    save_png(tmp_path / "map.png", share)
    mixed = one(gcn, "mix", *runs, "--map", tmp_path / "map.png", "-o", tmp_path / "m.png")
    assert mixed.shape == (3, 64, 128)
    alone = [
        one(gcn, "synthesize", "--ckpt", run, "--size", "128x64", "-o", tmp_path / f"{k}.png")
        for k, run in enumerate(runs)
    ]
    means = [float(picture.mean()) for picture in alone]
    left, right = float(mixed[..., 8:56].mean()), float(mixed[..., 72:120].mean())
    middle = sum(means) / 2
    assert (left < middle) == (means[0] < middle)
    assert (right < middle) == (means[1] < middle)
    assert abs(left - right) > 0.5 * abs(means[0] - means[1])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("one",), "two models or more"),
        (("one", "plain"), "only textures are mixed"),
        (("one", "one", "--blend", "soup"), "--blend is one of"),
        (("one", "one", "--tile", "z"), "--tile is one of"),
        (("one", "one", "one", "--map", "map"), "fades between two models"),
        (("one:0", "one"), "a weight is a number above 0"),
    ],
)
def test_what_cannot_be_mixed_is_told(words, told, gcn, trained, tmp_path):
    save_png(tmp_path / "map.png", torch.zeros(1, 32, 32))
    names = {"plain": trained["plain"], "map": tmp_path / "map.png"}
    full = [str(names.get(word, word)).replace("one", str(trained["texture"])) for word in words]
    result = gcn("mix", *full, "-o", tmp_path / "out.png")
    assert result.exit_code == 2, result.stdout
    assert told in result.stderr
    assert not (tmp_path / "out.png").exists()


@pytest.fixture(scope="module")
def saved(trained):
    return load_checkpoint(trained["texture"])


def test_what_has_no_density_in_common_is_refused(saved, trained):
    other = load_checkpoint(trained["plain"])
    model = saved.model
    halved = replace(saved, model=replace(model, sizes=model.sizes[1:]))
    loud = replace(saved, model=replace(model, contrast=9 * model.contrast))
    grey = replace(saved, model=replace(model, net=replace(model.net, channels=1)))
    placed = replace(saved, model=replace(model, place=(32, 32)))
    for wrong, words in (
        ([saved], "two models or more"),
        ([saved, other], "b is of kind field"),
        ([saved, placed], "b is of objects"),
        ([saved, halved], "--set sizes.coarsest=2"),
        ([saved, loud], "contrast of b is 9 times that of a"),
        ([saved, grey], "a is in colour, b grey"),
    ):
        with pytest.raises(UsageError, match=words):
            check_mixable("ab"[: len(wrong)], wrong)
    check_mixable("ab", [saved, saved])


# ------------------------------------------------------------------------------- steering


def test_light_and_dark_lie_as_in_the_guide(gcn, trained, tmp_path):
    guide = torch.zeros(1, 64, 64)
    guide[..., 32:] = 255
    save_png(tmp_path / "guide.png", guide)
    run = trained["texture"]
    words = ("--size", "64", "--guide", tmp_path / "guide.png", "--strength")
    rise = []
    for k, strength in enumerate((0, 0.9)):
        out = tmp_path / f"{k}.png"
        told = one(gcn, "synthesize", "--ckpt", run, *words, strength, "-o", out)
        rise.append(float(told[..., 36:60].mean() - told[..., 4:28].mean()))
    free = one(gcn, "synthesize", "--ckpt", run, "--size", "64", "-o", tmp_path / "f.png")
    assert torch.equal(load_image(tmp_path / "0.png"), free)
    assert rise[1] > max(10, 3 * abs(rise[0]))


def test_what_is_to_be_kept_is_kept(gcn, trained, box, tmp_path):
    keep = torch.zeros(1, 64, 64)
    keep[:, 8:40, 8:40] = 255
    save_png(tmp_path / "keep.png", keep)
    given = ("--init", box / "ordinary.png", "--keep", tmp_path / "keep.png", "--size", "64")
    told = one(gcn, "synthesize", "--ckpt", trained["texture"], *given, "-o", tmp_path / "o.png")
    wanted = load_image(box / "ordinary.png").round()
    assert torch.equal(told[:, 8:40, 8:40], wanted[:, 8:40, 8:40])
    assert (told - wanted).abs().mean() > 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--keep", "white"), "go with --init"),
        (("--strength", "0.5"), "go with --init"),
        (("--guide", "white", "--init", "white"), "give one"),
        (("--guide", "white", "--keep", "white"), "give --init"),
        (("--init", "white", "--keep", "white"), "keeps all"),
        (("--init", "gone"), "gone.png"),
    ],
)
def test_steering_that_means_nothing_is_told(words, told, gcn, trained, tmp_path):
    save_png(tmp_path / "white.png", torch.full((1, 32, 32), 255.0))
    full = [tmp_path / f"{w}.png" if w in ("white", "gone") else w for w in words]
    out = tmp_path / "out.png"
    result = gcn("synthesize", "--ckpt", trained["texture"], *full, "-o", out)
    assert result.exit_code != 0
    assert told in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("words", [("--guide",), ("--init",), ("--init", "ordinary", "--keep")])
def test_a_picture_that_steers_is_never_replaced(words, gcn, trained, box, tmp_path):
    given = tmp_path / "given.png"
    save_png(given, torch.cat([torch.zeros(1, 16, 32), torch.full((1, 16, 32), 255.0)], 1))
    before = given.read_bytes()
    full = [box / "ordinary.png" if word == "ordinary" else word for word in words]
    size = ("--size", 32, "-o", given, "--overwrite")
    result = gcn("synthesize", "--ckpt", trained["texture"], *full, given, *size)
    assert (result.exit_code, given.read_bytes()) == (2, before)
    assert "is what was given; it is never replaced" in result.stderr


def test_what_any_model_of_a_mixture_was_learned_from_is_never_replaced(
    gcn, trained, run, tmp_path
):
    second, picture = run("texture"), tmp_path / "picture.png"
    save_png(picture, torch.zeros(1, 8, 8))
    meta = json.loads((second / "meta.json").read_text())
    (second / "meta.json").write_text(json.dumps({**meta, "images": [str(picture)]}))
    words = ("--size", 32, "-o", picture, "--overwrite")
    result = gcn("mix", trained["texture"], second, *words)
    assert result.exit_code == 2
    assert "is what the model was learned from; it is never replaced" in result.stderr
