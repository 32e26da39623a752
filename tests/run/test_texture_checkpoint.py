"""Checkpoints of the default recipe: what is written comes back, what is broken is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gcn_cli.errors import CheckpointError
from gcn_cli.run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gcn_cli.run.config import validate
from gcn_cli.run.jobs import Job, mean_colour
from gcn_cli.run.kinds import open_course
from gcn_cli.run.texture_packing import pack_model, unpack_model
from gcn_cli.texture.recipe import MOST_REDUCED

PIXELS = 48


@pytest.fixture(scope="module")
def saved(texture_data, machine):
    """One update of likelihood done at the second size."""
    generator = torch.Generator().manual_seed(0)
    observed = (120 + 30 * torch.randn(1, 3, PIXELS, PIXELS, generator=generator)).round()
    config = validate(texture_data())
    course = open_course(config, Job("noise", observed, mean_colour(observed)))
    course_of_states = course.learn(course.begin(machine.device), machine)
    state = next(now for now, told in course_of_states if told.record["done"] == 63)
    state = replace(state, rate_scale=0.25, rollbacks=2, strikes=1)  # as after two repairs
    job = course.job
    return Checkpoint(config, job.observed, job.mean, state, course.model(state), False)


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


def test_round_trip_is_equal(saved, path):
    save_checkpoint(path, saved)
    back = load_checkpoint(path)
    assert back.config == saved.config
    assert torch.equal(back.observed, saved.observed)
    a, b = back.state, saved.state
    assert (a.size, a.act, a.update) == (b.size, b.act, b.update) == (1, "likelihood", 1)
    assert (a.rate_scale, a.rollbacks, a.strikes) == (0.25, 2, 1)
    assert torch.equal(a.weights, b.weights)
    assert torch.equal(a.average, b.average)
    assert torch.equal(a.moments.first, b.moments.first)
    assert torch.equal(a.moments.second, b.moments.second)
    assert a.moments.count == b.moments.count == 1
    assert len(a.finished) == len(b.finished) == 1
    assert torch.equal(a.finished[0], b.finished[0])
    x, y = back.model, saved.model
    assert (x.net, x.contrast) == (y.net, y.contrast)
    assert torch.equal(x.mean, y.mean)
    assert [s.reduction for s in x.sizes] == [s.reduction for s in y.sizes] == [2, 1]
    for one, other in zip(x.sizes, y.sizes, strict=True):
        assert torch.equal(one.levels, other.levels)
        pairs = zip(one.weights.tensors(), other.weights.tensors(), strict=True)
        assert all(torch.equal(p, q) and p.dtype == q.dtype for p, q in pairs)
    assert back.fingerprint == saved.fingerprint


def test_sizes_follow_one_another_by_halves(saved):
    first, second = saved.model.sizes
    for reductions, good in (
        ((4, 2, 1), True),
        ((8, 4), True),
        ((MOST_REDUCED, MOST_REDUCED // 2), True),  # all that a config may ask for is read again
        ((4, 1), False),
        ((1, 2), False),
    ):
        sizes = [replace((first, second, second)[k], reduction=r) for k, r in enumerate(reductions)]
        data = pack_model(replace(saved.model, sizes=tuple(sizes)))
        if good:
            told = unpack_model(data, saved.mean)
            assert tuple(size.reduction for size in told.sizes) == reductions
        else:
            with pytest.raises(ValueError, match="do not follow"):
                unpack_model(data, saved.mean)


def test_the_file_says_its_kind_and_its_version(write):
    data = torch.load(write(), weights_only=True)
    assert (data["format"], data["version"], data["kind"]) == ("gcn-checkpoint", 2, "texture")


def test_views_are_not_saved_with_what_they_view(saved, path):
    save_checkpoint(path, saved)
    numbers = saved.model.net.n_parameters()
    vectors = 4 + 1 + 2  # state, moments, finished; both sizes of the model
    images = saved.observed.numel()
    assert path.stat().st_size < 1.2 * (4 * vectors * numbers + images) + 20_000


def test_fingerprint_names_the_weights(saved):
    size = saved.model.sizes[0]
    nudged = replace(size, weights=size.weights.map(lambda t: t + 1e-6))
    model = replace(saved.model, sizes=(nudged, saved.model.sizes[1]))
    assert len(saved.fingerprint) == 12
    assert int(saved.fingerprint, 16) >= 0
    assert replace(saved, model=model).fingerprint != saved.fingerprint


def _set(data, keys, value):
    for key in keys[:-1]:
        data = data[key]
    data[keys[-1]] = value


NAN = float("nan")
SIZE = ("model", "sizes", 0)
DAMAGE = {
    "another kind": (("kind",), "field", "different kinds"),
    "a config of another kind": (("config", "kind"), "field", "unknown key"),
    "weights of another shape": ((*SIZE, "weights", 0), torch.zeros(8, 3, 5, 5), "do not fit"),
    "weights not finite": (
        (*SIZE, "weights", 0),
        torch.tensor([0.0] * 767 + [NAN]).view(8, 6, 4, 4),
        "not finite",
    ),
    "whole numbers": ((*SIZE, "weights", 0), torch.zeros(8, 3, 4, 4, dtype=torch.int32), "fit"),
    "a tensor too few": ((*SIZE, "weights"), [torch.zeros(8, 3, 4, 4)], "do not fit"),
    "levels that rise": ((*SIZE, "levels"), torch.tensor([1.0, 2.0]), "do not fall"),
    "levels below 0": ((*SIZE, "levels"), torch.tensor([1.0, -2.0]), "do not fall"),
    "levels not finite": ((*SIZE, "levels"), torch.tensor([NAN]), "not finite"),
    "no levels": ((*SIZE, "levels"), torch.tensor([]), "no ladder"),
    "levels of a table": ((*SIZE, "levels"), torch.ones(2, 2), "no ladder"),
    "a strange reduction": ((*SIZE, "reduction"), 3, "do not follow"),
    "a huge reduction": ((*SIZE, "reduction"), 10**9, "out of range"),
    "no sizes": (("model", "sizes"), [], "do not follow"),
    "no model": (("model",), {}, "damaged"),
    "a senseless layer": (("model", "layers", 0, "size"), -3, "size is out of range"),
    "another network": (("config", "layers", 0, "filters"), 9, "not its config's"),
    "no contrast": (("model", "contrast"), 0.0, "out of range"),
    "contrast that is no number": (("model", "contrast"), NAN, "out of range"),
    "another mean": (("mean",), torch.zeros(1, 1, 1), "do not agree"),
    "state of another shape": (("state", "weights"), torch.zeros(7), "do not fit"),
    "finished sizes of another shape": (("state", "finished", 0), torch.zeros(7), "do not fit"),
    "a finished size too few": (("state", "finished"), [], "never comes"),
    "an act that is not there": (("state", "act"), "overture", "nowhere"),
    "an update that is not there": (("state", "update"), 3, "never comes"),
    "an update below 0": (("state", "update"), -1, "update is out of range"),
    "an update of a half": (("state", "update"), 0.5, "update is out of range"),
    "a scale above 1": (("state", "rate_scale"), 2.0, "out of range"),
    "moments of another shape": (("state", "moments", 1), torch.zeros(7), "do not fit"),
    "Langevin steps below 0": (("model", "langevin"), -1, "langevin is out of range"),
    "half a Langevin step": (("model", "langevin"), 0.5, "langevin is out of range"),
    "noise below 0 on what is given": (("model", "given_noise"), -0.1, "out of range"),
    "a bad config": (("config", "noise", "finer"), 99.0, "ordered"),
}


@pytest.mark.parametrize(("keys", "value", "words"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_refused_in_its_own_words(keys, value, words, write):
    path = write(lambda data: _set(data, keys, value))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert "is damaged" in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_moment_that_is_not_finite_is_refused(write):
    path = write(lambda data: data["state"]["moments"][0].fill_(NAN))
    with pytest.raises(CheckpointError, match="not finite"):
        load_checkpoint(path)


@pytest.mark.parametrize("key", ["kind", "config", "observed", "mean", "model", "state"])
def test_a_missing_part_is_refused(key, write):
    path = write(lambda data: data.pop(key))
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share, write):
    path = write()
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match="truncated or not a gcn checkpoint"):
        load_checkpoint(path)


def test_a_flipped_bit_in_a_tensor_is_noticed(write):
    path = write()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_langevin_steps_come_back_and_are_none_in_older_files(saved, write):
    path = write(lambda data: data["model"].update(langevin=5))
    assert load_checkpoint(path).model.langevin == 5
    assert load_checkpoint(write(lambda data: data["model"].pop("langevin"))).model.langevin == 0
    assert saved.model.langevin == saved.config.sampler.langevin


def test_a_checkpoint_of_an_early_release_is_refused_by_name(write):
    path = write(lambda data: data["model"].pop("given_noise"))
    told = r"run\.pt is of a format before the release of 0\.2\.0.*: learn anew"
    with pytest.raises(CheckpointError, match=told):
        load_checkpoint(path)
