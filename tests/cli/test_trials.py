"""Several trials of one exemplar: what each learns, which is kept, how they stop and go on."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from gcn_cli import trials
from gcn_cli.checkpoint import load_checkpoint
from gcn_cli.config import read_yaml
from gcn_cli.errors import ConfigError, DivergenceError
from gcn_cli.imaging import load_image, save_png
from gcn_cli.metrics import evaluate_texture, shape_distance
from gcn_cli.rundir import read_jsonl


@pytest.fixture
def config(box, tmp_path) -> Path:
    """Three trials of a pyramid with an optional coarse level; rates that tell seeds apart."""
    data = yaml.safe_load((box / "pyramid.yaml").read_text(encoding="utf-8"))
    data["levels"].insert(1, {**data["levels"][0], "optional": True})
    path = tmp_path / "trials.yaml"
    path.write_text(yaml.safe_dump({**data, "trials": 3}), encoding="utf-8")
    return path


@pytest.fixture
def learn(gcn, box, config, tmp_path):
    """Trains on one picture, into ``out`` below the test's folder."""

    def run(out: str, *words: str):
        image = box / "images" / "ash.png"
        return gcn(
            *("train", "--images", image, "--config", config, "--out", tmp_path / out, *words)
        )

    return run


# --------------------------------------------------------------------------- what is tried


def test_trials_go_in_pairs_with_and_without_optional_levels(small_config, small_level):
    levels = [small_level(2), small_level(2, optional=True), small_level()]
    each = trials.trial_configs(small_config(*levels, trials=5, seed=7))
    assert [len(one.levels) for one in each] == [3, 2, 3, 2, 3]
    seeds = [one.seed for one in each]
    assert seeds[0] == seeds[1] == 7
    assert seeds[2] == seeds[3]
    assert len(set(seeds)) == 3
    assert all(one.trials == 1 for one in each)


def test_without_optional_levels_every_trial_has_a_seed_of_its_own(small_config):
    each = trials.trial_configs(small_config(trials=4))
    assert len({one.seed for one in each}) == 4


