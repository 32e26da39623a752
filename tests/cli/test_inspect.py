"""gcn inspect, evaluate, config and doctor: what they print and draw."""

from __future__ import annotations

import html
import itertools
import json
import math
import re

import pytest
import torch
import torch.nn.functional as F
import yaml

from gcn_cli.engine.support import Machine
from gcn_cli.images.files import load_image, save_png
from gcn_cli.report import figures
from gcn_cli.report.inspection import Course, TrainingFacts, reconstruct
from gcn_cli.report.paper_density import _moments
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.run.config import preset_names

COURSE = Course(
    updates=100,
    gap=0.01,
    gap_spread=0.1,
    reference_energy=1.0,
    spread_basis=10.0,
    spread_chains=40.0,
    spread_data=42.0,
    active=(0.5,),
)


def _json(gcn, *words):
    result = gcn("inspect", *words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_json_tells_the_field_and_its_training(gcn, trained):
    told = _json(gcn, "--ckpt", trained["dithered"])
    field = told["field"]
    assert field["layers"] == ["8@4/2", "8@3"]
    assert (field["receptive_field"], field["boundary"]) == (8, "torus")
    assert (field["parameters"], field["sigma"], field["eps"], field["eta"]) == (976, 20, 6, 0.045)
    assert (field["snapshots"], field["steps"]) == (2, 3 * 3 + 2)
    assert (told["parameters"], told["receptive_field"], told["multiple"]) == (976, 8, 2)
    assert told["fingerprint"] == load_checkpoint(trained["dithered"]).fingerprint
    training = told["training"]
    assert (training["done"], training["planned"], training["complete"]) == (6, 6, True)
    assert training["course"]["updates"] == 6
    assert training["verdict"].startswith("converged: ")


def test_plain_text_when_piped(gcn, trained):
    result = gcn("inspect", "--ckpt", trained["dithered"])
    assert "receptive field     8 px\n" in result.stdout
    assert "\x1b" not in result.stdout
    assert "converged: " in result.stdout
    assert result.stderr == ""


def test_a_checkpoint_alone_has_no_verdict(gcn, run, tmp_path):
    lone = tmp_path / "lone.pt"
    (run() / "run.pt").rename(lone)
    verdict = _json(gcn, "--ckpt", lone)["training"]["verdict"]
    assert verdict == "converged: unknown; no metrics.jsonl lies beside the checkpoint"


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({}, "converged: yes"),
        ({"gap": 0.5}, "converged: no; mean gap +0.5"),
        ({"gap": 0.5, "gap_spread": 0.6}, "converged: yes"),
        ({"gap": 0.5, "reference_energy": 20.0}, "converged: yes"),
        ({"spread_chains": 30.0}, "converged: no; the chains' spread is 71 %"),
        ({"gap": float("nan")}, "converged: no"),
    ],
)
def test_the_verdict(changes, begins):
    course = Course(**{**vars(COURSE), **changes})
    facts = TrainingFacts(100, 100, True, 0, (), course)
    assert facts.verdict.startswith(begins)


def test_an_unfinished_run_is_not_converged_yet():
    facts = TrainingFacts(50, 100, False, 0, (), COURSE)
    assert facts.verdict == "converged: not yet; 50 of 100 updates are done"


def test_pictures(gcn, trained, box, tmp_path, listing):
    result = gcn(
        *("inspect", "--ckpt", trained["dithered"], "--image", box / "images" / "ash.png"),
        *("--samples", 2, "--out", tmp_path / "report"),
    )
    names = {"filters.png", "reconstruction.png", "samples.png", "modes.png"}
    names |= {"training-curve.png"} if figures.can_plot() else set()
    assert listing(tmp_path) == {f"report/{name}" for name in (*names, "index.html")}
    assert {line for line in result.stdout.splitlines() if line.endswith(".png")} == {
        str(tmp_path / "report" / name) for name in names
    }
    for name in names:
        load_image(tmp_path / "report" / name)


def test_without_matplotlib_the_rest_is_drawn(gcn, trained, tmp_path, listing, monkeypatch):
    monkeypatch.setattr(figures, "can_plot", lambda: False)
    result = gcn("inspect", "--ckpt", trained["plain"], "--out", tmp_path)
    assert result.exit_code == 0
    assert "pip install 'gcn-cli[report]'" in result.stderr
    assert listing(tmp_path) == {"filters.png", "index.html"}


