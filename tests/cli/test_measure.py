"""gcn score, classify and likelihood: what they tell, what they write, what they refuse."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from gcn_cli.engine import choose_machine
from gcn_cli.images.files import load_image, save_png
from gcn_cli.report import local
from gcn_cli.run.checkpoint import load_checkpoint, save_checkpoint

CONFIG = {
    "kind": "texture",
    "layers": [
        {"filters": 16, "size": 4, "stride": 2, "vote": True},
        {"filters": 16, "size": 3, "vote": True},
    ],
    "noise": {"highest": 5, "lowest": 0.05},
    "sizes": {"coarsest": 2},
    "reconstruction": {"updates": 200, "finer_updates": 200, "batch": 1, "crop": 32, "margin": 8},
    "likelihood": {"updates": 4, "finer_updates": 4, "chains": 1, "canvas": 32, "levels": 3},
    "sampler": {"steps": 10, "finer_steps": 6},
}


def _waves(seed, period, side=64, rough=15):
    """Diagonal waves under coarse noise."""
    draw = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    coarse = torch.randn(3, side // 4, side // 4, generator=draw).repeat_interleave(4, 1)
    waves = 50 * torch.sin(2 * math.pi * (x + y) / period)
    return 120 + waves + rough * coarse.repeat_interleave(4, 2)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "crops").mkdir()
    for name, period in (("ash", 16), ("bark", 5)):
        save_png(folder / f"{name}.png", _waves(0, period))
        save_png(folder / "crops" / f"{name}-crop.png", _waves(1, period, side=32))
    save_png(folder / "grey.png", _waves(2, 9)[:1])
    flawed = _waves(1, 16)
    flawed[:, 20:36, 30:46] = _waves(3, 5)[:, :16, :16]
    save_png(folder / "flawed.png", flawed)
    dull = _waves(1, 16)
    dull[:, 20:36, 30:46] = _waves(1, 16, rough=0)[:, 20:36, 30:46]
    save_png(folder / "dull.png", dull)
    save_png(folder / "small.png", _waves(0, 16, side=8))
    save_png(folder / "smallest.png", _waves(0, 16, side=4)[:, :3, :3])
    return folder


@pytest.fixture(scope="module")
def runs(gcn, pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    told = {}
    for name in ("ash", "bark", "grey"):
        words = ("--images", pictures / f"{name}.png", "--config", folder / "tiny.yaml")
        result = gcn("train", *words, "--out", folder)
        assert result.exit_code == 0, result.stderr
        told[name] = Path(result.stdout.strip())
    return told


def _changed(run, folder, **changes):
    """A checkpoint whose coarsest field has other tensors."""
    saved = load_checkpoint(run)
    first, *rest = saved.model.sizes
    weights = first.weights._replace(**{k: f(first.weights) for k, f in changes.items()})
    model = replace(saved.model, sizes=(replace(first, weights=weights), *rest))
    save_checkpoint(folder / "run.pt", replace(saved, model=model))
    return folder / "run.pt"


def _json(result, code=0):
    (told,) = _lines(result, code)
    return told


def _lines(result, code=0):
    assert result.exit_code == code, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def _refused(result, sentence):
    assert result.exit_code == 2, result.output
    (line,) = [text for text in result.stderr.splitlines() if text.startswith("error: ")]
    assert sentence in line
    assert result.stdout == ""


# ---------------------------------------------------------------------------------- score


def test_a_foreign_picture_is_stranger_than_an_own_one(gcn, runs, pictures):
    crops = pictures / "crops"
    told = _lines(gcn("score", crops, "--ckpt", runs["ash"], "--n", 8, "--json"))
    assert [one["samples"] for one in told] == [8, 8]
    by_name = {Path(one["image"]).stem: one for one in told}
    assert by_name["bark-crop"]["strangeness"] > 2 * by_name["ash-crop"]["strangeness"]
    assert (by_name["bark-crop"]["stranger"], by_name["bark-crop"]["share"]) == (0, 1 / 9)
    for one in told:
        levels = one["levels"]
        assert [level["reduction"] for level in levels] == [2] * 6 + [1] * 6
        squares = [level["z"] ** 2 for level in levels]
        assert one["strangeness"] == pytest.approx(math.sqrt(sum(squares) / len(squares)))
        assert all(0 <= level["rank"] <= 8 for level in levels)
        assert len(one["own_strangeness"]) == 8


def test_own_samples_are_not_strange(gcn, runs, tmp_path):
    out = tmp_path / "own"
    drawn = gcn("synthesize", "--ckpt", runs["ash"], "--size", 64, "--seeds", "50-53", "-o", out)
    assert drawn.exit_code == 0, drawn.stderr
    files = sorted(out.glob("sample-*.png"))
    told = _lines(gcn("score", *files, "--ckpt", runs["ash"], "--n", 16, "--json"))
    shares = sorted(one["share"] for one in told)
    assert len(shares) == 4
    assert shares[-2] > 0.1  # by rank they are even between 0 and 1


def test_the_energy_is_that_of_inspect(gcn, runs, pictures):
    image = pictures / "ash.png"
    words = ("inspect", "--ckpt", runs["ash"], "--image", image, "--samples", 4, "--json")
    seen = _json(gcn(*words))["image"]["levels"]
    told = _json(gcn("score", image, "--ckpt", runs["ash"], "--n", 4, "--json"))
    for mine, its in zip(told["levels"], seen, strict=True):
        assert (mine["reduction"], mine["s"]) == (its["reduction"], its["s"])
        assert mine["energy"] == pytest.approx(its["energy"], abs=0.1)  # of fewer draws of noise


def test_one_picture_has_a_table_and_a_line(gcn, runs, pictures):
    image = pictures / "ash.png"
    result = gcn("score", image, "--ckpt", runs["ash"], "--n", 3)
    assert result.exit_code == 0, result.stderr
    assert sum(line.startswith("  1/") for line in result.stdout.splitlines()) == 12
    assert result.stdout.splitlines()[-1].startswith(f"{image}: strangeness ")
    assert result.stdout == gcn("score", image, "--ckpt", runs["ash"], "--n", 3).stdout


@pytest.mark.parametrize("name", ["flawed", "dull"])
def test_the_map_is_bright_where_the_flaw_is(gcn, runs, pictures, tmp_path, name):
    """A square of another texture; one that is too smooth, which is reconstructed too well."""
    file = tmp_path / "odd.png"
    words = ("score", pictures / f"{name}.png", "--ckpt", runs["ash"], "--n", 3, "--map", file)
    result = gcn(*words)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(file)
    told = load_image(file)
    assert told.shape == (3, 64, 64)
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[20:36, 30:46] = True
    light = told.sum(0)
    assert light[inside].mean() > light[~inside].mean() + 100
    _refused(gcn(*words), "exists already; --overwrite replaces it")
    assert gcn(*words, "--overwrite").exit_code == 0


def test_the_map_counts_deviations_from_what_was_learned(runs, pictures):
    saved, machine = load_checkpoint(runs["ash"]), choose_machine("cpu", "fp32")
    observed = load_image(pictures / "ash.png")[None]

    def told(picture):
        picture = saved.model.in_units(picture)[0]
        return local.oddity_map(saved.model, observed, picture, machine)

    usual = told(observed)
    assert float(usual.mean()) == pytest.approx(0, abs=1e-3)
    assert float(usual.std()) == pytest.approx(1, abs=1e-3)
    assert told(observed - 60).mean() > 4


# ------------------------------------------------------------------------------- classify


def test_crops_are_told_apart(gcn, runs, pictures):
    models = ("--ckpt", runs["ash"], "--ckpt", runs["bark"], "--ckpt", runs["grey"])
    told = _lines(gcn("classify", *models, pictures / "crops", pictures / "grey.png", "--json"))
    assert [one["class"] for one in told] == ["ash", "bark", "grey"]
    for one in told:
        assert list(one["models"]) == ["ash", "bark", "grey"]
        bits = one["bits_per_value"]
        assert min(bits, key=bits.get) == one["class"]
        assert sum(one["shares"].values()) == pytest.approx(1)
        assert one["margin"] == pytest.approx(sorted(bits.values())[1] - min(bits.values()))


def test_the_same_noise_for_all_models(gcn, runs, pictures, tmp_path):
    """Two copies of one model have the same evidence, to the last bit."""
    twin = tmp_path / "twin"
    twin.mkdir()
    save_checkpoint(twin / "run.pt", load_checkpoint(runs["ash"]))
    words = ("classify", "--ckpt", runs["ash"], "--ckpt", twin, pictures / "ash.png")
    one = _json(gcn(*words, "--json"))
    assert one["margin"] == 0
    assert set(one["shares"].values()) == {0.5}


def test_classes_as_a_table(gcn, runs, pictures):
    words = ("--ckpt", runs["ash"], "--ckpt", runs["bark"])
    result = gcn("classify", *words, pictures / "crops" / "bark-crop.png")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[2].split()[1:3] == ["bark", "1.000"]


# ----------------------------------------------------------------------------- likelihood


def test_without_votes_both_ways_tell_the_gaussian(gcn, runs, pictures, tmp_path):
    """f = 0: p_s is N(0, 1 + s^2), and -log2 p known."""
    run = _changed(runs["ash"], tmp_path, votes=lambda w: tuple(0 * v for v in w.votes))
    image = pictures / "ash.png"
    words = ("likelihood", image, "--ckpt", run, "--steps", 40, "--chains", 8, "--lowest", 0.05)
    told = _json(gcn(*words, "--json"))
    model = load_checkpoint(run).model
    y = (load_image(image)[None] - model.mean) / model.contrast
    y = torch.nn.functional.interpolate(y, size=(32, 32), mode="bicubic", antialias=True)
    variance = 1 + 0.05**2
    nats = (y.double().square().mean() + 0.05**2) / variance / 2
    nats = float(nats) + math.log(2 * math.pi * variance) / 2
    known = nats / math.log(2) + math.log2(model.contrast)
    assert told["agree"]
    for way in ("annealed", "denoised"):
        assert abs(told[way] - known) <= 3 * told[f"{way}_error"] + 1e-4, way
        assert told[f"{way}_error"] < 0.05
    assert told["bits_per_value"] == pytest.approx(known, abs=0.05)
    lines = gcn(*words).stdout.splitlines()
    assert lines[-1].startswith(f"{image}: {told['bits_per_value']:.4f} ± ")


def test_where_the_ways_disagree_no_number_is_told(gcn, runs, pictures, tmp_path):
    """Votes twice as large at one level as at another: no density is the other's blurred."""
    run = _changed(runs["ash"], tmp_path, votes=lambda w: tuple(5 * v for v in w.votes))
    words = ("likelihood", pictures / "ash.png", "--ckpt", run, "--steps", 10, "--chains", 2)
    result = gcn(*words)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "not known" in result.stderr
    told = _json(gcn(*words, "--json"), code=1)
    assert (told["agree"], told["bits_per_value"]) == (False, None)


