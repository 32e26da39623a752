"""Transparent and masked pixels from the command line: told, left out, kept over a resume."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gcn_cli.engine import choose_machine
from gcn_cli.images.files import load_image
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.run.config import choose
from gcn_cli.run.experiment import Stop, train_job
from gcn_cli.run.jobs import load_jobs
from gcn_cli.run.kinds import open_course
from gcn_cli.run.progress import make_progress

SIDE, HOLE = 96, slice(30, 62)
MAGENTA = (255, 0, 255)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A greenish texture: whole, with a magenta hole, the hole transparent, and masks."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    grey = 120 + 30 * np.sin((x + y) / 3) + 10 * rng.standard_normal((SIDE, SIDE))
    pixels = np.stack([grey - 20, grey + 20, grey - 30], -1).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "whole.png")
    pixels[HOLE, HOLE] = MAGENTA
    Image.fromarray(pixels).save(folder / "holed.png")
    alpha = np.full((SIDE, SIDE, 1), 255, np.uint8)
    alpha[HOLE, HOLE] = 0
    Image.fromarray(np.concatenate([pixels, alpha], -1)).save(folder / "cut.png")
    Image.fromarray(255 - alpha[..., 0]).save(folder / "mask.png")
    Image.new("L", (SIDE, SIDE), 255).save(folder / "white.png")
    Image.new("L", (SIDE, SIDE), 0).save(folder / "black.png")
    Image.new("L", (9, 5), 0).save(folder / "small.png")
    return folder


def magenta(image):
    """Share of pixels that are more magenta than green, by far."""
    return float((torch.minimum(image[0], image[2]) - image[1] > 80).float().mean())


@pytest.fixture(scope="module")
def learned(gcn, box, pictures, tmp_path_factory):
    """Runs of the holed picture: with the hole as it is, transparent, and masked."""
    out, runs = tmp_path_factory.mktemp("runs"), {}
    words = ("--config", box / "texture.yaml", "--set", "reconstruction.updates=100")
    for name, given in (
        ("plain", ("holed.png",)),
        ("alpha", ("cut.png",)),
        ("mask", ("holed.png", "--mask", pictures / "mask.png")),
    ):
        image, *more = given
        told = gcn("train", "--images", pictures / image, *more, *words, "--out", out)
        assert told.exit_code == 0, told.stderr
        runs[name] = (told.stdout.strip(), told.stderr)
    return runs


@pytest.mark.parametrize("name", ["alpha", "mask"])
def test_what_is_left_out_does_not_appear(gcn, learned, tmp_path, name):
    for run in (name, "plain"):
        words = ("--size", 128, "--n", 2, "--out", tmp_path / run)
        gcn("synthesize", "--ckpt", learned[run][0], *words)
    shares = {
        run: [magenta(load_image(p)) for p in (tmp_path / run).glob("sample-*.png")]
        for run in (name, "plain")
    }
    assert shares[name] == [0, 0]
    assert min(shares["plain"]) > 0.01  # control


def test_it_is_told_once_and_kept(learned):
    assert learned["alpha"][1].count("cut.png: 11.1% of it is transparent and left out\n") == 1
    assert learned["mask"][1].count("11.1% of it is white in the mask and left out\n") == 1
    saved = {name: load_checkpoint(Path(learned[name][0])) for name in learned}
    assert saved["plain"].known is None
    assert torch.equal(saved["alpha"].known, saved["mask"].known)
    assert int((~saved["mask"].known).sum()) == 32**2
    for mine, other in zip(
        saved["alpha"].model.sizes, saved["mask"].model.sizes, strict=True
    ):  # two ways to say the same
        for a, b in zip(mine.weights.tensors(), other.weights.tensors(), strict=True):
            assert torch.equal(a, b)


def test_a_black_mask_changes_nothing(gcn, box, pictures, tmp_path):
    runs = []
    for more in ((), ("--mask", pictures / "black.png")):
        words = ("--images", pictures / "whole.png", *more, "--config", box / "texture.yaml")
        told = gcn("train", *words, "--out", tmp_path)
        runs.append(load_checkpoint(tmp_path / told.stdout.strip().rpartition("/")[2]))
    assert runs[1].known is None
    assert runs[0].fingerprint == runs[1].fingerprint


def test_stopped_and_resumed_unknown_pixels_stay_unknown(gcn, box, pictures, learned, tmp_path):
    class Soon(Stop):
        asked = 0

        @property
        def wanted(self):
            self.asked += 1
            return self.asked > 2

    config = choose(str(box / "texture.yaml"), None, ["reconstruction.updates=100"])
    (job,) = load_jobs(config, pictures / "cut.png")
    machine = choose_machine("auto", "auto", config.precision)
    told = train_job(open_course(config, job), tmp_path, machine, make_progress(True), Soon())
    assert not told.complete
    assert gcn("train", "--resume", told.folder).exit_code == 0
    whole = load_checkpoint(Path(learned["alpha"][0]))
    assert load_checkpoint(told.folder).fingerprint == whole.fingerprint


def inspected(gcn, run, *words):
    told = gcn("inspect", "--ckpt", run, "--levels", "1,0.3", "--samples", 1, *words, "--json")
    assert told.exit_code == 0, told.stderr
    return json.loads(told.stdout)


def test_a_model_is_inspected_on_what_is_known(gcn, learned, pictures, tmp_path):
    run = learned["alpha"][0]
    told = inspected(gcn, run, "--image", pictures / "cut.png")
    assert all(0.3 < size["usable"] < 0.9 for size in told["sizes"])
    assert told["image"]["verdict"] == "exemplar"
    assert {level["relative_loss"] for level in told["image"]["levels"]} == {1.0}
    masked = ("--image", pictures / "holed.png", "--mask", pictures / "mask.png")
    assert inspected(gcn, run, *masked)["image"] == told["image"]
    holed = inspected(gcn, run, "--image", pictures / "holed.png")
    assert holed["image"]["verdict"] == "foreign"  # control: magenta counts
    words = ("--image", pictures / "cut.png", "--levels", 1, "--out", tmp_path)
    text = gcn("inspect", "--ckpt", run, *words)
    assert text.stdout.count("of it, where all around is known\n") == 2


def test_scores_are_of_what_is_known(gcn, pictures):
    def scores(exemplar, *more):
        words = ("--exemplar", pictures / exemplar, "--samples", pictures / "whole.png", *more)
        told = gcn("evaluate", *words, "--json")
        assert told.exit_code == 0, told.stderr
        return json.loads(told.stdout)["scores"]

    cut = scores("cut.png")
    assert scores("holed.png", "--mask", pictures / "mask.png") == cut
    assert cut["colour"] < 1 < scores("holed.png")["colour"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("inspect --ckpt {t} --image {p}/cut.png --mask {p}/small.png", "small.png is 9x5 px"),
        ("inspect --ckpt {t} --mask {p}/small.png", "--mask leaves out a part of --image"),
        ("inspect --ckpt {f} --image {p}/cut.png", "11.1% of the image is transparent or masked"),
        ("inspect --ckpt {t} --image {p}/lace.png", "0.0% of the image can be measured at 1/2"),
        ("evaluate --exemplar {p}/lace.png --samples {p}/whole.png", "exemplar is known to be com"),
        ("evaluate --exemplar {p}/whole.png --samples {p}/lace.png", "a sample is known to be com"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_its_share(
    gcn, learned, trained, pictures, words, sentence
):
    pixels = np.full((SIDE, SIDE, 4), 90, np.uint8)
    pixels[..., 3] = 255 * (np.arange(SIDE) % 3 > 0)
    Image.fromarray(pixels).save(pictures / "lace.png")
    places = {"t": learned["alpha"][0], "f": trained["plain"], "p": pictures}
    told = gcn(*(word.format(**places) for word in words.split()))
    (pictures / "lace.png").unlink()
    assert told.exit_code == 2
    assert sentence in told.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--images {p}/holed.png --mask {p}/white.png", "leaves nothing of holed.png to learn"),
        ("--images {p}/holed.png --mask {p}/small.png", "is 9x5 px, holed.png 96x96 px"),
        ("--images {p}/holed.png --mask {p}/none.png", "none.png does not exist"),
        (
            "--images {p} --mask {p}/mask.png",
            "a mask goes with one picture or material, not with 7",
        ),
        ("--images {p}/cut.png --set sizes.coarsest=8", "of the picture can be learned from"),
        ("--images {p}/cut.png --config {b}/plain.yaml", "11.1% of it is transparent or masked"),
        ("--resume {p} --mask {p}/mask.png", "leave out --mask"),
    ],
)
def test_refusals(gcn, box, pictures, tmp_path, words, sentence):
    given = [word.format(p=pictures, b=box) for word in words.split()]
    if "--config" not in given and "--resume" not in given:
        given += ["--config", str(box / "texture.yaml")]
    told = gcn("train", *given, *(() if "--resume" in given else ("--out", tmp_path / "runs")))
    assert told.exit_code == 2
    assert sentence in told.stderr
    assert not (tmp_path / "runs").exists()