@pytest.mark.parametrize(
    ("name", "phases", "margin"), [("plain", 1, 7), ("dithered", 2, 7), ("bounded", 1, 0)]
)
def test_reconstruction_is_the_tilts_slope_averaged_over_phases(
    gcn, trained, box, basis_by_autograd, name, phases, margin
):
    image = load_image(box / "images" / "bark.png")
    saved = load_checkpoint(trained[name])
    told = _json(gcn, "--ckpt", trained[name], "--image", box / "images" / "bark.png")
    model, x = saved.model, (image - saved.mean)[None]
    basis = torch.zeros_like(x)
    for shift in itertools.product(range(phases), repeat=2):
        moved = torch.roll(x, shift, (-2, -1))
        b = basis_by_autograd(model.net, moved, model.weights, model.boundary)
        basis += torch.roll(b, tuple(-n for n in shift), (-2, -1)) / phases**2
    wanted = 20**2 * basis
    rest, data = ((t[..., margin : 32 - margin, margin : 32 - margin]) for t in (x - wanted, x))
    error = float(rest.square().mean().sqrt())
    assert told["reconstruction"]["rms_error"] == pytest.approx(error, rel=1e-4)
    relative = error / float(data.std())
    assert told["reconstruction"]["relative_error"] == pytest.approx(relative, rel=1e-4)
    found = reconstruct(saved, image, Machine(torch.device("cpu")))
    torch.testing.assert_close(found.output, saved.mean + wanted[0], rtol=1e-4, atol=1e-3)
    assert (found.margin, float(wanted.std()) > 1) == (margin, True)


def test_energy_by_hand(gcn, trained, box):
    """U, f and the reference of the exemplar and of another image, with plain convolutions."""
    other = box / "images" / "bark.png"
    told = _json(gcn, "--ckpt", trained["bounded"], "--image", other)
    saved = load_checkpoint(trained["bounded"])
    (w1, b1), (w2, b2) = saved.model.weights
    for name, image in (("exemplar", saved.observed), ("image", load_image(other)[None])):
        x = (image - saved.mean).double().requires_grad_(True)
        maps = F.conv2d(x, w1.double(), b1.double(), stride=2, padding=1).relu()
        f = F.conv2d(maps, w2.double(), b2.double(), padding=1).relu().sum()
        (basis,) = torch.autograd.grad(f, x)
        x, f = x.detach(), f.detach()
        reference = x.square().sum() / (2 * 20**2)
        pixels = 32 * 32
        facts = told["energy"][name]
        assert facts["tilt"] == pytest.approx(float(f) / pixels, rel=1e-4)
        assert facts["reference"] == pytest.approx(float(reference) / pixels, rel=1e-4)
        assert facts["energy"] == pytest.approx(float(reference - f) / pixels, rel=1e-4)
        inner = float((basis * x).sum()) / pixels
        assert facts["inner_product"] == pytest.approx(inner, rel=1e-4)
        assert facts["alpha"] == pytest.approx(float(f) / pixels - inner, abs=1e-6)
        pull = float((20**2 * basis - x).square().mean().sqrt())
        assert 20**2 * facts["score"] == pytest.approx(pull, rel=1e-4)
        assert facts["tilt"] > 1e-3
    assert told["energy"]["exemplar"]["energy"] != told["energy"]["image"]["energy"]
    # the same error by the fused auto-encoder
    assert 20**2 * told["energy"]["image"]["score"] == pytest.approx(
        told["reconstruction"]["rms_error"], rel=1e-4
    )


