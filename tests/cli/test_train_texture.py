"""gcn train of the default recipe: its files, its budget, how it stops and goes on."""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml

from gcn_cli.engine.support import Machine
from gcn_cli.images.files import load_image, save_png
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.run.config import read_yaml
from gcn_cli.run.experiment import Stop
from gcn_cli.run.rundir import read_jsonl
from same import raw, same

RUN_FILES = {"run.pt", "config.yaml", "meta.json", "metrics.jsonl", "reals.png"}
YIELDS = [(1, 25), (2, 30), (3, 31), (4, 32), (5, 57), (6, 62), (7, 63), (8, 64)]
"""(yields, updates done): two blocks of reconstruction, two of likelihood, at either size."""


def _told(run: Path):
    return [
        {key: value for key, value in record.items() if key != "seconds"}
        for record in read_jsonl(run / "metrics.jsonl")
    ]


def _pictures(run: Path):
    return {path.name: path.read_bytes() for path in run.glob("*.png")}


def _train(gcn, box, out, *words, image="images/ash.png"):
    command = ("train", "--images", box / image, "--config", box / "texture.yaml", "--out", out)
    return gcn(*command, *words)


def test_writes_exactly_a_run_folder(trained, listing):
    run = trained["texture"]
    grids = {25, 31, 32, 57, 63, 64}
    assert listing(run) == RUN_FILES | {f"samples-{done:06d}.png" for done in grids}
    records = read_jsonl(run / "metrics.jsonl")
    assert [r["done"] for r in records] == [done for _, done in YIELDS]
    assert [r["size"] for r in records] == [2, 2, 2, 2, 1, 1, 1, 1]
    for record in records:
        act = record["act"]
        assert ("loss" in record) == (act == "reconstruction")
        assert ("gap" in record) == ("spread" in record) == (act == "likelihood")
        assert record["seconds"] >= 0
        assert 0 < record["rate"] <= 1
    saved = load_checkpoint(run)
    assert saved.complete
    assert [size.reduction for size in saved.model.sizes] == [2, 1]


def test_pictures_of_learning_are_of_the_size_at_work(trained):
    half, whole = (load_image(trained["texture"] / f"samples-0000{n}.png") for n in (25, 64))
    assert half.shape == whole.shape  # canvases of 16 px at both sizes
    assert not torch.equal(half, whole)


def test_progress_tells_loss_and_gap(gcn, box, tmp_path, monkeypatch):
    from gcn_cli.run.progress import PlainProgress

    monkeypatch.setattr(
        "gcn_cli.run.progress.make_progress", lambda quiet: PlainProgress(interval=0.0)
    )
    lines = _train(gcn, box, tmp_path).stderr.splitlines()
    assert "ash 25/64  size 1/2  loss 0." in lines[1]
    assert "  left " in lines[1]
    assert "ash 31/64  size 1/2  gap " in lines[3]
    assert "  spread " in lines[3]
    assert "size 1/1" in lines[5]


def test_the_resolved_config_replays_the_run(gcn, box, tmp_path, trained):
    first = trained["texture"]
    again = gcn(
        *("train", "--images", box / "images" / "ash.png"),
        *("--config", first / "config.yaml", "--out", tmp_path),
    )
    assert same(raw(Path(again.stdout.strip())), raw(first))


@pytest.mark.parametrize("lots", [False, True], ids=["tiny", "64 px"])
def test_dry_run_tells_the_sizes_and_why(gcn, box, tmp_path, listing, lots):
    image = tmp_path / "waves.png"
    waves = (torch.arange(64) * 2 * torch.pi / 32).sin().expand(3, 64, 64) * 40 + 120
    save_png(image, waves)
    chosen = ("--set", "sizes.coarsest=null") if lots else ()
    result = _train(gcn, box, tmp_path / "runs", "--dry-run", *chosen, image=image)
    assert result.exit_code == 0, result.stderr
    assert yaml.safe_load(result.stdout)["likelihood"]["updates"] == 2
    for words in (
        "1 image of 64x64 px, 1 channel; largest motif 32 px",
        "field of view 8 px",
        "reduced by two until the largest motif, two correlation lengths, fits twice",
        "sizes by the rule" if lots else "sizes by sizes.coarsest",
        ("1/4 (16x16 px), " if lots else "") + "1/2 (32x32 px), 1/1 (64x64 px)",
        "8@4/2+, 8@3+",
        "30 + 2 at 1/2, 30 + 2 at 1/1",
        "96 updates, about" if lots else "64 updates, about",
        "MiB and",
    ):
        assert words in result.stderr
    assert listing(tmp_path) == {"waves.png"}


