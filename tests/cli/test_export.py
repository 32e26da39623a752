"""gcn export, notes and cards: what a model tells of itself, and that it needs nothing else."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

from gcn_cli import __version__
from gcn_cli.images.files import load_image
from gcn_cli.run.checkpoint import load_checkpoint

NOTE = "CC0, my own wall"


def text_of(path):
    with Image.open(path) as picture:
        return picture.text


@pytest.fixture(scope="module")
def noted(box, gcn, tmp_path_factory):
    """A run with a note, not complete yet."""
    out = tmp_path_factory.mktemp("noted")
    told = gcn(
        *("train", "--images", box / "images" / "ash.png", "--config", box / "plain.yaml"),
        *("--set", "learning.updates=2", "--note", NOTE, "--out", out, "--quiet"),
    )
    assert told.exit_code == 0, told.stderr
    return out / "00000-ash"


@pytest.mark.parametrize("name", ["plain", "bounded", "texture"])
def test_an_export_draws_the_same_wherever_a_checkpoint_is_taken(gcn, trained, tmp_path, name):
    model = tmp_path / "alone" / "a.safetensors"
    model.parent.mkdir()
    told = gcn("export", trained[name], "-o", model)
    assert (told.exit_code, told.stdout) == (0, f"{model}\n")
    words = ("--size", 32, "--seed", 5, "--quiet", "-o")
    for path, picture in ((model, "a.png"), (trained[name], "b.png")):
        assert gcn("synthesize", "--ckpt", path, *words, tmp_path / picture).exit_code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    told = gcn("inspect", "--ckpt", model, "--json")
    assert told.exit_code == 0, told.stderr
    assert json.loads(told.stdout)["fingerprint"] == load_checkpoint(trained[name]).fingerprint


@pytest.mark.parametrize("name", ["plain", "texture"])
def test_a_checkpoint_alone_is_all_that_sampling_needs(gcn, trained, tmp_path, name):
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(trained[name] / "run.pt", empty / "any.pt")
    told = gcn("synthesize", "--ckpt", empty / "any.pt", "--size", 32)
    assert told.exit_code == 0, told.stderr
    gcn("synthesize", "--ckpt", trained[name], "--size", 32, "-o", tmp_path / "a.png")
    alone = empty / "synthesized" / "sample-32x32-seed0.png"
    assert alone.read_bytes() == (tmp_path / "a.png").read_bytes()


def test_a_model_with_snapshots_is_exported_into_a_new_folder(gcn, box, tmp_path):
    told = gcn(
        *("train", "--images", box / "images" / "ash.png", "--config", box / "plain.yaml"),
        *("--set", "learning.updates=2", "--set", "learning.path_every=1", "--out", tmp_path),
    )
    model, run = tmp_path / "new" / "folder" / "a.safetensors", told.stdout.strip()
    told = gcn("export", run, "-o", model)
    assert (told.exit_code, told.stdout) == (0, f"{model}\n"), told.exception
    words = ("--size", 32, "--quiet", "-o")
    for path, picture in ((model, "a.png"), (run, "b.png")):
        assert gcn("synthesize", "--ckpt", path, *words, tmp_path / picture).exit_code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_by_default_an_export_lies_beside_its_checkpoint_and_replaces_nothing(gcn, run, tmp_path):
    folder = run()
    path = folder / "model.safetensors"
    assert gcn("export", folder).stdout == f"{path}\n"
    first = path.read_bytes()
    told = gcn("export", folder / "run.pt", "--note", "other")
    assert (told.exit_code, told.stderr) == (
        2,
        f"error: {path} exists already; --overwrite replaces it\n",
    )
    assert path.read_bytes() == first
    assert gcn("export", folder, "--note", "other", "--overwrite").exit_code == 0
    assert load_checkpoint(path).origin.note == "other"


def test_a_note_is_kept_through_resume_and_export_and_told_by_samples(gcn, noted, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(noted, folder)
    told = gcn("train", "--resume", folder, "--set", "learning.updates=3", "--quiet")
    assert told.exit_code == 0, told.stderr
    path = tmp_path / "model.safetensors"
    gcn("export", folder, "-o", path)
    for ckpt in (folder, path):
        told = json.loads(gcn("inspect", "--ckpt", ckpt, "--json").stdout)["origin"]
        assert told["note"] == NOTE
        assert (told["preset"], told["gcn"], told["images"]) == ("custom", __version__, ["ash.png"])
        meta = json.loads((folder / "meta.json").read_text())
        assert told["content"] == meta["content"]
        assert told["began"] == meta["started"][:10]
        assert f"note: {NOTE}\n" in gcn("inspect", "--ckpt", ckpt).stdout
        gcn("synthesize", "--ckpt", ckpt, "--size", 32, "--n", 2, "--out", tmp_path / ckpt.stem)
        for file in ("sample-32x32-seed0.png", "grid-32x32-seed0-1.png"):
            assert text_of(tmp_path / ckpt.stem / file)["gcn:note"] == NOTE


def test_an_export_can_have_a_note_of_its_own(gcn, noted, tmp_path):
    path = tmp_path / "model.safetensors"
    gcn("export", noted, "-o", path, "--note", "")
    assert load_checkpoint(path).origin.note == ""
    assert load_checkpoint(noted).origin.note == NOTE
    gcn("synthesize", "--ckpt", path, "--size", 32, "-o", tmp_path / "a.png")
    assert "gcn:note" not in text_of(tmp_path / "a.png")


def test_a_mixture_carries_the_notes_of_all_its_models(gcn, trained, tmp_path):
    paths = [tmp_path / f"{note}.safetensors" for note in ("one", "two")]
    for path in paths:
        gcn("export", trained["texture"], "-o", path, "--note", path.stem)
    told = gcn("mix", *paths, "--size", 32, "-o", tmp_path / "a.png", "--quiet")
    assert told.exit_code == 0, told.stderr
    assert text_of(tmp_path / "a.png")["gcn:note"] == "one; two"


@pytest.mark.parametrize("name", ["plain", "texture"])
def test_a_model_tells_its_note_and_hash_on_a_terminal(gcn, trained, name):
    told = gcn("inspect", "--ckpt", trained[name]).stdout
    content = load_checkpoint(trained[name]).content[:12]
    assert told.startswith(f"learned from ash.png, {content}, by gcn {__version__}, on 2")


def test_a_card_is_printed_and_lies_in_the_export(gcn, noted, tmp_path, listing):
    before = listing(noted)
    told = gcn("export", noted, "--card")
    assert told.exit_code == 0
    assert listing(noted) == before
    assert told.stdout.startswith("# ash.png\n")
    assert f"- note: {NOTE}\n" in told.stdout
    gcn("export", noted, "-o", tmp_path / "m.safetensors")
    again = gcn("export", tmp_path / "m.safetensors", "--card")
    assert again.stdout == told.stdout
    assert json.dumps(told.stdout)[1:-1] in json.loads(_header(tmp_path / "m.safetensors"))


def _header(path):
    """The text of the header, in quotes."""
    content = path.read_bytes()
    head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.dumps(head["__metadata__"]["gcn"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("export {run} -o {tmp}/a.pt", "an export's name ends in .safetensors; {tmp}/a.pt does no"),
        ("export {run} --card -o {tmp}/a.safetensors", "--card prints and writes nothing"),
        ("export {run} --note a\nb -o {tmp}/a.safetensors", "a note is one line of at most 1000"),
        ("export {tmp}/none", "there is no checkpoint {tmp}/none"),
        ("export {run} -o {tmp}/none.txt/../a.txt", "ends in .safetensors"),
        ("train --images {box}/images --note a\nb --out {tmp}/runs", "a note is one line"),
        ("train --resume {run} --note more", "leave out --note"),
        ("train --resume {tmp}/m.safetensors", "m.safetensors is an export and holds no state of"),
    ],
)
def test_refusals_are_one_sentence_and_write_nothing(gcn, run, box, tmp_path, listing, words, told):
    places = {"run": run(), "box": box, "tmp": tmp_path}
    gcn("export", places["run"], "-o", tmp_path / "m.safetensors")
    before = listing(tmp_path)
    result = gcn(*(word.format(**places) for word in words.split(" ")))
    assert result.exit_code == 2
    assert told.format(**places) in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert listing(tmp_path) == before


def test_an_export_of_a_material_draws_its_maps(gcn, tmp_path, texture_data, box):
    for kind in ("Color", "Height"):
        shutil.copy(box / "ordinary.png", tmp_path / f"rock_{kind}.png")
    told = gcn(
        *("train", "--images", tmp_path, "--config", box / "texture.yaml", "--quiet"),
        *("--out", tmp_path / "runs"),
    )
    assert told.exit_code == 0, told.stderr
    model = tmp_path / "m.safetensors"
    gcn("export", told.stdout.strip(), "-o", model)
    for path in (model, told.stdout.strip()):
        words = ("--size", 32, "--quiet", "--out", tmp_path / "out" / str(path == model))
        assert gcn("synthesize", "--ckpt", path, *words).exit_code == 0
    for name in ("rock_Color.png", "rock_Height.png"):
        one, other = (
            load_image(tmp_path / "out" / which / "sample-32x32-seed0" / name)
            for which in ("True", "False")
        )
        assert one.equal(other)
