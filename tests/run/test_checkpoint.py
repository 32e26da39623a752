"""Checkpoints: what is written comes back, what is broken is refused, nothing is executed."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gcn_cli.errors import CheckpointError, GcnError
from gcn_cli.field.convnet import map_weights
from gcn_cli.field.likelihood import parameters
from gcn_cli.run import checkpoint as module
from gcn_cli.run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gcn_cli.run.jobs import mean_colour
from gcn_cli.run.plan import Subject, build_plan
from gcn_cli.texture.paper.learn import begin, current_model, learn


@pytest.fixture(scope="module")
def saved(small_config, picture, machine):
    """Three updates after a second layer was added."""
    learning = {"updates": 4, "chains": "restart", "path_every": 2, "averaging": 0.5, "grow": True}
    config = small_config(learning=learning)
    mean = mean_colour(picture)
    plan = build_plan(config, Subject.of(picture, mean))
    for state, _ in learn(plan, picture, mean, begin(), machine):
        if state.done(plan) == 7:
            break
    state = replace(state, rate_scale=0.25, rollbacks=2, strikes=1)  # as after two repairs
    return Checkpoint(config, picture, mean, state, current_model(plan, state, mean), False)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.pt"


@pytest.fixture
def write(saved, path):
    """Saves the checkpoint after ``change`` has had its way with the plain data."""

    def write(change=lambda data: None):
        save_checkpoint(path, saved)
        data = torch.load(path, weights_only=True)
        change(data)
        torch.save(data, path)
        return path

    return write


def _same_weights(a, b):
    return len(a) == len(b) and all(
        torch.equal(x, y) and x.dtype == y.dtype
        for x, y in zip(parameters(a), parameters(b), strict=True)
    )


def _moments(state):
    return state.moments.first + state.moments.second


def test_round_trip_is_equal(saved, path):
    save_checkpoint(path, saved)
    back = load_checkpoint(path)
    assert back.config == saved.config
    assert torch.equal(back.observed, saved.observed)
    assert back.observed.dtype == torch.float32
    assert torch.equal(back.mean, saved.mean)
    assert back.complete is False
    a, b = back.model, saved.model
    assert len(a.path) == len(b.path) == 4
    assert (a.net, a.langevin, a.sampler, a.boundary) == (b.net, b.langevin, b.sampler, b.boundary)
    assert torch.equal(a.mean, b.mean)
    assert _same_weights(a.weights, b.weights)
    assert all(_same_weights(x, y) for x, y in zip(a.path, b.path, strict=True))
    a, b = back.state, saved.state
    assert (a.stage, a.update, a.chains.step) == (1, 3, b.chains.step)
    assert all(_same_weights(x, y) for x, y in zip(a.path, b.path, strict=True))
    assert (a.rate_scale, a.rollbacks, a.strikes) == (0.25, 2, 1)
    assert _same_weights(a.weights, b.weights)
    assert _same_weights(a.average, b.average)
    assert torch.equal(a.chains.images, b.chains.images)
    assert a.moments.count == b.moments.count == 3
    for x, y in zip(_moments(a), _moments(b), strict=True):
        assert torch.equal(x, y)
    assert back.fingerprint == saved.fingerprint


def test_images_finer_than_bytes_keep_their_values(saved, path):
    fine = replace(saved, observed=saved.observed + 0.25)
    save_checkpoint(path, fine)
    assert torch.equal(load_checkpoint(path).observed, fine.observed)
    beyond = replace(saved, observed=saved.observed * 3)
    save_checkpoint(path, beyond)
    assert torch.equal(load_checkpoint(path).observed, beyond.observed)


def test_a_run_folder_stands_for_its_checkpoint(write):
    assert load_checkpoint(write().parent).model.weights


def test_views_are_not_saved_with_what_they_view(saved, path):
    save_checkpoint(path, saved)
    size = path.stat().st_size
    state = saved.state
    wide = map_weights(lambda t: torch.stack([t] * 50)[7], state.weights)
    save_checkpoint(path, replace(saved, state=replace(state, weights=wide)))
    assert path.stat().st_size < size * 1.05


def test_fingerprint_names_the_weights(saved):
    nudged = map_weights(lambda t: t + 1e-6, saved.model.weights)
    model = replace(saved.model, weights=nudged)
    assert len(saved.fingerprint) == 12
    assert int(saved.fingerprint, 16) >= 0
    assert replace(saved, model=model).fingerprint != saved.fingerprint
    assert replace(saved, state=begin()).fingerprint == saved.fingerprint


# ------------------------------------------------------------------------------ refusals


def _refused(path, words):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    sentence = str(caught.value)
    assert words in sentence
    assert path.name in sentence
    assert "\n" not in sentence


def test_a_missing_file_and_an_empty_folder_are_refused(tmp_path):
    _refused(tmp_path / "none.pt", "there is no checkpoint")
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*run\.pt"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share, write):
    path = write()
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    _refused(path, "truncated or not a gcn checkpoint")


def test_a_file_larger_than_any_checkpoint_is_refused(write, monkeypatch):
    path = write()
    monkeypatch.setattr(module, "MAX_BYTES", path.stat().st_size - 1)
    _refused(path, "larger than any checkpoint")


def test_foreign_files_are_refused(path):
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    _refused(path, "truncated or not a gcn checkpoint")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    _refused(path, "truncated or not a gcn checkpoint")
    for other in ({"state_dict": {}}, [1, 2], torch.zeros(3), {"format": "gcn", "version": 1}):
        torch.save(other, path)
        _refused(path, "is not a gcn checkpoint")


class _Hostile:
    """Unpickling it makes a file."""

    def __init__(self, victim: Path):
        self.victim = victim

    def __reduce__(self):
        return (os.mkdir, (str(self.victim),))


@pytest.mark.parametrize("where", ["alone", "inside"])
def test_a_hostile_pickle_is_refused_and_does_nothing(where, write, path, tmp_path):
    victim = tmp_path / "made"
    if where == "alone":
        torch.save(_Hostile(victim), path)
    else:
        write(lambda data: data.update(extra=_Hostile(victim)))
    _refused(path, "holds more than plain tensors and was not loaded")
    assert not victim.exists()
    torch.load(path, weights_only=False)  # control: the trap works
    assert victim.exists()


def test_a_plain_pickle_is_refused_and_does_nothing(path, tmp_path):
    victim = tmp_path / "made"
    path.write_bytes(pickle.dumps(_Hostile(victim)))
    _refused(path, "truncated or not a gcn checkpoint")
    assert not victim.exists()


def test_a_newer_version_is_refused_by_number(write):
    _refused(write(lambda data: data.update(version=3)), "has checkpoint version 3")


def test_an_older_version_is_refused_and_told_what_reads_it(write):
    words = (
        "was written by gcn 0.1 (checkpoint version 1); this gcn reads version 2: "
        "use gcn 0.1 for it, or learn anew"
    )
    _refused(write(lambda data: data.update(version=1)), words)


def _set(data, keys, value):
    for key in keys[:-1]:
        data = data[key]
    data[keys[-1]] = value


def _one_nan(*shape):
    """Noughts, and in a corner what is no number."""
    tensor = torch.zeros(shape)
    tensor[(-1,) * len(shape)] = torch.nan
    return tensor


DAMAGE = {
    "weights of another shape": (("model", "weights", 0), torch.zeros(4, 1, 5, 5), "do not fit"),
    "biases of another shape": (("model", "weights", 1), torch.zeros(5), "biases do not fit"),
    "weights not finite": (("model", "weights", 0), _one_nan(4, 1, 4, 4), "not finite"),
    "biases not finite": (("model", "weights", 1), _one_nan(4), "not finite"),
    "chains not finite": (("state", "chains"), _one_nan(2, 1, 16, 16), "not finite"),
    "images not finite": (("observed",), _one_nan(1, 1, 24, 24), "not finite"),
    "a layer too few": (("model", "weights"), [torch.zeros(4, 1, 4, 4), torch.zeros(4)], "fit"),
    "path of another shape": (("model", "path", 0, 0), torch.zeros(4, 1, 5, 5), "do not fit"),
    "no model": (("model",), {}, "damaged"),
    "unknown boundary": (("model", "boundary"), "mirror", "boundary"),
    "unstable dynamics": (("model", "langevin", "eps"), 1e9, "below 2 sigma"),
    "a senseless layer": (("model", "layers", 0, "size"), -3, "size is out of range"),
    "another mean": (("mean",), torch.zeros(3, 1, 1), "do not agree"),
    "images without a shape": (("observed",), torch.zeros(3), "do not agree"),
    "images that are none": (("observed",), "here", "damaged"),
    "a bad config": (("config", "langevin", "eps"), 1e5, "below 2 sigma"),
    "state of another shape": (("state", "weights", 0), torch.zeros(4, 1, 9, 9), "fit"),
    "state not finite": (("state", "weights", 0), _one_nan(4, 1, 4, 4), "not finite"),
    "an average too short": (
        ("state", "average"),
        [torch.zeros(4, 1, 4, 4), torch.zeros(4)],
        "fit",
    ),
    "chains of other colours": (("state", "chains"), torch.zeros(2, 3, 16, 16), "do not fit"),
    "chains of another shape": (("state", "chains"), torch.zeros(2, 3), "damaged"),
    "a stage that is not there": (("state", "stage"), 7, "damaged"),
    "an update that is not there": (("state", "update"), -1, "damaged"),
    "a mean that is no number": (("mean",), torch.full((1, 1, 1), torch.nan), "damaged"),
    "a version that is a tensor": (("version",), torch.zeros(2), "version"),
    "sigma that is no number": (("model", "langevin", "sigma"), float("nan"), "damaged"),
    "no steps": (("model", "sampler", "steps"), 0, "out of range"),
    "steps that are text": (("model", "sampler", "steps"), "many", "damaged"),
}


@pytest.mark.parametrize(("keys", "value", "words"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_refused_in_its_own_words(keys, value, words, write):
    _refused(write(lambda data: _set(data, keys, value)), words)


@pytest.mark.parametrize(
    "key", ["config", "observed", "mean", "model", "state", "version", "format"]
)
def test_a_missing_part_is_refused(key, write):
    path = write(lambda data: data.pop(key))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def _member(content, suffix):
    """Where the bytes of one member of the archive lie."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        info = next(i for i in archive.infolist() if i.filename.endswith(suffix))
    start = content.index(info.filename.encode(), info.header_offset) + len(info.filename)
    start += int.from_bytes(content[info.header_offset + 28 : info.header_offset + 30], "little")
    return start, info.file_size


def test_no_damage_to_the_description_escapes_as_another_error(write):
    """Every 7th byte of the pickled description, one at a time."""
    path = write()
    content = path.read_bytes()
    start, size = _member(content, "data.pkl")
    assert content[start : start + 2] == b"\x80\x02"
    refused = 0
    for offset in range(0, size, 7):
        broken = bytearray(content)
        broken[start + offset] ^= 0x15
        path.write_bytes(broken)
        try:
            load_checkpoint(path)
        except CheckpointError:
            refused += 1
    assert refused > size / 7 / 2


# -------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_a_failed_write_leaves_the_old_file(failing, saved, write, monkeypatch):
    path = write()
    old = path.read_bytes()

    def fail(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    owner = Path if failing == "replace" else os
    monkeypatch.setattr(owner, failing, fail)
    with pytest.raises(GcnError, match=r"cannot write .*No space left"):
        save_checkpoint(path, saved)
    assert path.read_bytes() == old
    assert [p.name for p in path.parent.iterdir()] == ["run.pt"]


def test_a_folder_that_is_not_there_is_told(saved, tmp_path):
    with pytest.raises(GcnError, match="cannot write"):
        save_checkpoint(tmp_path / "none" / "run.pt", saved)
