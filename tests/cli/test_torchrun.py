"""Several processes under PyTorch's own launcher: one voice, one folder, one end."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from gcn_cli.cli.launched import check_verb, one_voice, rank
from gcn_cli.cli.train import _tell_idle
from gcn_cli.engine import Machine, Ranks
from gcn_cli.errors import DivergenceError, GcnError, UsageError
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.run.config import choose
from gcn_cli.run.experiment import Stop, train_job
from gcn_cli.run.jobs import load_jobs
from gcn_cli.run.kinds import open_course
from gcn_cli.run.progress import make_progress
from gcn_cli.run.rundir import read_jsonl

SOURCE = Path(__file__).resolve().parents[2] / "src"
SHARED = ("--set", "reconstruction.batch=3", "--set", "likelihood.chains=2", "--precision", "fp32")
LONG = ("--set", "reconstruction.updates=100000", "--set", "output.checkpoint_every=100")


@pytest.mark.parametrize("number", [0, 1])
def test_the_first_process_speaks_for_all(number, launched, capsys):
    launched(number, 2)
    assert rank() == number
    with one_voice():
        sys.stdout.write("result\n")
        sys.stderr.write("word\n")
    told = capsys.readouterr()
    assert (told.out, told.err) == (("", "") if number else ("result\n", "word\n"))


@pytest.mark.parametrize("number", [0, 1])
def test_a_wrong_command_line_is_told_once(number, launched, gcn, box):
    launched(number, 2)
    for words in (("train", "--imges", "x"), ("train", "--images", box / "empty"), ("doctor",)):
        result = gcn(*words)
        assert result.exit_code == 2
        assert bool(result.stderr) == (number == 0)


def test_commands_that_nobody_can_share_are_refused_under_the_launcher(launched):
    launched(0, 1)
    check_verb("doctor")
    launched(0, 2)
    check_verb("train")
    with pytest.raises(UsageError, match="call gcn doctor without it"):
        check_verb("doctor")


@pytest.mark.parametrize(("preset", "width"), [("texture", 3), ("paper-texture", 16)])
def test_processes_without_work_are_told(preset, width, box, capsys):
    config = choose(preset, None, [])
    course = open_course(config, load_jobs(config, box / "ordinary.png")[0])
    cpu = torch.device("cpu")
    _tell_idle([course], Machine(cpu, ranks=Ranks(0, width)), quiet=False)
    assert capsys.readouterr().err == ""
    _tell_idle([course], Machine(cpu, ranks=Ranks(0, width + 1)), quiet=False)
    told = f"ordinary: an update has work for {width} processes of {width + 1};"
    assert capsys.readouterr().err.startswith(told)


def test_what_one_process_is_asked_all_do(together):
    def ask(ranks):
        told = []
        for stop in (Stop(), Stop(0.0 if ranks.leads else None), Stop()):
            if len(told) == 2 and not ranks.leads:
                stop.signal_exit_code = 143
            told.append((stop.agreed(ranks), stop.signal_exit_code))
        return told

    assert together(2, ask) == [[(False, None), (True, None), (True, 143)]] * 2


def test_samples_that_are_no_pictures_are_divergence_in_all_processes(
    together, box, tmp_path, monkeypatch
):
    def lost(*_):
        return [torch.full((3, 8, 8), math.nan)]

    monkeypatch.setattr("gcn_cli.run.texture_course.TextureCourse.pictures", lost)
    config = choose(str(box / "texture.yaml"), None, ["reconstruction.batch=2"])
    course = open_course(config, load_jobs(config, box / "images" / "ash.png")[0])

    def learn(ranks):
        machine = Machine(torch.device("cpu"), ranks=ranks)
        try:
            train_job(course, tmp_path, machine, make_progress(True), Stop())
        except GcnError as error:
            return type(error)

    assert together(2, learn) == [DivergenceError] * 2  # else one goes on with the next picture


# ------------------------------------------------------------------------- the launcher itself


@pytest.fixture
def torchrun() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``gcn`` in two processes by the launcher, which does not outlive its test."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: object) -> subprocess.Popen[str]:
        launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
        path = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
        running = subprocess.Popen(
            [sys.executable, *launcher, "-m", "gcn_cli", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        started.append(running)
        return running

    yield start
    for running in started:
        with running:
            running.terminate()


def _train(box, out, *words):
    image, config = box / "images" / "ash.png", box / "texture.yaml"
    return ("train", "--images", image, "--config", config, "--out", out, *SHARED, *words)


def _saved(out: Path, running: subprocess.Popen[str]) -> Path:
    """The run folder, once it holds a checkpoint."""
    deadline = time.monotonic() + 120
    while not (found := list(out.glob("*/run.pt"))):
        assert running.poll() is None, running.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found[0].parent


def _done(run: Path) -> int:
    """Updates that a run has told of."""
    return max((record["done"] for record in read_jsonl(run / "metrics.jsonl")), default=0)


def _worker(launcher: int, number: int) -> int:
    """The process that the launcher gave that number."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    wanted = f"RANK={number}".encode()
    (found,) = [
        int(child)
        for child in children
        if wanted in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
    ]
    return found


