"""Files of every format that a release wrote are read, or refused by name; exports draw the same.

``fixtures/`` holds them as they were written: ``texture-2.pt`` and ``field-2.pt`` by checkpoint
version 2 before it told an origin, ``texture-2.safetensors`` its export, ``field-1.pt`` by gcn 0.1,
and as PNG what seed 7 drew, 32 px square, in float32.
"""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gcn_cli.errors import CheckpointError
from gcn_cli.images.files import load_image
from gcn_cli.images.maps import Map, Material
from gcn_cli.run import export
from gcn_cli.run.card import card, provenance, sentence
from gcn_cli.run.checkpoint import (
    FORMAT,
    VERSION,
    Checkpoint,
    export_checkpoint,
    load_checkpoint,
    load_learning,
    save_checkpoint,
)
from gcn_cli.run.gallery import artist_of, draw
from gcn_cli.run.origin import Origin, check_note, new_origin
from gcn_cli.run.progress import NullProgress
from gcn_cli.run.sampling import Request

FIXTURES = Path(__file__).parent / "fixtures"
READ = ("texture-2.pt", "field-2.pt", "texture-2.safetensors")
TOLERANCE = 0.5  # grey levels, on average: another machine rounds otherwise, and units may switch


def drawn(saved, machine, seed=7):
    request = Request(32, 32, (seed,))
    ((_, picture),) = draw(artist_of(saved), request, machine, NullProgress(), 1)
    return picture


@pytest.mark.parametrize("name", READ)
def test_a_file_of_this_version_draws_what_it_drew_when_it_was_written(name, machine):
    saved = load_checkpoint(FIXTURES / name)
    told = load_image(FIXTURES / f"{saved.config.kind}.png")
    off = (drawn(saved, machine).round().clamp(0, 255) - told).abs().mean()
    assert off < TOLERANCE
    other = (drawn(saved, machine, seed=8) - told).abs().mean()
    assert other > 10 * TOLERANCE  # control: another seed is another picture


def test_every_version_has_its_file():
    assert VERSION == 2
    for kind in ("texture", "field"):
        data = torch.load(FIXTURES / f"{kind}-2.pt", weights_only=True)
        assert (data["format"], data["version"], data["kind"]) == (FORMAT, VERSION, kind)
    assert torch.load(FIXTURES / "field-1.pt", weights_only=True)["version"] == 1
    assert all(path.stat().st_size < 60_000 for path in FIXTURES.iterdir())


def test_a_file_of_the_first_release_is_refused_by_name():
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(FIXTURES / "field-1.pt")
    assert str(caught.value) == (
        f"{FIXTURES / 'field-1.pt'} was written by gcn 0.1 (checkpoint version 1); this gcn reads "
        "version 2: use gcn 0.1 for it, or learn anew"
    )


# --------------------------------------------------------------------------------- exports


@pytest.fixture(params=["texture", "field"])
def saved(request) -> Checkpoint:
    return load_checkpoint(FIXTURES / f"{request.param}-2.pt")


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "model.safetensors"


def test_an_export_draws_the_same_bit_for_bit(saved, path, machine):
    export_checkpoint(path, saved, card(saved))
    back = load_checkpoint(path)
    assert torch.equal(drawn(back, machine), drawn(saved, machine))
    assert (back.config, back.fingerprint, back.content) == (
        saved.config,
        saved.fingerprint,
        saved.content,
    )
    assert torch.equal(back.observed, saved.observed)
    assert (back.state, back.complete) == (None, True)


def test_an_export_of_an_export_is_the_same_bytes(saved, path):
    export_checkpoint(path, saved, card(saved))
    again = path.with_name("again.safetensors")
    export_checkpoint(again, load_checkpoint(path), card(saved))
    assert again.read_bytes() == path.read_bytes()


def test_an_export_knows_pixels_and_maps(saved, path):
    known = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    known[..., :5] = False
    channels = saved.observed.shape[1]
    gains = (0.5,) * channels
    maps = Material(
        (Map("color" if channels == 3 else "height", "a", "16", gains, (1.0,) * channels),)
    )
    export_checkpoint(path, replace(saved, known=known, depth="16", material=maps), "")
    back = load_checkpoint(path)
    assert torch.equal(back.known, known)
    assert (back.depth, back.material) == ("16", maps)


