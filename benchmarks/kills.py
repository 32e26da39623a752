"""Is a run that is killed again and again, at any moment, the run that never was?

    python benchmarks/kills.py --kills 50 --out kills [--every 0.2] [--seed 0]

Learns tiny models of both kinds, each once undisturbed and once more while the process is killed
(SIGKILL) at random moments and started again, until it was killed so often and is complete. After
every kill the checkpoint must be readable, and no older than one interval and the update at work.
Of both runs all weights, all the state and all metrics but their seconds must be equal bit for bit.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from gcn_cli.images.files import save_png
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.run.jobs import Job
from gcn_cli.run.kinds import open_course
from gcn_cli.run.lock import LOCK
from gcn_cli.run.rundir import read_jsonl

_TEXTURE = {
    "kind": "texture",
    "layers": [
        {"filters": 16, "size": 4, "stride": 2, "vote": True},
        {"filters": 16, "size": 3, "vote": True},
    ],
    "sizes": {"coarsest": 4},
    "reconstruction": {"updates": 200, "finer_updates": 150, "batch": 1, "crop": 24, "margin": 4},
    "likelihood": {"updates": 20, "finer_updates": 10, "chains": 1, "canvas": 16, "levels": 2},
    "sampler": {"steps": 6, "langevin": 1, "finer_steps": 3},
    "output": {"grid_every": 200},
}
_WIDE = {  # a checkpoint of some megabytes
    **_TEXTURE,
    "layers": [{"filters": 96, "size": 4, "stride": 2}, {"filters": 96, "size": 3, "vote": True}],
    "sizes": {"coarsest": 2},
    "reconstruction": {"updates": 75, "finer_updates": 50, "batch": 1, "crop": 24, "margin": 4},
}
_FIELD = {
    "kind": "field",
    "boundary": "torus",
    "canvas": 32,
    "layers": [{"filters": 8, "size": 4, "stride": 2}] + 2 * [{"filters": 8, "size": 3}],
    "langevin": {"sigma": 20.0, "eps": 6.0},
    "init": {"top_gain": 0.3},
    "learning": {
        "chains": "persistent",
        "count": 2,
        "steps": 10,
        "updates": 80,
        "grow": True,
        "optimiser": {"name": "adam", "rate": 1e-4},
    },
    "sampling": {"start_noise": 1.0},
}
RUNS: dict[str, dict[str, Any]] = {"texture": _TEXTURE, "wide": _WIDE, "field": _FIELD}


_START = 4.0  # seconds in which a process starts, more or less


@dataclass
class Told:
    """What the kills came to; ``lost`` in seconds of learning, ``acts`` where they fell."""

    kills: int = 0
    while_writing: int = 0
    before_a_checkpoint: int = 0
    runs: int = 0
    lost: float = 0.0
    acts: dict[str, int] = field(default_factory=dict)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50, help="in all")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=float, default=0.2, help="seconds between checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=RUNS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(args.seed)
    save_png(args.out / "exemplar.png", _exemplar())
    for number, name in enumerate(args.runs):
        kills = args.kills // len(args.runs) + (number < args.kills % len(args.runs))
        told = disturbed(args.out / name, RUNS[name], kills, args.every, rng)
        print(
            f"{name}: {told.runs} runs, {told.kills} kills "
            f"({', '.join(f'{n} in {act}' for act, n in sorted(told.acts.items()))}; "
            f"{told.while_writing} while a file was written, {told.before_a_checkpoint} before "
            f"the first checkpoint); lost at most {told.lost:.2f} s; equal bit for bit",
            flush=True,
        )


def _exemplar() -> torch.Tensor:
    """A striped picture (3, 64, 64) in grey levels."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    waves = 40 * torch.sin(2 * torch.pi * (x + y) / 8)
    return 120 + waves + 20 * torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))