# ------------------------------------------------------------------------------- the budget


def test_a_budget_lowers_all_updates_by_one_factor_and_says_so(gcn, box, tmp_path, monkeypatch):
    monkeypatch.setattr("gcn_cli.run.texture_cost.total_seconds", lambda plan, each: 100.0)
    result = _train(gcn, box, tmp_path, "--set", "budget=50")
    assert result.exit_code == 0, result.stderr
    line = next(line for line in result.stderr.splitlines() if "budget" in line)
    assert line == (
        "ash: all updates would take about 1m40s here; to keep the budget of 50s they are lowered "
        "to 50% (15 of reconstruction at the coarsest size)"
    )
    run = Path(result.stdout.strip())
    config = read_yaml(run / "config.yaml")
    assert config["budget"] == 0
    assert (config["reconstruction"]["updates"], config["likelihood"]["updates"]) == (15, 1)
    assert read_jsonl(run / "metrics.jsonl")[-1]["done"] == 32
    assert load_checkpoint(run).complete


def test_a_budget_that_suffices_changes_nothing(gcn, box, tmp_path, trained):
    result = _train(gcn, box, tmp_path, "--set", "budget=3600")
    assert "budget" not in result.stderr
    run = Path(result.stdout.strip())
    assert same(raw(run), raw(trained["texture"]))


def test_dry_run_tells_what_the_budget_will_do(gcn, box, tmp_path):
    result = _train(gcn, box, tmp_path, "--dry-run", "--set", "budget=0.001")
    assert yaml.safe_load(result.stdout)["reconstruction"]["updates"] == 30
    assert "(1 of reconstruction at the coarsest size)" in result.stderr


@pytest.mark.slow
def test_the_estimate_is_of_the_size_of_the_truth(gcn, box, tmp_path):
    from gcn_cli.run.config import resolve
    from gcn_cli.run.jobs import load_jobs
    from gcn_cli.run.kinds import open_course

    words = ("--set", "reconstruction.updates=100", "--set", "likelihood.updates=20")
    words += ("--set", "sampler.steps=20", "--set", "output.grid_every=100000")
    config = resolve(None, box / "texture.yaml", words[1::2])
    (job,) = load_jobs(config, box / "images" / "ash.png")
    expected = open_course(config, job).estimate(Machine(torch.device("cpu"))).seconds
    result = _train(gcn, box, tmp_path, *words, "--precision", "fp32")
    truth = read_jsonl(Path(result.stdout.strip()) / "metrics.jsonl")[-1]["seconds"]
    assert truth / 5 < expected < 5 * truth


# ------------------------------------------------------------------------------- going on


@pytest.fixture
def stopped(gcn, box, tmp_path, monkeypatch):
    """A run that was stopped after so many yields."""

    def train(yields, *words):
        class Counted(Stop):
            @property
            def wanted(self):
                return len(read_jsonl(tmp_path / "00000-ash" / "metrics.jsonl")) >= yields

        with monkeypatch.context() as patch:
            patch.setattr("gcn_cli.run.experiment.Stop", Counted)
            result = _train(gcn, box, tmp_path, *words)
        assert result.exit_code == 0, result.stderr
        assert "time is up; go on with" in result.stderr
        return tmp_path / "00000-ash"

    return train


