"""gcn inspect of a model of all noise levels: what it prints, the verdict, the pictures."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from gcn_cli.engine import Machine
from gcn_cli.field import ladder
from gcn_cli.field.network import beside
from gcn_cli.images.files import load_image, save_png
from gcn_cli.report import figures, measure
from gcn_cli.report.texture import Subject, verdict
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.texture.exemplar import given_picture

CONFIG = {
    "kind": "texture",
    "layers": [
        {"filters": 16, "size": 4, "stride": 2, "vote": True},
        {"filters": 16, "size": 3, "vote": True},
    ],
    "noise": {"highest": 5, "lowest": 0.05},
    "sizes": {"coarsest": 2},
    "reconstruction": {
        "updates": 200,
        "finer_updates": 200,
        "batch": 1,
        "crop": 32,
        "margin": 8,
    },
    "likelihood": {"updates": 4, "finer_updates": 4, "chains": 1, "canvas": 32, "levels": 3},
    "sampler": {"steps": 10, "finer_steps": 6},
}


def _picture(seed, side=64):
    """Diagonal waves under coarse noise: a texture that is learned in seconds."""
    draw = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    coarse = torch.randn(3, side // 4, side // 4, generator=draw).repeat_interleave(4, 1)
    return 120 + 50 * torch.sin(2 * math.pi * (x + y) / 16) + 15 * coarse.repeat_interleave(4, 2)


def _stripes(height=64, width=96):
    """Fine stripes across."""
    x = torch.arange(width) + 0.3 * torch.arange(height)[:, None]
    return (120 + 50 * torch.sin(2 * math.pi * x / 5)).expand(3, -1, -1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    draw = torch.Generator().manual_seed(0)
    save_png(folder / "ash.png", _picture(0))
    save_png(folder / "other.png", _picture(1, side=48))
    save_png(folder / "foreign.png", _stripes())
    save_png(folder / "noise.png", 120 + 40 * torch.randn(3, 64, 64, generator=draw))
    save_png(folder / "small.png", _picture(2, side=8))
    return folder


@pytest.fixture(scope="module")
def texture_run(gcn, pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("texture")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    words = ("--images", pictures / "ash.png", "--config", folder / "tiny.yaml", "--out", folder)
    result = gcn("train", *words)
    assert result.exit_code == 0, result.stderr
    return Path(result.stdout.strip())


def _json(gcn, *words):
    result = gcn("inspect", *words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_json_tells_everything(gcn, texture_run):
    told = _json(gcn, "--ckpt", texture_run)
    saved = load_checkpoint(texture_run)
    assert told["fingerprint"] == saved.fingerprint
    assert (told["kind"], told["layers"]) == ("texture", ["16@4/2+", "16@3+"])
    assert told["multiple"] == saved.model.multiple == 4
    assert [(s["reduction"], s["width"], s["window"]) for s in told["sizes"]] == [
        (2, 32, 32),
        (1, 64, 64),
    ]
    names = {"s", "loss", "gaussian_loss", "gap", "gap_error", "energy", "z", "active"}
    for size, s in zip(told["sizes"], (5.0, 1.0), strict=True):
        assert size["levels"][0]["s"] == pytest.approx(s)
        assert size["levels"][-1]["s"] == pytest.approx(0.05)
        assert all(names <= level.keys() for level in size["levels"])
    assert told["training"]["complete"]
    assert len(told["training"]["records"]) == 2 * (200 // 25 + 4)
    assert told["training"]["verdict"].startswith("converged: ")
    assert "image" not in told


def test_the_same_call_tells_the_same(gcn, texture_run):
    words = ("--ckpt", texture_run, "--levels", "1", "--samples", 2)
    assert _json(gcn, *words) == _json(gcn, *words)


def test_plain_text_when_piped(gcn, texture_run):
    result = gcn("inspect", "--ckpt", texture_run, "--levels", "1,0.2")
    assert result.exit_code == 0, result.stderr
    assert "receptive field        8 px\n" in result.stdout
    assert "\x1b" not in result.stdout
    rows = re.findall(r"^  1/(\d) +(\S+) ", result.stdout, re.MULTILINE)
    assert [size for size, _ in rows] == ["2", "2", "1", "1"] * 2  # and of the equations
    assert re.search(r"^likelihood: the gap lies within", result.stdout, re.MULTILINE)
    assert re.search(r"^converged: ", result.stdout, re.MULTILINE)
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ash", "exemplar"), ("other", "exemplar"), ("foreign", "foreign"), ("noise", "noise")],
)
def test_images_are_told_apart(gcn, texture_run, pictures, name, kind):
    told = _json(gcn, "--ckpt", texture_run, "--image", pictures / f"{name}.png")["image"]
    assert told["verdict"] == kind, told["sentence"]
    levels = told["levels"]
    worst = max(levels, key=lambda level: abs(math.log(level["relative_loss"])))
    assert f"{worst['relative_loss']:.2f} times the exemplar's" in told["sentence"]
    if name == "ash":
        assert {level["relative_loss"] for level in levels} == {1.0}


def test_the_verdict_is_one_line(gcn, texture_run, pictures):
    words = ("--ckpt", texture_run, "--levels", "0.5", "--image", pictures / "noise.png")
    result = gcn("inspect", *words)
    assert len(re.findall(r"^image: noise: .*$", result.stdout, re.MULTILINE)) == 1


@pytest.fixture(scope="module")
def report(gcn, texture_run, pictures, tmp_path_factory):
    """A report with all that there is: a picture, long chains; what was printed."""
    folder = tmp_path_factory.mktemp("full") / "report"
    words = ("--image", pictures / "other.png", "--out", folder, "--samples", 2, "--long", 12)
    result = gcn("inspect", "--ckpt", texture_run, "--levels", "2,0.5", *words)
    assert result.exit_code == 0, result.stderr
    told = [rf"long chains: 4 of \d+x\d+ px at 1/{r}, 12 steps; \d+ s left\n" for r in (2, 1)]
    assert re.fullmatch("".join(told), result.stderr)
    return folder, result.stdout


NAMES = {
    *("chain", "samples", "denoising", "filters", "units", "stay"),
    *("image-denoising", "image-map", "modes"),
}


def test_pictures_lie_beside_the_page(report, listing):
    folder, printed = report
    names = NAMES | ({"levels", "training-curve"} if figures.can_plot() else set())
    files = {f"{name}.png" for name in names} | {"index.html"}
    assert listing(folder) == files
    lines = {line for line in printed.splitlines() if line.startswith(str(folder))}
    assert lines == {str(folder / name) for name in files}
    for name in files - {"index.html"}:
        load_image(folder / name)


def test_the_page_holds_all_and_asks_for_nothing(report):
    folder, printed = report
    text = (folder / "index.html").read_text(encoding="utf-8")
    shown = re.findall(r'<img src="([^"]{30})[^"]*" alt="([^"]+)"', text)
    assert {name for _, name in shown} == {path.name for path in folder.glob("*.png")}
    assert all(re.match("data:image/(png|jpeg);base64,", data) for data, _ in shown)
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "<script" not in text
    told = re.search(r"^density: \S+; (.*)$", printed, re.MULTILINE)[1]
    assert text.index(html.escape(told)) < text.index("<h2>")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_shows_the_page_without_a_request(report, tmp_path):
    folder, _ = report
    page = tmp_path / "moved.html"  # alone, without its pictures
    shutil.copy(folder / "index.html", page)
    words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    words += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    words += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--v=0"]
    watch = (  # after loading, the page tells what it asked for and which pictures it drew
        "<script>window.addEventListener('load', () => document.body.setAttribute('data-told',"
        "JSON.stringify([performance.getEntriesByType('resource').map(e => e.name)"
        ".filter(name => !name.startsWith('data:')),"
        "[...document.images].filter(i => i.naturalWidth).length,"
        "document.querySelectorAll('section, details').length])))</script>"
    )
    page.write_text(page.read_text("utf-8").replace("<style>", f"{watch}<style>", 1), "utf-8")
    done = subprocess.run(
        [*words, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    told = re.search(r'data-told="([^"]+)"', done.stdout)[1]
    asked, drawn, parts = json.loads(html.unescape(told))
    assert asked == []
    assert drawn == len(list(folder.glob("*.png")))
    assert parts >= 8


def test_without_matplotlib_the_rest_is_drawn(gcn, texture_run, tmp_path, listing, monkeypatch):
    monkeypatch.setattr(figures, "can_plot", lambda: False)
    result = gcn("inspect", "--ckpt", texture_run, "--levels", "1", "--out", tmp_path, "--json")
    assert "pip install 'gcn-cli[report]'" in result.stderr
    assert listing(tmp_path) == {
        *("chain.png", "samples.png", "denoising.png", "filters.png", "units.png", "index.html")
    }
    json.loads(result.stdout)


def test_json_carries_every_figure(gcn, texture_run, pictures):
    words = ("--image", pictures / "ash.png", "--long", 12, "--levels", "1,0.2")
    told = _json(gcn, "--ckpt", texture_run, *words)
    assert told["density"].keys() == {"kind", "sentence"}
    assert len(told["equations"]) == sum(len(size["levels"]) for size in told["sizes"])
    names = ["layer 1", "layer 2", "mixers", "votes", "biases"]
    for level in told["equations"]:
        assert list(level["blocks"]) == names
        assert level["blocks"]["votes"].keys() == {"distance", "error", "errors", "excess"}
    assert {(u["reduction"], u["layer"]) for u in told["units"]} == {(2, 2), (1, 2)}
    assert [(one["reduction"], one["begun"]) for one in told["stay"]] == [
        (2, "sample"),
        (1, "coarser"),
    ]
    for stay in told["stay"]:
        assert (stay["steps"], stay["chains"]) == (12, 8)
        assert len(stay["course"]) == 13
        assert len(stay["statistics"]) == 2 + 16
        assert {"effective", "rhat"} <= stay["statistics"][0].keys()
        assert f"1/{stay['reduction']}" in stay["sentence"]
    assert [one["reduction"] for one in told["modes"]] == [2, 1]
    for modes in told["modes"]:
        levels = modes["levels"]
        assert [level["descents"][0]["start"] for level in levels] == ["whole"] * len(levels)
        assert {"modes", "arrived"} <= levels[0].keys()


def test_finer_chains_begin_without_detail_and_are_given_the_exemplars_coarser_self(
    gcn, texture_run
):
    """By the energies of what they begin at, with noise of our own."""
    told = _json(gcn, "--ckpt", texture_run, "--long", 12, "--levels", "1")["stay"][1]
    model = load_checkpoint(texture_run).model
    x = model.in_units(load_checkpoint(texture_run).observed)
    coarser, s = given_picture(x, 1), torch.full((8,), told["s"])
    z = torch.randn(2, 8, *x.shape[1:], generator=torch.Generator().manual_seed(0))
    rough = torch.nn.functional.interpolate(z[1, ..., ::2, ::2], scale_factor=2, mode="bicubic")
    given = coarser + model.given_noise * rough

    def energy(clean, given):
        y, weights = clean + told["s"] * z[0], model.sizes[1].weights
        f = model.net.output(
            model.net.forward(beside(y / (1 + told["s"] ** 2) ** 0.5, given), s, weights, "torus"),
            weights,
        )
        return float((ladder.reference_energy(y, s) - f / s).mean()) / 64**2

    found = told["statistics"][0]
    assert found["exemplar"] == pytest.approx(energy(x, given), abs=0.03)
    assert found["start"] == pytest.approx(energy(coarser, given), abs=0.03)
    assert abs(energy(x, given) - energy(coarser, given)) > 0.1
    assert abs(energy(x, given) - energy(x, None)) > 0.1


def test_finer_descents_are_given_the_pictures_coarser_self(gcn, texture_run, pictures):
    """By the first step: how far D is from the picture, with noise of our own on what is given."""
    told = _json(gcn, "--ckpt", texture_run, "--image", pictures / "ash.png", "--levels", "1")
    level = told["modes"][1]["levels"][0]
    model = load_checkpoint(texture_run).model
    x = model.in_units(load_image(pictures / "ash.png")[None])
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    rough = torch.nn.functional.interpolate(z[..., ::2, ::2], scale_factor=2, mode="bicubic")
    field = measure.open_field(model, 1, Machine(torch.device("cpu")))

    def off(given):
        beside_it = None if given is None else measure.surround(field, given)
        d = measure.posterior_mean(field, measure.surround(field, x), level["s"], beside_it)
        return float((measure.inner(field, d, (64, 64)) - x).square().mean().sqrt() / x.std())

    given = given_picture(x, 1) + model.given_noise * rough
    assert level["descents"][0]["error"][0] == pytest.approx(off(given), rel=0.05)
    assert abs(off(None) / off(given) - 1) > 0.2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--levels", "a"), "reads like 5,1,0.2; 'a' does not"),
        (("--levels", "1,-2"), "noise levels are positive"),
        (("--levels", "1000"), "no level between 0.05 and 5"),
        (("--image", "small.png"), "8x8 px; this model needs sides of at least 16 px"),
    ],
)
def test_refusals(gcn, texture_run, pictures, words, sentence):
    words = [pictures / word if word.endswith(".png") else word for word in words]
    result = gcn("inspect", "--ckpt", texture_run, *words)
    assert result.exit_code != 0
    told = " ".join(f"{result.stderr} {result.exception}".split())
    assert sentence in told


def test_levels_are_refused_of_a_single_level(gcn, trained):
    result = gcn("inspect", "--ckpt", trained["plain"], "--levels", "1")
    assert result.exit_code != 0


def test_a_checkpoint_alone_has_no_verdict(gcn, texture_run, tmp_path):
    shutil.copy(texture_run / "run.pt", tmp_path / "lone.pt")
    told = _json(gcn, "--ckpt", tmp_path / "lone.pt", "--levels", "1")["training"]
    assert told["verdict"].startswith("converged: unknown")


def _records(gap=0.0, wiggle=0.1, spread=1.0):
    first = [{"act": "reconstruction", "size": 1, "loss": 0.3}]
    return first + [
        {"act": "likelihood", "size": 1, "gap": gap + wiggle * (-1) ** k, "spread": spread}
        for k in range(8)
    ]


@pytest.mark.parametrize(
    ("records", "begins"),
    [
        (_records(), "converged: yes"),
        (
            _records(gap=0.5),
            "converged: no; over the last 2 updates of likelihood the gap was +0.5",
        ),
        (_records(gap=0.5, wiggle=0.6), "converged: yes"),
        (_records(gap=0.04, wiggle=0.0), "converged: yes"),
        (_records(spread=0.7), "converged: no"),
        (_records()[:1], "converged: unknown"),
        ([*_records(gap=3), *({**r, "size": 0} for r in _records())], "converged: yes"),
    ],
)
def test_the_verdict_on_learning(records, begins):
    assert verdict(Subject(None, None, "x", "y", True, records)).startswith(begins)
    assert verdict(Subject(None, None, "x", "y", False, records)).startswith("converged: not yet")
