"""Materials: maps in, maps out, in step."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image

from gcn_cli.images.files import load_image, read_picture, save_picture, save_png
from gcn_cli.images.maps import unit_normals
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.run.config import choose
from gcn_cli.run.experiment import Stop
from gcn_cli.run.jobs import Wish, load_jobs

FILES = {"slate_Color.png", "slate_NormalGL.png", "slate_Roughness.png", "slate_Metalness.png"}
FILES |= {"slate_Displacement.png"}


def _write_maps(folder, seed: int = 0, side: int = 64) -> None:
    draw = torch.Generator().manual_seed(seed)
    bumps = torch.randn(1, side, side, generator=draw)
    folder.mkdir(parents=True, exist_ok=True)
    maps = {
        "Color": 120 + 30 * bumps.expand(3, -1, -1),
        "NormalGL": unit_normals(127.5 + 25 * bumps.expand(2, -1, -1)),
        "Roughness": 100 - 20 * bumps,
        "Metalness": torch.full((1, side, side), 255.0),
    }
    for name, picture in maps.items():
        save_png(folder / f"slate_{name}.png", picture)
    save_picture(folder / "slate_Displacement.png", 100 + 30.3 * bumps, "16", "data")


@pytest.fixture(scope="module")
def slate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slate")
    _write_maps(folder)
    return folder


@pytest.fixture(scope="module")
def learned(gcn, box, slate, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    result = gcn("train", "--images", slate, "--config", box / "texture.yaml", "--out", out)
    assert result.exit_code == 0, result.stderr
    return out / "00000-slate"


def test_maps_of_a_folder_are_one_model(learned):
    saved = load_checkpoint(learned)
    assert saved.observed.shape == (1, 7, 64, 64)
    assert [one.name for one in saved.material.maps] == [
        "color",
        "normal",
        "roughness",
        "metalness",
        "height",
    ]
    assert load_image(learned / "reals.png").shape[0] == 3


def test_a_sample_is_every_map_under_its_own_name(gcn, learned, tmp_path, listing):
    result = gcn(
        *("synthesize", "--ckpt", learned, "--size", 32, "--n", 2, "--tile", "xy"),
        *("--preview", "--out", tmp_path),
    )
    folders = [f"sample-32x32-seed{k}" for k in (0, 1)]
    wanted = {f"{folder}/{file}" for folder in folders for file in (*FILES, "preview.png")}
    assert result.exit_code == 0, result.stderr
    assert listing(tmp_path) == {*wanted, "grid-32x32-seed0-1.png"}
    assert len(result.stdout.splitlines()) == len(wanted) + 1
    first = tmp_path / folders[0]
    assert load_image(first / "slate_Metalness.png").eq(255).all()
    depths = {file: read_picture(first / file).depth for file in FILES}
    assert {file for file, depth in depths.items() if depth == "16"} == {"slate_Displacement.png"}
    normal = load_image(first / "slate_NormalGL.png") / 127.5 - 1
    assert float((normal.norm(dim=0) - 1).abs().max()) < 0.01  # bytes are 1/127 apart


def test_a_material_goes_on_where_it_stopped(gcn, learned, box, slate, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        asked = itertools.count()  # first before any work
        patch.setattr(Stop, "wanted", property(lambda self: next(asked) > 0))
        gcn("train", "--images", slate, "--config", box / "texture.yaml", "--out", tmp_path)
    run = tmp_path / "00000-slate"
    assert not load_checkpoint(run).complete
    assert gcn("train", "--resume", run).exit_code == 0
    one, other = load_checkpoint(run), load_checkpoint(learned)
    assert one.material == other.material
    assert one.fingerprint == other.fingerprint


def test_maps_named_by_hand_are_the_same_material(gcn, box, slate, learned, tmp_path):
    named = [f"{kind.lower()}={slate / f'slate_{kind}.png'}" for kind in ("Metalness", "Color")]
    named += [f"height={slate / 'slate_Displacement.png'}"]
    named += [f"nrm={slate / 'slate_NormalGL.png'}", f"Rough={slate / 'slate_Roughness.png'}"]
    told = [word for one in named for word in ("--maps", one)]
    result = gcn("train", *told, "--config", box / "texture.yaml", "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert (
        load_checkpoint(tmp_path / "00000-slate").fingerprint
        == load_checkpoint(learned).fingerprint
    )


HOLE = (slice(40, 52), slice(8, 20))


def _cut_out(folder, name, hole=HOLE) -> None:
    """Give a map an alpha channel that is 0 in the hole, where its values are far off."""
    path = folder / f"slate_{name}.png"
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGBA")).copy()
    pixels[hole] = (255, 0, 255, 0)
    Image.fromarray(pixels).save(path)


def _observed(config, folder, **wish):
    (job,) = load_jobs(config, folder, wish=Wish(**wish))
    return job


def test_what_a_map_does_not_know_counts_in_none(box, tmp_path):
    config = choose(str(box / "texture.yaml"), None, [])
    for folder in ("whole", "holed", "masked"):
        _write_maps(tmp_path / folder)
    whole = _observed(config, tmp_path / "whole")
    _cut_out(tmp_path / "holed", "Color")
    holed = _observed(config, tmp_path / "holed")
    mask = torch.zeros(1, 64, 64)
    mask[0][HOLE] = 255
    save_png(tmp_path / "mask.png", mask)
    masked = _observed(config, tmp_path / "masked", mask=tmp_path / "mask.png")
    known = torch.ones(64, 64, dtype=torch.bool)
    known[HOLE] = False
    for job in (holed, masked):
        assert torch.equal(job.known[0, 0], known)
        for name, levels in job.material.decode(job.observed[0]).items():
            wanted = whole.material.decode(whole.observed[0])[name]
            assert torch.allclose(levels[:, known], wanted[:, known], atol=1e-3), name
        spreads = job.observed[0][:, known].var(1, correction=0)
        assert torch.allclose(spreads[3:].sqrt().mean(), torch.tensor(50.0), rtol=0.01)
    assert any("3.5% of it is transparent" in note for note in holed.notes)
    assert any("3.5% of it is white in the mask" in note for note in masked.notes)


def test_opacity_is_a_map_whose_own_alpha_says_nothing(box, tmp_path):
    config = choose(str(box / "texture.yaml"), None, [])
    _write_maps(tmp_path)
    (tmp_path / "slate_Roughness.png").rename(tmp_path / "slate_Opacity.png")
    _cut_out(tmp_path, "Opacity")
    job = _observed(config, tmp_path)
    assert job.known is None
    assert job.material.decode(job.observed[0])["opacity"][0][HOLE].mean() == pytest.approx(255)


def test_a_crop_is_that_part_of_every_map(gcn, box, slate, tmp_path):
    config = choose(str(box / "texture.yaml"), None, [])
    whole, part = (_observed(config, slate, crop=c) for c in (None, (10, 20, 40, 32)))
    for name, levels in part.material.decode(part.observed[0]).items():
        wanted = whole.material.decode(whole.observed[0])[name][:, 20:52, 10:50]
        assert torch.allclose(levels, wanted, atol=1e-3), name
    words = ("--images", slate, "--crop", "10,20,40,32", "--config", box / "texture.yaml")
    told = gcn("train", *words, "--out", tmp_path)
    assert told.exit_code == 0, told.stderr
    assert load_checkpoint(tmp_path / "00000-slate").observed.shape == (1, 7, 32, 40)


def test_a_masked_material_is_learned_and_inspected(gcn, box, slate, tmp_path):
    mask = torch.zeros(1, 64, 64)
    mask[0][HOLE] = 255
    save_png(tmp_path / "mask.png", mask)
    words = ("--mask", tmp_path / "mask.png", "--config", box / "texture.yaml")
    told = gcn("train", "--images", slate, *words, "--out", tmp_path / "runs")
    assert told.exit_code == 0, told.stderr
    assert "slate_Color.png: 3.5% of it is white in the mask and left out" in told.stderr
    saved = load_checkpoint(tmp_path / "runs" / "00000-slate")
    assert int((~saved.known).sum()) == 144
    words = ("--image", slate, "--mask", tmp_path / "mask.png", "--levels", 1, "--json")
    told = gcn("inspect", "--ckpt", tmp_path / "runs" / "00000-slate", *words)
    assert told.exit_code == 0, told.stderr
    assert 0 < json.loads(told.stdout)["image"]["usable"] < 1


@pytest.mark.slow
def test_maps_are_compared_where_all_are_known(gcn, tmp_path):
    for folder in ("slate", "whole"):
        _write_maps(tmp_path / folder, side=128)
    _cut_out(tmp_path / "slate", "Color")
    words = ("--exemplar", tmp_path / "slate", "--samples", tmp_path / "whole", "--json")
    told = gcn("evaluate", *words)
    assert told.exit_code == 0, told.stderr
    assert json.loads(told.stdout)["cross_map"] < 0.05


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--crop 40,0,30,30", "the crop 40,0,30,30 lies outside slate_Color.png, 64x64 px"),
        ("--mask {s}/slate_Color.png --crop 60,60,9,9", "the crop 60,60,9,9 lies outside"),
        ("--mask {t}/small.png", "small.png is 9x5 px, slate_Color.png 64x64 px"),
        ("--mask {t}/white.png", "leaves nothing of slate_Color.png to learn from"),
        ("--mask {t}/right.png", "nothing of slate is known in all its maps"),
    ],
)
def test_parts_that_are_none_are_refused(gcn, box, tmp_path, words, said):
    slate = tmp_path / "slate"
    _write_maps(slate)
    _cut_out(slate, "Roughness", (slice(None), slice(0, 32)))
    Image.new("L", (9, 5)).save(tmp_path / "small.png")
    Image.new("L", (64, 64), 255).save(tmp_path / "white.png")
    right = torch.zeros(1, 64, 64)
    right[..., 32:] = 255
    save_png(tmp_path / "right.png", right)
    given = [word.format(s=slate, t=tmp_path) for word in words.split()]
    config = ("--config", box / "texture.yaml", "--dry-run")
    result = gcn("train", "--images", slate, *given, *config)
    assert result.exit_code == 2
    assert said in result.stderr


def test_maps_of_which_a_part_counts_agree_in_size(gcn, box, tmp_path):
    _write_maps(tmp_path)
    save_png(tmp_path / "slate_Roughness.png", torch.rand(1, 32, 32) * 255)
    words = ("--images", tmp_path, "--crop", "0,0,20,20", "--config", box / "texture.yaml")
    result = gcn("train", *words, "--dry-run")
    assert result.exit_code == 2
    assert "must agree in size: color 64x64, normal 64x64, roughness 32x32" in result.stderr


def test_what_is_planned_tells_the_maps(gcn, box, slate):
    result = gcn("train", "--images", slate, "--config", box / "texture.yaml", "--dry-run")
    assert "color (3), normal (2), roughness (1), metalness (constant), height (1)" in result.stderr


@pytest.mark.slow
def test_maps_are_compared_one_by_one_and_with_one_another(gcn, tmp_path):
    slate = tmp_path / "slate"
    _write_maps(slate, 0, 128)
    _write_maps(tmp_path / "fits", 1, 128)
    _write_maps(tmp_path / "torn", 1, 128)
    _write_maps(tmp_path / "other", 2, 128)
    rough = tmp_path / "other" / "slate_Roughness.png"
    rough.replace(tmp_path / "torn" / "slate_Roughness.png")
    errors = []
    for name in ("fits", "torn"):
        result = gcn("evaluate", "--exemplar", slate, "--samples", tmp_path / name, "--json")
        told = json.loads(result.stdout)
        assert set(told["scores"]) == {"color", "normal", "roughness", "metalness", "height"}
        errors.append(told["cross_map"])
    assert errors[0] < 0.3
    assert errors[1] > 0.5


def test_what_stands_in_the_way_is_named_and_kept(gcn, learned, tmp_path):
    words = ("synthesize", "--ckpt", learned, "--size", 32, "--out", tmp_path)
    assert gcn(*words).exit_code == 0
    height = tmp_path / "sample-32x32-seed0" / "slate_Displacement.png"
    before = height.read_bytes()
    height.with_name("slate_Color.png").unlink()
    result = gcn(*words)
    assert result.exit_code == 2
    assert "exists already; --overwrite replaces it" in result.stderr
    assert height.read_bytes() == before
    assert gcn(*words, "--overwrite", "--depth", "8").exit_code == 0
    assert read_picture(height).depth == "8"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--preview", "--out", "x.png"), "a material is several files; x.png is one"),
        (("--out", "-"), "a material is several files; - is one"),
    ],
)
def test_one_file_for_a_material_is_refused(gcn, learned, words, said):
    result = gcn("synthesize", "--ckpt", learned, "--size", 32, *words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_light_on_a_picture_is_refused(gcn, run):
    result = gcn("synthesize", "--ckpt", run(), "--size", 32, "--preview")
    assert result.exit_code == 2
    assert "--preview lights a material's maps; this model is of a picture" in result.stderr


def test_a_folder_of_maps_is_inspected_and_a_picture_refused(gcn, learned, slate, tmp_path):
    told = gcn("inspect", "--ckpt", learned, "--image", slate, "--out", tmp_path)
    assert told.exit_code == 0, told.stderr
    assert (tmp_path / "image-map.png").is_file()
    one = gcn("inspect", "--ckpt", learned, "--image", slate / "slate_Color.png")
    assert one.exit_code == 2
    assert "slate_Color.png is no folder of maps" in one.stderr
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    for name in ("slate_Color.png", "slate_Roughness.png"):
        (fewer / name).write_bytes((slate / name).read_bytes())
    result = gcn("inspect", "--ckpt", learned, "--image", fewer)
    assert "maps normal, metalness, height are missing" in result.stderr


def test_a_material_is_refused_by_the_papers_presets(gcn, slate):
    result = gcn("train", "--images", slate, "--config", "paper-texture", "--dry-run")
    assert result.exit_code == 2
    assert "is a material; models of kind field learn from pictures" in result.stderr


def test_maps_and_images_at_once_are_refused(gcn, slate):
    result = gcn("train", "--images", slate, "--maps", f"color={slate / 'slate_Color.png'}")
    assert result.exit_code == 2
    assert "leave out --images" in result.stderr


def test_a_joint_model_of_materials_is_refused(gcn, slate):
    result = gcn("train", "--images", slate, "--joint", "--dry-run")
    assert result.exit_code == 2
    assert "not of materials" in result.stderr
