"""Seconds of an update by one process, by one of two threads and by two processes, in one run.

    python benchmarks/bench_ranks.py [--image textures/stones.png] [--batch 4] [--chains 2]
        [--rounds 3]

The default recipe's updates at full size alone. The three ways alternate; medians are printed, of
the clock and of the processor time of the process that needs most of it: where others use the
machine, the latter says what an update would take on cores of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

WAYS = {"1 process, 1 thread": (1, 1), "1 process, 2 threads": (1, 2), "2 processes": (2, 1)}


def measure(image: Path, batch: int, chains: int) -> None:
    """Print, for either act, clock and processor seconds an update; the first yield warms up."""
    from gcn_cli.engine import choose_machine, joined
    from gcn_cli.run.config import choose
    from gcn_cli.run.jobs import load_jobs
    from gcn_cli.run.kinds import open_course

    sets = ["sizes.coarsest=1", "reconstruction.updates=75", "likelihood.updates=3"]
    sets += [f"reconstruction.batch={batch}", f"likelihood.chains={chains}"]
    config = choose("texture", None, sets)
    course = open_course(config, load_jobs(config, image)[0])
    machine = joined(choose_machine("cpu", "fp32"))
    found: dict[str, list[float]] = {}
    before: tuple[str, int, float, float] = ("", 0, 0.0, 0.0)
    for state, told in course.learn(course.begin(machine.device), machine):
        now = (told.act, course.done(state), time.perf_counter(), time.process_time())
        if now[0] == before[0]:
            clock, busy = ((now[k] - before[k]) / (now[1] - before[1]) for k in (2, 3))
            each = machine.ranks.every(partial(float, busy))
            found.setdefault(told.act, []).extend((clock, max(each)))
        before = now
    medians = [statistics.median(x[k::2]) for x in found.values() for k in (0, 1)]
    if machine.ranks.leads:
        sys.stdout.write(json.dumps(medians))


def run(processes: int, threads: int, words: list[str]) -> list[float]:
    """`measure` in processes of its own."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(launcher if processes > 1 else []), __file__, *words, "--measure"]
    told = subprocess.run(
        command,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: list[float] = json.loads(told.stdout)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path, default=Path("textures/stones.png"))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--chains", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.image, given.batch, given.chains)
        return
    words = ["--image", str(given.image), f"--batch={given.batch}", f"--chains={given.chains}"]
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(given.rounds):
        for way, (processes, threads) in WAYS.items():
            found[way].append(run(processes, threads, words))
    print(f"{'':22}{'reconstruction':>18}{'processor':>11}{'likelihood':>14}{'processor':>11}")
    for way, rounds in found.items():
        a, b, c, d = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{way:22}{a:16.3f} s{b:9.3f} s{c:12.2f} s{d:9.2f} s")


if __name__ == "__main__":
    main()