def test_other_programs_read_tensors_and_header(saved, path):
    export_checkpoint(path, saved, "# a card")
    with safe_open(path, "pt") as file:
        told = json.loads(file.metadata()["gcn"])
    assert (told["format"], told["version"], told["kind"]) == (FORMAT, 2, saved.config.kind)
    assert (told["card"], told["state"]) == ("# a card", None)
    tensors = load_file(path)
    assert torch.equal(tensors["mean"], saved.mean)
    assert not any(name.startswith("state") for name in tensors)


def test_learning_does_not_go_on_from_an_export(saved, path):
    export_checkpoint(path, saved, "")
    with pytest.raises(CheckpointError, match="is an export and holds no state of learning"):
        load_learning(path)


def _refused(path, words):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_in_an_export_is_noticed(saved, path):
    export_checkpoint(path, saved, "")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    _refused(path, "is truncated or not a gcn checkpoint")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_export_is_refused(saved, path, share):
    export_checkpoint(path, saved, "")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    _refused(path, "is truncated or not a gcn checkpoint")


def test_foreign_safetensors_are_refused(path):
    save_file({"weight": torch.zeros(3)}, path)
    _refused(path, "is truncated or not a gcn checkpoint")
    save_file({"weight": torch.zeros(3)}, path, {"gcn": "{}"})
    _refused(path, "is truncated or not a gcn checkpoint")
    path.write_bytes(struct.pack("<Q", 10) + b"{" + b"x" * 99)
    _refused(path, "is truncated or not a gcn checkpoint")


def test_an_export_of_a_later_version_is_refused_by_its_number(path):
    path.write_bytes(export.to_bytes({"format": FORMAT, "version": 3}))
    _refused(path, "has checkpoint version 3")


def test_a_header_that_names_no_tensor_is_refused(path):
    data = {"format": FORMAT, "version": 2, "observed": {"tensor": "nowhere"}}
    path.write_bytes(export.to_bytes(data))
    _refused(path, "is truncated or not a gcn checkpoint")


# ---------------------------------------------------------------------------------- origin


def test_an_origin_comes_back_from_both_formats(saved, path):
    told = replace(saved, origin=new_origin([Path("a/b/wall.png")], "CC0, meine eigene Mauer ß"))
    save_checkpoint(path.with_name("run.pt"), told)
    export_checkpoint(path, told, card(told))
    for file in (path, path.with_name("run.pt")):
        back = load_checkpoint(file)
        assert back.origin == told.origin
        assert provenance(back)["images"] == ["wall.png"]
        assert provenance(back)["content"] == saved.content
        assert "wall.png" in card(back)
        assert "CC0, meine eigene Mauer ß" in card(back)
        assert sentence(back).endswith("; note: CC0, meine eigene Mauer ß")


def test_files_without_an_origin_tell_none(saved):
    assert saved.origin == Origin()
    assert provenance(saved)["note"] is None
    assert "a picture without a name" in card(saved)


@pytest.mark.parametrize("note", ["two\nlines", "\x1b[31mred", "x" * 1001, 7, None])
def test_an_origin_that_is_no_line_of_text_is_refused(saved, tmp_path, note):
    path = tmp_path / "run.pt"
    save_checkpoint(path, saved)
    data = torch.load(path, weights_only=True)
    data["origin"]["note"] = note
    torch.save(data, path)
    _refused(path, "is damaged: its origin is told in something else than short lines")


def test_names_of_files_become_lines():
    told = new_origin([Path("a\x1b\n.png"), *[Path("b.png")] * 20], check_note("x" * 1000))
    assert told.images == ("a??.png", *["b.png"] * 15)
    assert Origin.unpack(told.pack()) == told


def test_the_hash_depends_on_what_was_learned_from(saved):
    observed = saved.observed.clone()
    observed[0, 0, 0, 0] += 1
    assert replace(saved, observed=observed).content != saved.content


def test_a_card_tells_what_holds_for_its_model(saved):
    told = card(saved)
    assert f"`{saved.content}`" in told
    assert f"`{saved.fingerprint}`, {saved.model.net.n_parameters():,} parameters" in told
    assert ("6 at 1/2, 4 at 1/1" in told) == (saved.config.kind == "texture")
    assert "was not complete" not in told
    assert "was not complete" in card(replace(saved, complete=False))