@pytest.mark.parametrize(("yields", "done"), YIELDS[:-1])
def test_a_run_that_was_stopped_anywhere_ends_as_if_it_had_not(gcn, trained, stopped, yields, done):
    run = stopped(yields)
    saved = load_checkpoint(run)
    assert not saved.complete
    assert _told(run)[-1]["done"] == done
    assert len(saved.model.sizes) == (1 if done <= 32 else 2)
    result = gcn("train", "--resume", run)
    assert (result.exit_code, result.stdout) == (0, f"{run}\n"), result.stderr
    whole = trained["texture"]
    assert same(raw(run), raw(whole))
    assert _pictures(run) == _pictures(whole)
    assert _told(run) == _told(whole)


@pytest.mark.slow
def test_another_process_goes_on_with_equal_bits(process, trained, stopped):
    run = stopped(3)
    going_on = process("train", "--resume", run)
    stdout, stderr = going_on.communicate(timeout=300)
    assert (going_on.returncode, stdout) == (0, f"{run}\n"), stderr
    assert same(raw(run), raw(trained["texture"]))


def test_likelihood_can_be_extended(gcn, run):
    folder = run("texture")
    result = gcn("train", "--resume", folder, "--set", "likelihood.finer_updates=4")
    assert result.exit_code == 0, result.stderr
    assert [r["update"] for r in _told(folder)[-4:]] == [1, 2, 3, 4]
    assert read_yaml(folder / "config.yaml")["likelihood"]["finer_updates"] == 4
    assert load_checkpoint(folder).complete


def test_a_complete_run_has_nothing_left(gcn, run):
    folder = run("texture")
    before = (folder / "run.pt").read_bytes()
    result = gcn("train", "--resume", folder)
    assert (result.exit_code, result.stdout) == (0, f"{folder}\n")
    assert "complete already; extend it with --set likelihood.finer_updates=" in result.stderr
    assert (folder / "run.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("seed=3", "not its seed, network"),
        ("layers.0.filters=4", "not its seed, network"),
        ("noise.finer=2", "not its seed, network"),
        ("sizes.coarsest=1", "not its seed, network"),
        ("reconstruction.crop=16", "not its seed, network"),
        ("likelihood.chains=3", "not its seed, network"),
        ("sampler.steps=9", "not its seed, network"),
        ("likelihood.updates=1", "likelihood.updates cannot fall from 2 to 1"),
        ("likelihood.finer_updates=1", "likelihood.finer_updates cannot fall from 2 to 1"),
        ("reconstruction.updates=20", "reconstruction.updates cannot fall from 30 to 20"),
        ("reconstruction.updates=40", "reconstruction is over at every size"),
        ("kind=field", "unknown key"),
        ("likelihod.updates=3", "did you mean 'likelihood'?"),
    ],
)
def test_what_a_resumed_run_cannot_change(gcn, run, change, sentence):
    folder = run("texture")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    result = gcn("train", "--resume", folder, "--set", change)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_stops(box, tmp_path, process, number, code):
    running = process(
        *("train", "--images", box / "images" / "ash.png", "--config", box / "texture.yaml"),
        *("--out", tmp_path, "--set", "reconstruction.updates=1000000"),
    )
    metrics = tmp_path / "00000-ash" / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(number)
    stdout, stderr = running.communicate(timeout=300)
    assert (running.returncode, stdout) == (code, "")
    assert "go on with: gcn train --resume" in stderr
    saved = load_checkpoint(tmp_path / "00000-ash")
    assert not saved.complete
    assert saved.state.update == read_jsonl(metrics)[-1]["done"] > 0
    assert not list(tmp_path.rglob("*.tmp"))


def test_time_runs_out(gcn, box, tmp_path):
    soon = ("--set", "reconstruction.updates=1", "--set", "likelihood.updates=100000")
    result = _train(gcn, box, tmp_path, "--max-time", "1s", *soon)
    assert (result.exit_code, result.stdout) == (0, "")
    saved = load_checkpoint(tmp_path / "00000-ash")
    assert not saved.complete
    assert saved.state.act == "likelihood"