def test_a_foreign_image_lies_far_from_the_samples_and_from_the_exemplar(gcn, trained, tmp_path):
    """Its tilt is that of plain convolutions: below the samples' if flat, far above in stripes."""
    saved = load_checkpoint(trained["plain"])
    stripes = 120 + 90 * torch.sin(torch.arange(32) * 0.8).sign().expand(3, 32, -1)
    places = {}
    for name, image in (("flat", 0 * stripes + 120), ("stripes", stripes)):
        save_png(tmp_path / f"{name}.png", image)
        words = ("--ckpt", trained["plain"], "--samples", 3, "--image", tmp_path / f"{name}.png")
        told = _json(gcn, *words)["samples"]
        (w1, b1), (w2, b2) = saved.model.weights
        maps = F.conv2d((image - saved.mean)[None], w1, b1, stride=2).relu()
        tilt = F.conv2d(maps, w2, b2).relu().sum(1).mean() / 2**2
        assert told["image_tilt"] == pytest.approx(float(tilt), rel=1e-4)
        z = (told["image_tilt"] - told["tilt"]) / told["tilt_spread"]
        assert (told["count"], told["image_z"]) == (3, pytest.approx(z, rel=1e-5))
        places[name] = z
    exemplar = (told["exemplar_tilt"] - told["tilt"]) / told["tilt_spread"]
    assert places["flat"] < -10 < 10 < 1.5 * exemplar < places["stripes"]


def test_evaluate(gcn, box):
    ash, bark = (box / "images" / f"{name}.png" for name in ("ash", "bark"))
    result = gcn("evaluate", "--exemplar", ash, "--samples", ash, bark, "--json")
    told = json.loads(result.stdout)
    assert told["samples"] == [str(ash), str(bark)]
    assert told["scores"]["struct"] > 0
    table = gcn("evaluate", "--exemplar", ash, "--samples", ash)
    assert "diversity        -" in table.stdout


def test_config_list_and_show(gcn):
    listed = gcn("config", "list")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == preset_names()
    shown = gcn("config", "show", "frame", "--set", "seed=5")
    assert yaml.safe_load(shown.stdout)["seed"] == 5


def test_config_validate(gcn, box):
    result = gcn("config", "validate", box / "plain.yaml")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "valid: kind field, 2 layers" in result.stderr


def test_doctor(gcn):
    told = json.loads(gcn("doctor", "--json").stdout)
    assert told["torch"] == str(torch.__version__)
    assert told["auto_precision"] in ("fp32", "bf16")
    assert told["presets"] == preset_names()
    assert "auto precision" in gcn("doctor").stdout


@pytest.mark.parametrize("name", ["plain", "bounded"])
def test_the_energy_and_its_parts_are_told(gcn, trained, box, name):
    words = ("--ckpt", trained[name], "--image", box / "images" / "ash.png")
    told = _json(gcn, *words)["energy"]
    assert set(told) == {"exemplar", "image"}
    for facts in told.values():
        assert facts["energy"] == pytest.approx(facts["reference"] - facts["tilt"], rel=1e-6)
        assert facts["tilt"] == pytest.approx(facts["alpha"] + facts["inner_product"], rel=1e-6)
        assert facts["reference"] > 0
    assert "U = reference - f" in gcn("inspect", *words).stdout


def test_config_explains_its_keys(gcn):
    shown = gcn("config", "show", "texture", "--explain", "--set", "seed=5").stdout
    assert yaml.safe_load(shown)["seed"] == 5
    assert re.search(r"^seed: 5 +# \w", shown, flags=re.MULTILINE)
    assert gcn("config", "keys").stdout.startswith("# Config keys\n")
    assert json.loads(gcn("config", "schema").stdout)["title"] == "gcn config"


def test_pictures_are_looked_at_before_learning(gcn, box):
    result = gcn("inspect", "--images", box / "images")
    assert result.exit_code == 0, result.stderr
    assert "ash.png: 32x32 px, 3 channels, depth 8" in result.stdout
    lines = gcn("inspect", "--images", box / "images", "--json").stdout.splitlines()
    told = [json.loads(line) for line in lines]
    assert [photo["name"] for photo in told] == ["ash.png", "bark.png"]
    assert all(photo["advice"] for photo in told)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give --ckpt, or --images"),
        (("--images", "x", "--ckpt", "y"), "leave out the other"),
        (("--images", "x", "--samples", 0), "leave out the other"),
        (("--images", "x", "--levels", "1"), "leave out the other"),
        (("--images", "x", "--long", 5), "leave out the other"),
    ],
)
def test_either_a_model_or_pictures_are_inspected(gcn, words, said):
    result = gcn("inspect", *words)
    assert result.exit_code == 2
    assert said in result.stderr


