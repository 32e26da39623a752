"""gcn train when it is broken off, when nobody listens, and when the disk refuses: work is kept."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gcn_cli.cli.signals import stopping
from gcn_cli.images.files import atomic_write_bytes
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.run.experiment import Stop
from gcn_cli.run.lock import LOCK, locked
from gcn_cli.run.rundir import read_jsonl
from same import raw, same

ROOT = Path(__file__).resolve().parents[2]
BOTH = ("plain", pytest.param("texture", marks=pytest.mark.slow))


def _equal(one: Path, other: Path) -> bool:
    return same(raw(one), raw(other))


def _told(run: Path):
    return [{**record, "seconds": 0} for record in read_jsonl(run / "metrics.jsonl")]


def _words(box, out, *more, config="plain", image="images/ash.png"):
    given = ("--images", box / image, "--config", box / f"{config}.yaml", "--out", out)
    return ("train", *given, *more)


def _full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.iterdir()}


class Killed(BaseException):
    """Stands for the end of a process, which nothing catches."""


@pytest.fixture
def killed(gcn, box, tmp_path, monkeypatch):
    """A run whose process was killed when it was about to note so many lines of metrics."""

    def train(lines, *more, config="plain"):
        left = [lines]

        def note(self, record):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            append(self, record)

        from gcn_cli.run.desk import Desk

        append = Desk.note
        with monkeypatch.context() as patch:
            patch.setattr(Desk, "note", note)
            with pytest.raises(Killed):
                gcn(*_words(box, tmp_path, *more, config=config))
        return tmp_path / "00000-ash"

    return train


# ------------------------------------------------------------------------ what is kept, and when


@pytest.mark.parametrize("config", ["plain", "dithered", "bounded", "texture"])
def test_a_run_killed_before_its_first_update_goes_on_with_equal_bits(gcn, trained, killed, config):
    run = killed(0, config=config)
    assert read_jsonl(run / "metrics.jsonl") == []
    result = gcn("train", "--resume", run)
    assert (result.exit_code, result.stdout) == (0, f"{run}\n"), result.stderr
    assert _equal(run, trained[config])
    assert _told(run) == _told(trained[config])


@pytest.mark.parametrize(
    ("config", "more", "done"),
    [("plain", "learning.updates=8", 8), ("texture", "likelihood.finer_updates=4", 66)],
)
def test_an_extended_run_that_was_killed_goes_on_to_its_new_end(
    gcn, run, monkeypatch, config, more, done
):
    folder = run(config)

    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("gcn_cli.run.desk.Desk.note", die)
        with pytest.raises(Killed):
            gcn("train", "--resume", folder, "--set", more)
    result = gcn("train", "--resume", folder)
    assert result.exit_code == 0, result.stderr
    assert "complete already" not in result.stderr
    assert _told(folder)[-1]["done"] == done


def test_what_was_saved_before_the_first_update_can_be_drawn_from(gcn, killed):
    result = gcn("synthesize", "--ckpt", killed(0), "--size", "16")
    assert result.exit_code == 0, result.stderr


def test_a_run_killed_before_any_checkpoint_says_how_to_begin_anew(gcn, run, monkeypatch):
    folder = run()
    (folder / "run.pt").unlink()
    meta = json.loads((folder / "meta.json").read_text())
    meta["argv"] = ["/usr/bin/gcn", "train", "--images", "my bricks.png"]
    (folder / "meta.json").write_text(json.dumps(meta))
    result = gcn("train", "--resume", folder)
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: there is no checkpoint {folder / 'run.pt'} to go on from; "
        "begin anew: gcn train --images 'my bricks.png'\n"
    )


@pytest.mark.parametrize("config", BOTH)
def test_saving_at_every_moment_changes_no_number(gcn, box, tmp_path, trained, monkeypatch, config):
    saved = []

    def write(path, data):
        saved.append(path)
        atomic_write_bytes(path, data)

    monkeypatch.setattr("gcn_cli.run.checkpoint.atomic_write_bytes", write)
    monkeypatch.setattr("gcn_cli.run.desk.time.monotonic", iter(range(0, 10**6, 100)).__next__)
    result = gcn(*_words(box, tmp_path, "--save-every", "1m40s", config=config))
    assert result.exit_code == 0, result.stderr
    yields = len(_told(trained[config]))
    assert len(saved) == 1 + yields
    assert _equal(tmp_path / "00000-ash", trained[config])


@pytest.mark.parametrize(
    ("words", "saved"),
    [
        ((), 3),
        (("--save-every", "90s"), 2),
        (("--save-every", "30"), 4),
        (("--save-every", "0h0.1m"), 10),
        (("--save-every", "0", "--set", "output.checkpoint_every=4"), 4),
        (("--save-every", "0s"), 2),
    ],
)
def test_checkpoints_come_by_time_and_by_updates(gcn, box, tmp_path, monkeypatch, words, saved):
    """Nine updates of ten seconds each; saved before the first and after the last in any case."""
    from gcn_cli.run.desk import Desk

    now, written = [0.0], []

    def note(self, record):
        now[0] += 10

    def write(path, data):
        written.append(path)
        atomic_write_bytes(path, data)

    monkeypatch.setattr(Desk, "note", note)
    monkeypatch.setattr("gcn_cli.run.desk.time.monotonic", lambda: now[0])
    monkeypatch.setattr("gcn_cli.run.checkpoint.atomic_write_bytes", write)
    result = gcn(*_words(box, tmp_path, "--set", "learning.updates=9", *words))
    assert result.exit_code == 0, result.stderr
    assert len(written) == saved


@pytest.mark.parametrize("text", ["soon", "-1", "0h"])
def test_what_is_no_time_between_checkpoints(gcn, box, tmp_path, text):
    result = gcn(*_words(box, tmp_path / "runs", "--save-every", text))
    assert result.exit_code == 2
    assert f"a time reads like 90s, 55m or 1h30m; '{text}' does not" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_the_clock_of_day_set_back_is_not_noticed(gcn, box, tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", iter(range(10**6, 0, -1000)).__next__)
    result = gcn(*_words(box, tmp_path, "--max-time", "1h", "--save-every", "1h"))
    assert result.exit_code == 0, result.stderr
    seconds = [r["seconds"] for r in read_jsonl(tmp_path / "00000-ash" / "metrics.jsonl")]
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0


@pytest.mark.slow
def test_runs_killed_at_random_moments_are_the_runs_that_never_were(tmp_path):
    command = [sys.executable, "benchmarks/kills.py", "--kills", "3", "--out", str(tmp_path)]
    told = subprocess.run(
        [*command, "--runs", "field", "texture"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("equal bit for bit") == 2


# ---------------------------------------------------------------------------------- signals


@pytest.fixture
def heard():
    """Signals as in a terminal: `nohup` and shells ignore some for what they start."""
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in usual.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("heard")
def test_the_second_signal_kills_unless_it_is_the_same_request(monkeypatch):
    died = []
    monkeypatch.setattr("gcn_cli.cli.signals.signal.raise_signal", died.append)
    now = [0.0]
    monkeypatch.setattr("gcn_cli.cli.signals.time.monotonic", lambda: now[0])
    stop, usual = Stop(), signal.getsignal(signal.SIGTERM)
    with stopping(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal_exit_code == 143
        now[0] = 0.4
        os.kill(os.getpid(), signal.SIGTERM)
        now[0] = 9.0
        os.kill(os.getpid(), signal.SIGHUP)
        assert died == []
        os.kill(os.getpid(), signal.SIGINT)
        assert died == [signal.SIGINT]
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
        assert stop.signal_exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == usual
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


@pytest.mark.usefixtures("heard")
def test_a_closed_terminal_is_a_request_unless_nohup_was_asked_for(monkeypatch):
    monkeypatch.setattr("os.write", _full)  # the terminal is gone
    stop = Stop()
    with stopping(stop):
        os.kill(os.getpid(), signal.SIGHUP)
    assert stop.signal_exit_code == 129
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = Stop()
    with stopping(stop):
        os.kill(os.getpid(), signal.SIGHUP)
    assert stop.signal_exit_code is None


def test_a_signal_before_the_first_update_stops_at_once(gcn, box, tmp_path, monkeypatch, trained):
    from gcn_cli.run.field_course import FieldCourse

    real = FieldCourse.begin

    def begin(self, device):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(self, device)

    with monkeypatch.context() as patch:
        patch.setattr(FieldCourse, "begin", begin)
        result = gcn(*_words(box, tmp_path))
    run = tmp_path / "00000-ash"
    assert result.exit_code == 143
    assert f"stopped after 0 of 6 updates; saved in {run}" in result.stderr
    assert gcn("train", "--resume", run).exit_code == 0
    assert _equal(run, trained["plain"])


def _until(happened):
    deadline = time.monotonic() + 300
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert happened()


@pytest.mark.slow
@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_saves_although_nobody_reads(box, tmp_path, process, number):
    """As in a pipeline, whose other end the same Ctrl-C or closed terminal ends."""
    forever = ("--set", "learning.updates=1000000", "--set", "learning.optimiser.rate=1e-9")
    running = process(*_words(box, tmp_path, *forever))
    for pipe in (running.stdout, running.stderr):
        pipe.close()
    run = tmp_path / "00000-ash"
    _until((run / "metrics.jsonl").exists)
    running.send_signal(number)
    assert running.wait(300) == 128 + number
    assert load_checkpoint(run).state.update == _told(run)[-1]["done"] > 0
    assert not list(run.glob(".*"))


@pytest.mark.slow
@pytest.mark.usefixtures("heard")
def test_a_second_ctrl_c_kills_in_the_midst_of_an_update(box, tmp_path, process):
    endless = ("--set", "learning.steps=100000")
    running = process(*_words(box, tmp_path, *endless))
    run = tmp_path / "00000-ash"
    _until((run / "run.pt").exists)
    running.send_signal(signal.SIGINT)
    time.sleep(0.7)
    assert running.poll() is None
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == -signal.SIGINT
    assert load_checkpoint(run).state.update == 0


# ------------------------------------------------------------------------- two on one folder


def test_a_second_process_is_told_and_changes_nothing(gcn, killed, trained):
    run = killed(2)
    with locked(run):
        before = _contents(run)
        result = gcn("train", "--resume", run, "--set", "learning.updates=9")
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"error: another process ({os.getpid()}) is at work on {run}; wait" in result.stderr
        assert _contents(run) == before
    assert gcn("train", "--resume", run).exit_code == 0
    assert _equal(run, trained["plain"])
    assert not (run / LOCK).exists()


def test_the_lock_of_a_process_that_died_holds_nobody(gcn, killed):
    run = killed(2)
    (run / LOCK).write_text("12345\n")
    assert gcn("train", "--resume", run).exit_code == 0


def test_a_lock_whose_file_was_taken_away_is_taken_anew(tmp_path, monkeypatch):
    import fcntl

    real, raced = fcntl.flock, []

    def flock(file, how):
        real(file, how)
        if not raced:
            raced.append(file)
            (tmp_path / LOCK).unlink()  # by its last holder, between our opening and locking it

    monkeypatch.setattr("fcntl.flock", flock)
    with locked(tmp_path) as held:
        assert held
        assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("where", ["fcntl.flock", "gcn_cli.run.lock.os.open"])
def test_where_there_are_no_locks_a_run_goes_on_without(gcn, killed, monkeypatch, where):
    run = killed(2)

    def no_locks(*_, **__):
        raise OSError(errno.ENOLCK, "no locks")

    def no_file(path, *rest):
        return _full() if str(path).endswith(LOCK) else real(path, *rest)

    real = os.open
    monkeypatch.setattr(where, no_file if where.endswith("open") else no_locks)
    assert gcn("train", "--resume", run).exit_code == 0


# ------------------------------------------------------------------ what lies in the run folder


def test_metrics_edited_by_hand_stop_nobody(gcn, killed, trained):
    run = killed(3, "--set", "output.checkpoint_every=1")
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join([*lines[:2], "a note", '{"gap": 3}', *lines[2:], '{"done": 2, "']))
    result = gcn("train", "--resume", run)
    assert result.exit_code == 0, result.stderr
    assert f"{metrics}: left out 2 lines that no run wrote\n" in result.stderr
    assert _told(run) == _told(trained["plain"])


def test_metrics_that_cannot_be_read_stop_nobody(gcn, killed, trained):
    run = killed(2)
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()
    result = gcn("train", "--resume", run)
    assert result.exit_code == 0, result.stderr
    assert f"{run / 'metrics.jsonl'} cannot be renewed: Is a directory" in result.stderr
    assert _equal(run, trained["plain"])


def test_scratch_of_killed_processes_goes(gcn, killed):
    run = killed(2)
    (run / ".run.0123456789ab.tmp.pt").touch()
    (run / ".mine.png").touch()
    assert gcn("train", "--resume", run).exit_code == 0
    assert [path.name for path in run.glob(".*")] == [".mine.png"]


# --------------------------------------------------------------------------- a disk that refuses


@pytest.mark.parametrize("config", BOTH)
@pytest.mark.parametrize("what", ["append_jsonl", "save_png"])
def test_metrics_and_samples_are_spared_and_told_once(
    gcn, box, tmp_path, trained, monkeypatch, config, what
):
    from gcn_cli.run import desk

    real, name = getattr(desk, what), {"append_jsonl": "metrics.jsonl", "save_png": "samples"}[what]

    def refuse(path, *given):
        return real(path, *given) if path.name == "reals.png" else _full()

    monkeypatch.setattr(desk, what, refuse)
    more = () if config == "texture" else ("--set", "output.grid_every=2")
    result = gcn(*_words(box, tmp_path, *more, config=config))
    run = tmp_path / "00000-ash"
    assert (result.exit_code, result.stdout) == (0, f"{run}\n")
    said = f"ash: {name} cannot be written: No space left on device; learning goes on\n"
    assert result.stderr.count(said) == 1
    assert load_checkpoint(run).fingerprint == load_checkpoint(trained[config]).fingerprint


def test_samples_for_which_memory_is_short_are_spared(gcn, box, tmp_path, monkeypatch):
    def much(*_):
        raise MemoryError

    monkeypatch.setattr("gcn_cli.run.field_course.FieldCourse.pictures", much)
    result = gcn(*_words(box, tmp_path))
    assert result.exit_code == 0
    assert "ash: samples cannot be written: out of memory; learning goes on" in result.stderr


@pytest.mark.parametrize("saves", [0, 1, 3])
def test_a_full_disk_leaves_the_old_checkpoint_whole(
    gcn, box, tmp_path, monkeypatch, trained, saves
):
    left = [saves]
    real = os.fsync

    def sync(file):
        if Path(f"/proc/self/fd/{file}").readlink().suffix == ".pt":
            left[0] -= 1
            if left[0] < 0:
                _full()
        real(file)

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", sync)
        often = ("--set", "output.checkpoint_every=1")
        result = gcn(*_words(box, tmp_path / "runs", *often))
    run = tmp_path / "runs" / "00000-ash"
    assert (result.exit_code, result.stdout) == (1, "")
    said = f"error: cannot write {run / 'run.pt'}: No space left on device\n"
    assert result.stderr.endswith(said)
    if not saves:
        assert not run.exists()  # nothing that only looks like a run
        return
    assert not list(run.glob(".*"))
    assert gcn("train", "--resume", run).exit_code == 0
    assert load_checkpoint(run).fingerprint == load_checkpoint(trained["plain"]).fingerprint


@pytest.mark.parametrize("fault", ["folder gone", "checkpoint gone", "checkpoint a folder"])
def test_what_happens_to_a_run_while_it_runs(gcn, box, tmp_path, monkeypatch, trained, fault):
    from gcn_cli.run.desk import Desk

    run = tmp_path / "00000-ash"
    real = Desk.note

    def note(self, record):
        if record["done"] == 3 and fault == "folder gone":
            shutil.rmtree(run)
        elif record["done"] == 3:
            (run / "run.pt").unlink()
            (run / "run.pt").mkdir() if fault == "checkpoint a folder" else None
        real(self, record)

    monkeypatch.setattr(Desk, "note", note)
    result = gcn(*_words(box, tmp_path))
    if fault == "checkpoint gone":
        assert result.exit_code == 0
        assert _equal(run, trained["plain"])
        return
    why = "Is a directory" if fault == "checkpoint a folder" else "No such file or directory"
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith(f"error: cannot write {run / 'run.pt'}: {why}\n")
    assert run.exists() == (fault != "folder gone")


def test_where_runs_cannot_lie_is_told_before_learning(gcn, box, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("gcn_cli.run.jobs.choose_files", lambda *_: 1 / 0)  # nothing is read
    result = gcn(*_words(box, tmp_path / "file" / "runs"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: {tmp_path / 'file'} is a file, not a folder to write to\n"


@pytest.mark.parametrize("config", BOTH)
def test_memory_that_runs_out_is_told_and_what_was_learned_is_kept(
    gcn, box, tmp_path, monkeypatch, trained, config
):
    from gcn_cli.engine.fast import Engine
    from gcn_cli.texture.paper import learn

    place = {"plain": (learn, "run_langevin"), "texture": (Engine, "reconstruction")}[config]
    real, left = getattr(*place), [{"plain": 2, "texture": 26}[config]]

    def scarce(*given, **named):
        left[0] -= 1
        if left[0] < 0:
            raise MemoryError
        return real(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(*place, scarce)
        result = gcn(*_words(box, tmp_path, "--save-every", "0", config=config))
    run = tmp_path / "00000-ash"
    assert result.exit_code == 2
    assert "error: out of memory; lower " in result.stderr
    done = {"plain": 2, "texture": 25}[config]
    assert load_checkpoint(run).state.update == _told(run)[-1]["done"] == done
    assert gcn("train", "--resume", run).exit_code == 0
    assert _equal(run, trained[config])


def test_an_exemplar_that_vanishes_is_told_and_the_others_are_learned(
    gcn, box, tmp_path, monkeypatch
):
    from gcn_cli.run import jobs

    pictures = Path(shutil.copytree(box / "images", tmp_path / "pictures"))
    real = jobs.choose_files

    def choose(*given):
        found = real(*given)
        (pictures / "bark.png").unlink()
        return found

    monkeypatch.setattr(jobs, "choose_files", choose)
    result = gcn(*_words(box, tmp_path / "runs", "--images", pictures, image="images/ash.png"))
    assert result.exit_code == 1
    assert f"error: {pictures / 'bark.png'}" in result.stderr


# ------------------------------------------------------------------------------ nobody listens


def _shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which $GCN is the command; pipes tell the first code that is not 0."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    gcn = f"{sys.executable} -m gcn_cli"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        env={**environment, "GCN": gcn, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_run_of_which_nobody_reads_goes_on(box, tmp_path, trained):
    words = " ".join(map(str, _words(box, tmp_path)))
    told = _shell(f"$GCN {words} 2>&1 | true")
    assert (told.returncode, told.stderr) == (0, "")
    assert _equal(tmp_path / "00000-ash", trained["plain"])


_GONE = "| true"  # it has ended before anything is written


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (f"$GCN --help {_GONE}", 141, ""),
        ("$GCN --help 2>&- >&-", 0, ""),
        ("$GCN --help > /dev/full", 1, "error: a file or stdout: No space left on device"),
        ("$GCN nothing 2>/dev/full", 2, ""),
        ("$GCN nothing 2>&-", 2, ""),
        pytest.param(f"$GCN config keys {_GONE}", 141, "", marks=pytest.mark.slow),
    ],
)
def test_streams_that_nobody_reads(line, code, said):
    told = _shell(line)
    assert told.returncode == code
    assert told.stderr.rstrip().removesuffix(" (--debug shows where)") == said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        (_GONE, 141, ""),
        (">&-", 2, "error: -o - writes to stdout, and stdout is closed\n"),
        (">/dev/full", 1, "error: a file or stdout: No space left on device"),
    ],
)
def test_a_picture_that_nobody_reads(run, end, code, said):
    told = _shell(f"$GCN synthesize --quiet --ckpt {run()} -o - {end}")
    assert told.returncode == code
    assert told.stderr.startswith(said)
    assert "Exception" not in told.stderr


@pytest.mark.slow
def test_a_report_is_written_before_it_is_told(run, tmp_path):
    report = tmp_path / "report"
    told = _shell(f"$GCN inspect --ckpt {run()} --out {report} {_GONE}")
    assert (told.returncode, told.stderr) == (141, "")
    assert (report / "filters.png").exists()


@pytest.mark.slow
def test_a_disk_quota_that_is_used_up(box, tmp_path):
    words = " ".join(map(str, _words(box, tmp_path / "runs", "--quiet")))
    told = _shell(f"ulimit -f 20; $GCN {words}")
    run = tmp_path / "runs" / "00000-ash"
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == f"error: cannot write {run / 'run.pt'}: File too large\n"
    assert not run.exists()


def test_a_copy_of_a_checkpoint_is_not_gone_on_from(gcn, run):
    """Its folder's own `run.pt` would be, unasked."""
    folder = run("plain")
    copy = folder / "best.pt"
    copy.write_bytes((folder / "run.pt").read_bytes())
    result = gcn("train", "--resume", copy)
    assert result.exit_code == 2
    assert "best.pt is a copy" in result.stderr


def test_a_run_whose_last_samples_are_no_pictures_is_not_complete(gcn, box, tmp_path, monkeypatch):
    def lost(course, state, machine):
        return [torch.full((1, 8, 8), math.nan if course.complete(state) else 9.0)]

    monkeypatch.setattr("gcn_cli.run.field_course.FieldCourse.pictures", lost)
    result = gcn(*_words(box, tmp_path))
    assert result.exit_code == 3
    assert not load_checkpoint(next(tmp_path.glob("*/run.pt"))).complete