def test_to_a_grey_model_a_picture_in_colour_is_its_mean(gcn, runs, pictures, tmp_path):
    save_png(tmp_path / "mean.png", load_image(pictures / "ash.png").mean(0, keepdim=True))
    words = ("--ckpt", runs["grey"], "--steps", 4, "--chains", 2, "--side", 8, "--json")
    found = [
        json.loads(gcn("likelihood", image, *words).stdout)["denoised"]
        for image in (pictures / "ash.png", tmp_path / "mean.png")
    ]
    assert found[0] == pytest.approx(found[1], abs=0.02)  # whole grey levels


def test_pictures_that_are_too_small_are_left_out_and_named(gcn, runs, pictures):
    images = (pictures / "ash.png", pictures / "small.png")
    result = gcn("score", *images, "--ckpt", runs["ash"], "--n", 3, "--json")
    assert result.exit_code == 1
    assert [json.loads(line)["image"] for line in result.stdout.splitlines()] == [str(images[0])]
    assert f"error: {images[1]}: the image is 8x8 px" in result.stderr
    assert "error: 1 of 2 pictures could not be scored" in result.stderr


# ------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("score {box}/small.png --ckpt {ash}", "8x8 px; this model needs sides of at least 16"),
        ("score {box}/no.png --ckpt {ash}", "does not exist"),
        ("score {box}/ash.png --ckpt {plain}", "gcn inspect --image measures that"),
        ("score {box}/crops --ckpt {ash} --map {box}/a.png", "--map is of one picture, not of 2"),
        ("score {box}/ash.png --ckpt {ash} --map {box}/a.gif", "no suffix of a format"),
        ("score {box}/ash.png --ckpt {ash} --map {box}/bark.png", "exists already"),
        (
            "score {box}/ash.png --ckpt {ash} --map {box}/ash.png --overwrite",
            "is a picture that is scored",
        ),
        ("classify {box}/ash.png --ckpt {ash}", "give --ckpt twice or more"),
        ("classify {box}/ash.png --ckpt {ash} --ckpt {ash}/run.pt", "one --ckpt is given twice"),
        ("classify {box}/ash.png --ckpt {ash} --ckpt {plain}", "of a single noise level"),
        (
            "classify {box}/smallest.png --ckpt {ash} --ckpt {bark}",
            "3x3 px; these models need sides of at least 4 px",
        ),
        ("likelihood {box}/ash.png --ckpt {plain}", "at all noise levels"),
        ("likelihood {box}/ash.png --ckpt {ash} --lowest 9", "--lowest lies between 0.05 and 5"),
        ("likelihood {box}/smallest.png --ckpt {ash} --side 1", "3x3 px; sides of 2 px at 1/2"),
    ],
)
def test_refusals(gcn, runs, trained, pictures, listing, words, sentence):
    before = listing(pictures)
    given = [word.format(box=pictures, plain=trained["plain"], **runs) for word in words.split()]
    _refused(gcn(*given), sentence)
    assert listing(pictures) == before