def test_a_single_trial_keeps_its_optional_levels(small_config, small_level):
    config = small_config(small_level(2, optional=True), small_level())
    assert trials.trial_configs(config) == [config]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"boundary": "bounded"}, "boundary must be torus"),
        ({"images": {"mode": "joint"}}, "images.mode each"),
    ],
)
def test_trials_want_one_exemplar_on_a_torus(small_config, changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        small_config(trials=2, **changes)


def test_the_last_level_is_never_optional(small_config, small_level):
    with pytest.raises(ConfigError, match="the last level cannot be optional"):
        small_config(small_level(2), small_level(optional=True))


def test_the_shape_distance_is_the_struct_figure(box):
    exemplar = load_image(box / "images" / "ash.png")
    samples = torch.stack([exemplar.flip(-1), exemplar * 0.8])
    assert shape_distance(exemplar, samples) == evaluate_texture(exemplar, samples).struct


def test_an_exemplar_too_small_to_judge_by_is_refused_first(gcn, box, tmp_path):
    save_png(tmp_path / "tiny.png", load_image(box / "images" / "ash.png")[:, :24, :24])
    result = gcn(
        *("train", "--images", tmp_path / "tiny.png", "--config", box / "plain.yaml"),
        *("--set", "trials=2", "--set", "canvas=24", "--out", tmp_path / "runs"),
    )
    assert result.exit_code == 2
    assert "tiny: the image is 24x24 px" in result.stderr
    assert "at least 32 px" in result.stderr
    assert not (tmp_path / "runs").exists()


# --------------------------------------------------------------------------- what is kept


def test_the_trial_nearest_in_shape_is_kept(learn, tmp_path, listing):
    result = learn("runs")
    assert result.exit_code == 0, result.stderr
    folder = tmp_path / "runs" / "00000-ash"
    assert result.stdout == f"{folder}\n"
    told = read_jsonl(folder / "trials.jsonl")
    assert [record["trial"] for record in told] == [0, 1, 2]
    assert [record["levels"] for record in told] == [3, 2, 3]
    figures = [record["struct"] for record in told]
    assert len(set(figures)) == 3
    best = figures.index(min(figures))
    assert f"trial {best + 1} of 3 is kept" in result.stderr
    place = folder / "trials" / str(best)
    for name in ("run.pt", "config.yaml", "metrics.jsonl"):
        assert (folder / name).read_bytes() == (place / name).read_bytes()
    assert load_checkpoint(folder).complete
    assert read_yaml(folder / "config.yaml")["seed"] == told[best]["seed"]
    assert read_yaml(folder / "trials" / "config.yaml")["trials"] == 3
    assert len([name for name in listing(folder) if name.startswith("samples-")]) == 1


def test_the_kept_config_replays_the_kept_model(learn, gcn, box, tmp_path):
    folder = Path(learn("runs").stdout.strip())
    again = gcn(
        *("train", "--images", box / "images" / "ash.png", "--config", folder / "config.yaml"),
        *("--out", tmp_path / "again"),
    )
    one, other = load_checkpoint(folder), load_checkpoint(Path(again.stdout.strip()))
    for a, b in zip(one.model.levels, other.model.levels, strict=True):
        for x, y in zip(a.weights, b.weights, strict=True):
            assert torch.equal(x.w, y.w)


def test_a_kept_run_can_be_extended(learn, gcn):
    folder = Path(learn("runs").stdout.strip())
    last = len(load_checkpoint(folder).config.levels) - 1
    result = gcn("train", "--resume", folder, "--set", f"levels.{last}.learning.updates=8")
    assert (result.exit_code, result.stdout) == (0, f"{folder}\n"), result.stderr
    assert load_checkpoint(folder).state.update == 8


def test_a_trial_that_diverges_leaves_the_others(learn, tmp_path, monkeypatch):
    judged, calls = trials.judge, itertools.count()

    def first_fails(model, job, machine):
        if next(calls) == 0:
            raise DivergenceError("fresh samples ran away to infinity")
        return judged(model, job, machine)

    monkeypatch.setattr(trials, "judge", first_fails)
    result = learn("runs")
    assert result.exit_code == 0, result.stderr
    told = read_jsonl(tmp_path / "runs" / "00000-ash" / "trials.jsonl")
    assert told[0]["event"] == "fresh samples ran away to infinity"
    assert "struct" not in told[0]
    assert "trial 1/3: fresh samples ran away" in result.stderr


def test_when_all_diverge_the_run_has(learn, tmp_path):
    words = ("--set", "levels.*.learning.optimiser.rate=1e9", "--set", "guard.retries=0")
    result = learn("runs", *words)
    assert result.exit_code == 3
    assert "all 3 trials failed" in result.stderr
    assert not (tmp_path / "runs" / "00000-ash" / "run.pt").exists()


# -------------------------------------------------------------------------- stop and go on


def test_killed_trials_go_on_to_the_same_end(learn, gcn, tmp_path):
    whole = Path(learn("whole").stdout.strip())
    folder = Path(learn("cut").stdout.strip())
    lines = (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "trials.jsonl").write_text("".join(lines[:1]), encoding="utf-8")
    (folder / "run.pt").unlink()
    (folder / "trials" / "1" / "run.pt").unlink()  # killed before it first saved
    shutil.rmtree(folder / "trials" / "2")
    result = gcn("train", "--resume", folder)
    assert (result.exit_code, result.stdout) == (0, f"{folder}\n"), result.stderr
    assert read_jsonl(folder / "trials.jsonl") == read_jsonl(whole / "trials.jsonl")
    for kind in ("run.pt", "config.yaml"):
        assert (folder / kind).read_bytes() == (whole / kind).read_bytes()


def test_time_runs_out_between_trials(learn, gcn, tmp_path):
    slowly = ("updates=100000", "optimiser.rate=1e-9")  # at a higher rate it diverges in time
    words = [word for key in slowly for word in ("--set", f"levels.*.learning.{key}")]
    result = learn("runs", "--max-time", "1s", *words)
    folder = tmp_path / "runs" / "00000-ash"
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"go on with: gcn train --resume {folder}\n" in result.stderr
    assert not (folder / "trials.jsonl").exists()
    refused = gcn("train", "--resume", folder, "--set", "levels.2.learning.updates=3")
    assert refused.exit_code == 2
    assert "has trials ahead" in refused.stderr


def test_the_trials_share_the_budget_by_their_work(small_config, small_level, picture):
    from gcn_cli.experiment import Job

    levels = [small_level(2), small_level(2, optional=True), small_level()]
    config = small_config(*levels, trials=4, budget=100)
    job = Job("x", picture.repeat(1, 1, 2, 2), picture.mean().view(1, 1, 1))
    shares = [one.budget for one in trials._shared_budget(config, job)]
    assert sum(shares) == pytest.approx(100)
    assert shares[0] == shares[2] > shares[1] == shares[3]


def test_the_dry_run_counts_all_trials(learn, monkeypatch):
    from gcn_cli import estimate

    monkeypatch.setattr(estimate, "_speed", lambda *_: estimate.Speed(10.0))
    result = learn("runs", "--dry-run")
    assert "3 trials" in result.stderr
    assert "1m20s" in result.stderr  # 3 + 2 + 3 levels
