"""gcn train: the files it writes, what it prints, how it stops and goes on."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml

from gcn_cli.images.files import save_png
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.run.config import DEFAULT_PRESET, read_yaml, resolve
from gcn_cli.run.rundir import read_jsonl
from same import raw, same

RUN_FILES = {"run.pt", "config.yaml", "meta.json", "metrics.jsonl", "reals.png"}


def _train(gcn, box, out, *words, config="plain", images="images/ash.png"):
    return gcn(
        "train", "--images", box / images, "--config", box / f"{config}.yaml", "--out", out, *words
    )


def test_writes_exactly_a_run_folder_per_image(gcn, box, tmp_path, listing):
    result = _train(gcn, box, tmp_path / "runs", "--set", "output.grid_every=4", images="images")
    assert result.exit_code == 0, result.stderr
    runs = [tmp_path / "runs" / name for name in ("00000-ash", "00001-bark")]
    assert result.stdout == "".join(f"{run}\n" for run in runs)
    grids = {"samples-000004.png", "samples-000006.png"}
    assert listing(tmp_path) == {
        f"runs/{run.name}/{name}" for run in runs for name in RUN_FILES | grids
    }
    for run in runs:
        assert len(read_jsonl(run / "metrics.jsonl")) == 6
        assert load_checkpoint(run).complete


def test_words_go_to_stderr_and_quiet_leaves_none(gcn, box, tmp_path):
    loud = _train(gcn, box, tmp_path)
    assert "CPU" in loud.stderr
    assert "ash 6/6" in loud.stderr
    quiet = _train(gcn, box, tmp_path, "--quiet")
    assert quiet.stderr == ""
    assert quiet.stdout == f"{tmp_path / '00001-ash'}\n"


def test_verbose_tells_the_networks(gcn, box, tmp_path):
    assert "8@4/2, 8@3; 976 parameters" in _train(gcn, box, tmp_path, "--verbose").stderr


def test_joint_learns_one_model_of_all(gcn, box, tmp_path):
    result = _train(gcn, box, tmp_path, "--joint", images="images")
    assert result.stdout == f"{tmp_path / '00000-images'}\n"
    run = tmp_path / "00000-images"
    assert load_checkpoint(run).observed.shape == (2, 3, 32, 32)
    assert read_yaml(run / "config.yaml")["images"]["mode"] == "joint"


def test_the_resolved_config_replays_the_run(gcn, box, tmp_path, trained):
    first = trained["plain"]
    again = gcn(
        *("train", "--images", box / "images" / "ash.png"),
        *("--config", first / "config.yaml", "--out", tmp_path),
    )
    assert same(raw(Path(again.stdout.strip())), raw(first))


def test_the_seed_flag_wins_over_set(gcn, box, tmp_path):
    words = ("--dry-run", "--seed", 7, "--set", "seed=5")
    result = _train(gcn, box, tmp_path, *words)
    assert yaml.safe_load(result.stdout)["seed"] == 7


def test_dry_run_prints_the_config_and_the_cost_and_writes_nothing(gcn, box, tmp_path, listing):
    result = _train(gcn, box, tmp_path / "runs", "--dry-run", "--set", "output.grid_every=2")
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout)["output"]["grid_every"] == 2
    file = tmp_path / "again.yaml"
    file.write_text(result.stdout, encoding="utf-8")
    assert resolve(file=file).output.grid_every == 2
    for word in ("8@4/2, 8@3; 976 parameters", "976 parameters, 6 updates", "MiB and"):
        assert word in result.stderr
    assert listing(tmp_path) == {"again.yaml"}


@pytest.mark.parametrize(("side", "told"), [(95, False), (96, True)])
def test_images_that_dwarf_the_networks_are_told_of(gcn, box, tmp_path, side, told):
    image = tmp_path / "large.png"
    noise = torch.randint(256, (3, side, side), generator=torch.Generator().manual_seed(0))
    save_png(image, noise.float())
    out = tmp_path / "runs"
    result = _train(gcn, box, out, "--dry-run", "--images", image)
    assert result.exit_code == 0
    assert ("a smaller copy: --set images.max_side=64" in result.stderr) == told


@pytest.mark.parametrize(("side", "told"), [(64, False), (65, True)])
def test_a_smaller_copy_is_one_however_little_a_network_sees(gcn, box, tmp_path, side, told):
    image, config = tmp_path / "large.png", tmp_path / "narrow.yaml"
    noise = torch.randint(256, (3, side, side), generator=torch.Generator().manual_seed(0))
    save_png(image, noise.float())
    plain = yaml.safe_load((box / "plain.yaml").read_text(encoding="utf-8"))
    plain["layers"] = [{"filters": 4, "size": 3}]
    config.write_text(yaml.safe_dump(plain), encoding="utf-8")
    result = gcn("train", "--images", image, "--config", config, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert ("a smaller copy: --set images.max_side=64" in result.stderr) == told
    assert "max_side=0" not in result.stderr


def test_without_a_config_the_default_preset_is_taken(gcn, box):
    assert DEFAULT_PRESET == "texture"
    result = gcn("train", "--images", box / "ordinary.png", "--dry-run", "--quiet")
    config = yaml.safe_load(result.stdout)
    assert (config["name"], config["kind"]) == ("texture", "texture")


def test_a_preset_under_a_file(gcn, box, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 3\n", encoding="utf-8")
    result = gcn(
        *("train", "--images", box / "ordinary.png", "--dry-run", "--quiet"),
        *("--config", file, "--preset", "texture-quick"),
    )
    config = yaml.safe_load(result.stdout)
    assert (config["name"], config["seed"], len(config["layers"])) == (
        "texture-quick",
        3,
        4,
    )


def test_skip_existing_leaves_complete_runs_out(gcn, box, tmp_path, listing):
    _train(gcn, box, tmp_path)
    before = listing(tmp_path / "00000-ash")
    result = _train(gcn, box, tmp_path, "--skip-existing", images="images")
    assert result.stdout == f"{tmp_path / '00000-ash'}\n{tmp_path / '00001-bark'}\n"
    assert f"ash: complete in {tmp_path / '00000-ash'}" in result.stderr
    assert listing(tmp_path / "00000-ash") == before


def test_skip_existing_learns_unfinished_ones_again(gcn, box, tmp_path):
    _train(gcn, box, tmp_path)
    (tmp_path / "00000-ash" / "run.pt").unlink()
    result = _train(gcn, box, tmp_path, "--skip-existing")
    assert result.stdout == f"{tmp_path / '00001-ash'}\n"


def test_skip_existing_tells_what_changed(gcn, box, tmp_path):
    pictures, runs = tmp_path / "pictures", tmp_path / "runs"
    shutil.copytree(box / "images", pictures)
    config = ("--config", box / "plain.yaml", "--out", runs)

    def again(*more):
        told = gcn("train", "--images", pictures, *config, "--skip-existing", *more)
        assert told.exit_code == 0, told.stderr
        return [Path(line).name for line in told.stdout.split()], told.stderr

    assert again()[0] == ["00000-ash", "00001-bark"]
    assert again()[0] == ["00000-ash", "00001-bark"]
    shutil.copy(pictures / "bark.png", pictures / "ash.png")
    made, said = again()
    assert made == ["00001-bark", "00002-ash"]
    assert f"ash: learned anew, for {runs / '00000-ash'} learned other pixels\n" in said
    assert again()[0] == ["00002-ash", "00001-bark"]
    made, said = again("--set", "learning.updates=7")
    assert made == ["00003-ash", "00004-bark"]
    assert f"bark: learned anew, for {runs / '00001-bark'} has another config: learn" in said
    assert "config: learning.updates\n" in said
    assert sorted(again()[0]) == ["00001-bark", "00002-ash"]


def test_an_extended_run_counts_as_what_it_is_now(gcn, box, tmp_path):
    _train(gcn, box, tmp_path)
    more = ("--set", "learning.updates=7")
    assert gcn("train", "--resume", tmp_path / "00000-ash", *more).exit_code == 0
    found = _train(gcn, box, tmp_path, "--skip-existing", *more).stdout
    assert found == f"{tmp_path / '00000-ash'}\n"
    assert _train(gcn, box, tmp_path, "--skip-existing").stdout == f"{tmp_path / '00001-ash'}\n"


@pytest.mark.parametrize("damage", ["no hash", "no text", "no object"])
def test_a_run_without_a_hash_is_learned_anew_and_told(gcn, box, tmp_path, damage):
    _train(gcn, box, tmp_path)
    meta = tmp_path / "00000-ash" / "meta.json"
    told = json.loads(meta.read_text())
    del told["content"]
    text = {"no hash": json.dumps(told), "no text": "{", "no object": "[]"}[damage]
    meta.write_text(text)
    result = _train(gcn, box, tmp_path, "--skip-existing")
    assert result.stdout == f"{tmp_path / '00001-ash'}\n"
    assert ("tells no hash of its pixels" in result.stderr) == (damage == "no hash")


def test_time_runs_out(gcn, box, tmp_path):
    slowly = ("updates=100000", "optimiser.rate=1e-9")
    words = ["--max-time", "1s", *(w for s in slowly for w in ("--set", f"learning.{s}"))]
    result = _train(gcn, box, tmp_path, *words, images="images")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert f"time is up; go on with: gcn train --resume {tmp_path / '00000-ash'}" in result.stderr
    assert "not begun: bark" in result.stderr
    saved = load_checkpoint(tmp_path / "00000-ash")
    assert not saved.complete
    assert saved.state.update == len(read_jsonl(tmp_path / "00000-ash" / "metrics.jsonl"))


def test_divergence_is_told_and_the_others_are_learned(gcn, box, tmp_path):
    words = ("--set", "learning.optimiser.rate=1e3", "--set", "guard.retries=0")
    result = _train(gcn, box, tmp_path, *words, images="images")
    assert result.exit_code == 3
    assert result.stdout == ""
    for name in ("ash", "bark"):
        assert f"error: {name}: learning diverged" in result.stderr
        events = read_jsonl(
            tmp_path / ("00000-ash" if name == "ash" else "00001-bark") / "metrics.jsonl"
        )
        assert "diverged" in events[-1]["event"]
    alone = _train(gcn, box, tmp_path, *words)
    assert alone.exit_code == 3
    assert alone.stderr.count("error: ") == 1


# ------------------------------------------------------------------------------- going on


@pytest.mark.slow
@pytest.mark.parametrize("config", ["plain", "dithered", "bounded"])
def test_three_and_three_updates_are_six(gcn, box, tmp_path, trained, process, config):
    key = "learning.updates"
    half = _train(gcn, box, tmp_path, "--set", f"{key}=3", config=config)
    run = Path(half.stdout.strip())
    going_on = process("train", "--resume", run, "--set", f"{key}=6")
    stdout, stderr = going_on.communicate(timeout=300)
    assert (going_on.returncode, stdout) == (0, f"{run}\n"), stderr
    assert same(raw(run), raw(trained[config]))
    told, whole = (
        [(r["done"], r["gap"]) for r in read_jsonl(x / "metrics.jsonl")]
        for x in (run, trained[config])
    )
    assert told == whole


def test_a_complete_run_has_nothing_left(gcn, run):
    folder = run()
    before = (folder / "run.pt").read_bytes()
    result = gcn("train", "--resume", folder)
    assert (result.exit_code, result.stdout) == (0, f"{folder}\n")
    assert "complete already" in result.stderr
    assert (folder / "run.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("seed=3", "not its seed, networks, canvas or chains"),
        ("canvas=16", "not its seed, networks, canvas or chains"),
        ("layers.0.filters=4", "not its seed, networks, canvas or chains"),
        ("learning.chains=restart", "not its seed, networks, canvas or chains"),
        ("learning.updates=3", "cannot fall to 3"),
        ("lerning.updates=3", "did you mean 'learning'?"),
    ],
)
def test_what_a_resumed_run_cannot_change(gcn, run, change, sentence):
    folder = run()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    result = gcn("train", "--resume", folder, "--set", change)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


# ------------------------------------------------------------------------------- signals


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_stops(box, tmp_path, process, number, code):
    running = process(
        *("train", "--images", box / "images" / "ash.png", "--config", box / "plain.yaml"),
        *("--out", tmp_path, "--set", "learning.updates=1000000"),
        *("--set", "learning.optimiser.rate=1e-9"),
    )
    metrics = tmp_path / "00000-ash" / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(number)
    stdout, stderr = running.communicate(timeout=300)
    assert (running.returncode, stdout) == (code, "")
    assert "go on with: gcn train --resume" in stderr
    assert "error" not in stderr
    saved = load_checkpoint(tmp_path / "00000-ash")
    assert not saved.complete
    assert saved.state.update == len(read_jsonl(metrics)) > 0
    assert not list(tmp_path.rglob("*.tmp"))


def test_meta_tells_the_image(trained):
    meta = json.loads((trained["plain"] / "meta.json").read_text(encoding="utf-8"))
    assert meta["name"] == "ash"
    assert meta["images"][0].endswith("ash.png")


@pytest.mark.slow
def test_the_estimate_is_of_the_size_of_the_truth(gcn, box, tmp_path):
    """Within a factor of five on a job of a second, where everything else weighs too."""
    from gcn_cli.engine.support import Machine
    from gcn_cli.run.jobs import load_jobs
    from gcn_cli.run.kinds import open_course

    rate = "learning.optimiser.rate=1e-5"
    words = ["--set", "learning.updates=60", "--set", "canvas=64", "--set", rate]
    config = resolve(None, box / "dithered.yaml", words[1::2])
    job = load_jobs(config, box / "images" / "ash.png", "each")[0]
    machine = Machine(torch.device("cpu"), torch.float32)
    expected = open_course(config, job).estimate(machine).seconds
    result = _train(gcn, box, tmp_path / "runs", *words, "--precision", "fp32", config="dithered")
    assert result.exit_code == 0, result.stderr
    truth = read_jsonl(Path(result.stdout.strip()) / "metrics.jsonl")[-1]["seconds"]
    assert truth / 5 < expected < 5 * truth