def disturbed(
    folder: Path, config: dict[str, Any], kills: int, every: float, rng: random.Random
) -> Told:
    """A run left in peace, and others that are killed; raises AssertionError where they differ."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    learn = ["--images", str(folder.parent / "exemplar.png")]
    learn += ["--config", str(folder / "config.yaml")]
    assert _train(*learn, "--out", str(folder / "peace"), "--save-every", "0").wait() == 0
    (peace,) = (folder / "peace").iterdir()
    span = float(read_jsonl(peace / "metrics.jsonl")[-1]["seconds"])
    told = Told()
    while told.kills < kills:
        run = folder / f"war{told.runs}" / peace.name
        words = [*learn, "--out", str(run.parent)]
        while told.kills < kills:
            process = _train(*words, "--save-every", f"{every}s")
            if not _killed(process, run, span, rng):
                break
            told.kills += 1
            words = _after(run, every, told) or words
        if told.kills == kills:
            process = _train(*words, "--save-every", f"{every}s")
        assert process.wait() == 0
        told.runs += 1
        _compare(peace, run)
    return told


def _train(*words: str) -> subprocess.Popen[bytes]:
    """``gcn train`` of one thread."""
    command = [sys.executable, "-m", "gcn_cli", "train", "--quiet", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)


def _killed(process: subprocess.Popen[bytes], run: Path, span: float, rng: random.Random) -> bool:
    """Kill a process: somewhere on its way, or as soon as it writes a file; False: it had ended."""
    if rng.random() < 0.1:
        time.sleep(rng.uniform(0, _START))
    else:
        writing = rng.random() < 0.4
        _wait(process, lambda: _holds(run, process.pid))
        time.sleep(rng.uniform(0, span / 4))
        if writing:
            _wait(process, lambda: bool(list(run.glob(".*.tmp*"))))
    if process.poll() is not None:
        return False
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def _wait(process: subprocess.Popen[bytes], happened: Callable[[], bool]) -> None:
    """Until something happened, or the process ended."""
    while process.poll() is None and not happened():
        time.sleep(5e-4)


def _holds(run: Path, pid: int) -> bool:
    """Whether a process has locked its run folder: from then on it writes there."""
    with contextlib.suppress(OSError):
        return (run / LOCK).read_text() == f"{pid}\n"
    return False


def _after(run: Path, every: float, told: Told) -> list[str] | None:
    """Look at what a kill left; how to go on, or None where it must be begun anew."""
    told.while_writing += bool(list(run.glob(".*.tmp*")))
    if not (run / "run.pt").exists():
        told.before_a_checkpoint += 1
        if run.exists():
            assert _train("--resume", str(run)).wait() == 2  # with a sentence
        shutil.rmtree(run, ignore_errors=True)
        return None
    saved = load_checkpoint(run)
    job = Job(run.name, saved.observed, saved.mean)
    done = open_course(saved.config, job).done(saved.state)
    lines = read_jsonl(run / "metrics.jsonl")
    act = getattr(saved.state, "act", "the paper's updates")
    told.acts[act] = told.acts.get(act, 0) + 1
    lost = [line for line in lines if line["done"] > done]
    before = [line for line in lines if line["done"] == done]
    if lost:
        begun = [line["seconds"] for line in before if line["seconds"] < lost[0]["seconds"]]
        times = [*(begun or [0.0]), *(line["seconds"] for line in lost)]
        told.lost = max(told.lost, times[-1] - times[0])
        longest = max(b - a for a, b in itertools.pairwise(times))
        assert times[-1] - times[0] <= every + 2 * longest, "more than an interval was lost"
    return ["--resume", str(run)]


def _compare(peace: Path, war: Path) -> None:
    """Raise AssertionError where two runs differ in more than time."""
    assert not list(war.glob(".*")), "something was left"
    one, other = (torch.load(run / "run.pt", weights_only=True) for run in (peace, war))
    assert one["complete"]
    assert other["complete"]
    for part in ("model", "state", "observed", "mean"):
        assert same(one[part], other[part]), f"{part} differs"
    assert load_checkpoint(peace).fingerprint == load_checkpoint(war).fingerprint
    figures = [
        [{**line, "seconds": 0} for line in read_jsonl(run / "metrics.jsonl")]
        for run in (peace, war)
    ]
    assert figures[0] == figures[1], "metrics differ"


def same(one: Any, other: Any) -> bool:
    """Whether two checkpoints' parts are equal bit for bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


if __name__ == "__main__":
    main()