NAMES = ["plain", "dithered", "bounded"]


@pytest.fixture(scope="module", params=NAMES)
def asked(request, gcn, trained, box, tmp_path_factory):
    """A model, everything asked of it, in a folder; what was printed."""
    folder = tmp_path_factory.mktemp(request.param) / "report"
    image = box / "images" / "bark.png"
    words = ("--image", image, "--samples", 2, "--long", 200, "--out", folder)
    result = gcn("inspect", "--ckpt", trained[request.param], *words)
    assert result.exit_code == 0, result.stderr
    return trained[request.param], folder, result


def test_a_long_chain_of_the_papers_model_is_judged(gcn, asked, box):
    run, _, _ = asked
    words = ("--image", box / "images" / "bark.png", "--long", 200)
    told = _json(gcn, "--ckpt", run, *words)
    (stay,) = told["stay"]
    assert (stay["steps"], stay["chains"], stay["s"]) == (200, 8, 0)
    energy, contrast, *first = stay["statistics"]
    assert len(first) == 8
    assert energy["exemplar"] == pytest.approx(told["energy"]["exemplar"]["energy"], rel=1e-3)
    saved = load_checkpoint(run)
    spread = float((saved.observed - saved.mean).std())
    assert contrast["exemplar"] == pytest.approx(spread, rel=1e-3)
    assert stay["course"][0][1] == pytest.approx(1, rel=1e-3)
    assert math.isfinite(stay["rhat"])
    assert told["density"]["kind"] in ("calibrated", "short-run", "undecided")
    (level,) = told["equations"]
    assert list(level["blocks"]) == ["layer 1", "layer 2", "biases"]


def test_moments_of_the_papers_model_are_its_gradient(gcn, trained, tmp_path):
    """Equations of weights that are the data's own moments away: by finite differences."""
    saved = load_checkpoint(trained["bounded"])
    x = saved.observed - saved.mean
    found = _moments(saved.model, x)["biases"]
    first, second = saved.model.weights
    moved = (first._replace(b=first.b + 1e-2), second)
    units = saved.model.net.map_sizes((32, 32), "bounded")[-1]
    tilts = [saved.model.net.tilt(x, w, "bounded").mean() for w in (saved.model.weights, moved)]
    wanted = float(tilts[1] - tilts[0]) / 1e-2 / (units[0] * units[1])
    assert float(found[: len(first.b)].sum()) == pytest.approx(wanted, rel=0.02)


def test_descents_of_the_papers_model_start_from_its_reconstruction(gcn, asked, box):
    run, _, _ = asked
    told = _json(gcn, "--ckpt", run, "--image", box / "images" / "bark.png")
    (modes,) = told["modes"]
    (level,) = modes["levels"]
    whole = level["descents"][0]
    assert (whole["start"], whole["away"][0]) == ("whole", 0)
    saved = load_checkpoint(run)
    found = reconstruct(
        saved, load_image(box / "images" / "bark.png"), Machine(torch.device("cpu"))
    )
    off = float(
        (found.output - found.image).square().mean().sqrt() / (found.image - saved.mean).std()
    )
    assert whole["error"][0] == pytest.approx(off, rel=1e-3)
    assert told["stay"] == []
    assert "--long 500 tells" in told["density"]["sentence"]


def test_the_papers_models_have_a_page_of_their_own(asked, listing):
    _, folder, result = asked
    names = {"filters", "reconstruction", "samples", "stay", "modes"}
    names |= {"training-curve"} if figures.can_plot() else set()
    assert listing(folder) == {"index.html", *(f"{name}.png" for name in names)}
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r'<img src="data:image/[^"]+" alt="([^"]+).png"', text)) == names
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "<script" not in text
    for head in ("Long chains", "Likelihood equations", "Where descents from the image lead"):
        assert f"<h2>{head}</h2>" in text
    told = re.search(r"^density: \S+; (.*)$", result.stdout, re.MULTILINE)[1]
    assert text.index(html.escape(told)) < text.index("<h2>")
    assert "long chains: 8 of 32x32 px, 200 steps" in result.stderr