def test_skip_existing_leaves_complete_runs_out(gcn, box, tmp_path):
    _train(gcn, box, tmp_path)
    result = _train(gcn, box, tmp_path, "--skip-existing", image="images")
    assert result.stdout == f"{tmp_path / '00000-ash'}\n{tmp_path / '00001-bark'}\n"
    assert f"ash: complete in {tmp_path / '00000-ash'}" in result.stderr


def test_joint_learns_one_model_of_all(gcn, box, tmp_path):
    result = _train(gcn, box, tmp_path, "--joint", image="images")
    assert result.exit_code == 0, result.stderr
    assert load_checkpoint(tmp_path / "00000-images").observed.shape == (2, 3, 32, 32)


# ------------------------------------------------------------------------------- trouble


def test_divergence_is_told(gcn, box, tmp_path, monkeypatch):
    from gcn_cli.engine import Engine

    sound = Engine.reconstruction

    def broken(*words):
        loss, gradient = sound(*words)
        return loss * math.nan, gradient

    monkeypatch.setattr(Engine, "reconstruction", broken)
    result = _train(gcn, box, tmp_path)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "error: learning diverged at size 1/2, reconstruction" in result.stderr
    assert "back to update" in result.stderr
    assert "diverged" in read_jsonl(tmp_path / "00000-ash" / "metrics.jsonl")[-1]["event"]


def test_samples_that_are_no_pictures_are_divergence(gcn, box, tmp_path, monkeypatch):
    def lost(*_):
        return [torch.full((3, 8, 8), math.nan)]

    monkeypatch.setattr("gcn_cli.run.texture_course.TextureCourse.pictures", lost)
    result = _train(gcn, box, tmp_path)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "error: samples are not finite after" in result.stderr
    assert load_checkpoint(tmp_path / "00000-ash").state.update > 0


@pytest.mark.parametrize(
    ("function", "knobs"),
    [
        ("reconstruction", "reconstruction.batch or reconstruction.crop"),
        ("likelihood", "likelihood.chains or likelihood.canvas"),
    ],
)
def test_out_of_memory_names_the_knobs(gcn, box, tmp_path, monkeypatch, function, knobs):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(f"gcn_cli.engine.fast.Engine.{function}", full)
    result = _train(gcn, box, tmp_path)
    assert result.exit_code == 2
    assert f"error: out of memory; lower {knobs}" in result.stderr


@pytest.mark.parametrize("side", range(8, 16))
def test_the_smallest_image_is_learned_and_a_smaller_one_refused(gcn, box, tmp_path, side):
    image = tmp_path / "small.png"
    noise = torch.rand(3, side, side + 3, generator=torch.Generator().manual_seed(0))
    save_png(image, 255 * noise)
    words = ("--set", "sizes.coarsest=1")
    result = _train(gcn, box, tmp_path / "runs", *words, image=image)
    if side < 10:
        assert result.exit_code == 2
        assert f"small.png: the image is {side + 3}x{side} px" in result.stderr
        assert not (tmp_path / "runs").exists()
    else:
        assert result.exit_code == 0, result.stderr
        assert all(abs(r.get("gap", 0)) < 100 for r in _told(tmp_path / "runs" / "00000-small"))


def test_a_canvas_that_coarser_sizes_do_not_divide_is_rounded_up(gcn, box, tmp_path):
    words = ("--set", "sizes.coarsest=4", "--set", "likelihood.canvas=20")
    for act in ("reconstruction", "likelihood"):
        words += ("--set", f"{act}.updates=1", "--set", f"{act}.finer_updates=1")
    result = _train(gcn, box, tmp_path, *words, image="ordinary.png")
    assert result.exit_code == 0, result.stderr
    assert load_image(tmp_path / "00000-ordinary" / "samples-000006.png").shape[-2] >= 24


def test_a_flat_image_is_refused(gcn, box, tmp_path):
    image = tmp_path / "flat.png"
    save_png(image, torch.full((3, 32, 32), 99.0))
    result = _train(gcn, box, tmp_path / "runs", image=image)
    assert result.exit_code == 2
    assert "flat.png: the image is a single flat colour" in result.stderr