@pytest.mark.slow
def test_two_processes_leave_the_run_folder_that_one_leaves(torchrun, gcn, box, tmp_path, listing):
    shared = torchrun(*_train(box, tmp_path / "two"))
    out, err = shared.communicate()
    assert shared.returncode == 0, err
    two = Path(out.strip())
    one = Path(gcn(*_train(box, tmp_path / "one")).stdout.strip())
    assert listing(two) == listing(one)
    assert err.count("on 2 processes of CPU") == 1
    assert "an update has work for" not in err
    records = [read_jsonl(run / "metrics.jsonl") for run in (one, two)]
    assert [r["done"] for r in records[0]] == [r["done"] for r in records[1]]
    weights = [load_checkpoint(run).state.weights for run in (one, two)]
    assert float((weights[0] - weights[1]).abs().max()) < 1e-5


@pytest.mark.slow
def test_two_processes_draw_the_files_that_one_draws(torchrun, gcn, box, tmp_path, trained):
    words = ("synthesize", "--ckpt", trained["texture"], "--size", "32", "--seeds", "5,0-1")
    shared = torchrun(*words, "--out", tmp_path / "two")
    out, err = shared.communicate()
    assert shared.returncode == 0, err
    one = gcn(*words, "--out", tmp_path / "one")
    assert out.replace("/two/", "/one/") == one.stdout
    for path in map(Path, out.split()):
        assert path.read_bytes() == (tmp_path / "one" / path.name).read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds a process in /proc")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_run_and_nothing_is_lost(victim, torchrun, gcn, box, tmp_path):
    running = torchrun(*_train(box, tmp_path, *LONG))
    run = _saved(tmp_path, running)
    while _done(run) % 100 == 0:  # nothing new to lose yet
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.01)
    os.kill(_worker(running.pid, victim), signal.SIGKILL)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 1
    assert not out
    told = "another process of this run is gone or does not answer; go on with: gcn train --resume"
    assert err.count(told) == (victim == 1)  # the first process tells, if it is there
    before = load_checkpoint(run).state.update
    if victim == 1:
        assert before == read_jsonl(run / "metrics.jsonl")[-1]["done"]  # the very last update
    assert gcn("synthesize", "--ckpt", run, "--size", "32").exit_code == 0
    result = gcn("train", "--resume", run, "--max-time", "1s")
    assert result.exit_code == 0, result.stderr
    assert load_checkpoint(run).state.update > before


@pytest.mark.slow
def test_a_signal_to_the_launcher_saves_once_and_two_go_on_from_one(torchrun, gcn, box, tmp_path):
    begun = gcn(*_train(box, tmp_path, *LONG, "--max-time", "1s"))
    assert begun.exit_code == 0, begun.stderr
    run = tmp_path / "00000-ash"
    before = load_checkpoint(run).state.update
    running = torchrun("train", "--resume", run)
    while _done(run) <= before:
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 1
    assert not out
    assert err.count("go on with: gcn train --resume") == 1
    assert err.count("finishing this update") == 1
    saved = load_checkpoint(run)
    assert saved.state.update == read_jsonl(run / "metrics.jsonl")[-1]["done"] > before
    assert bool(torch.isfinite(saved.state.weights).all())
