"""Seconds of an update by one process, by one of two threads and by two processes, in one run.

    python benchmarks/bench_ranks.py [--image textures/stones.png] [--batch 4] [--chains 2]
        [--rounds 3]

The default recipe's updates of either act at full size, as `gcn train --dry-run` times them. The
three ways alternate; medians are printed, of the clock and of processor time, all processes added
up: where others use the machine, only the latter says what sharing itself costs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

WAYS = {"1 process, 1 thread": (1, 1), "1 process, 2 threads": (1, 2), "2 processes": (2, 1)}


def measure(image: Path, batch: int, chains: int) -> tuple[float, float, float]:
    """Seconds of an update of reconstruction and of likelihood; processor seconds in all."""
    from gcn_cli.engine import choose_machine, joined
    from gcn_cli.run import texture_cost
    from gcn_cli.run.config import choose
    from gcn_cli.run.jobs import load_jobs
    from gcn_cli.run.kinds import open_course
    from gcn_cli.run.texture_course import TextureCourse

    sets = ["sizes.coarsest=1", f"reconstruction.batch={batch}", f"likelihood.chains={chains}"]
    config = choose("texture", None, sets)
    course = open_course(config, load_jobs(config, image)[0])
    assert isinstance(course, TextureCourse)
    machine = joined(choose_machine("cpu", "fp32"))
    observed = (course.job.observed - course.job.mean) / course.job.contrast
    before = time.process_time()
    ((first, second),) = texture_cost.update_seconds(course.plan, observed, machine)
    spent = sum(machine.ranks.every(lambda: time.process_time() - before))
    if machine.ranks.leads:
        sys.stdout.write(json.dumps([first, second, spent]))
    return first, second, spent


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
    print(f"{'':22}{'reconstruction':>16}{'likelihood':>12}{'processor':>11}")
    for way, rounds in found.items():
        first, second, spent = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{way:22}{first:14.3f} s{second:10.2f} s{spent:9.1f} s")


if __name__ == "__main__":
    main()
