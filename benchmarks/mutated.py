"""Thousands of damaged and hostile files and words, fed to the doors of the library.

    python benchmarks/mutated.py --count 5000 --seed 0 [--out mutated.tsv]

Every case (see `mutants.py`) is opened in a process of its own that is kept warm. What may come of
it is success, or an error of `gcn_cli.errors` in one line; anything else is a fault: another
exception, more time or memory than the bounds, a process that dies, hostile code that runs.
Memory is the growth of the process's peak, measured on Linux. Exit code 1 if there is a fault.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mutants

SECONDS = 10.0
"""Of a processor that a case may take, or six times as long by the clock: others may be at work."""
MEBIBYTES = 1024
"""By which a case may grow the process."""
CONTROLS = {-1: "another exception", -2: "time", -3: "memory", -4: "the process died"}
"""Cases that are faults, to see that each is seen as one."""


class Outcome(NamedTuple):
    """What came of a case: ``told`` is what it raised, ``fault`` why that is not allowed."""

    door: str
    how: str
    told: str
    fault: str
    mebibytes: float
    seconds: float


# ------------------------------------------------------------------------------- the worker


def _open_image(value: str) -> None:
    from gcn_cli.images.files import read_picture, sort_out

    for path in sort_out(value)[0][:3]:
        read_picture(path)


def _open_mask(folder: Path, value: str) -> None:
    from gcn_cli.run.config import resolve
    from gcn_cli.run.jobs import Wish, read_prepared

    read_prepared(resolve(), folder / "real.png", Wish(Path(value)))


def _open_config(value: str) -> None:
    from gcn_cli.run.config import choose

    _plan(choose(value))


def _open_set(value: Sequence[str]) -> None:
    from gcn_cli.run.config import resolve

    _plan(resolve("texture" if value[0] == "texture" else "frame", None, [value[1]]))


def _plan(config: Any) -> None:
    """What learning would do for a small picture."""
    import torch

    from gcn_cli.run.jobs import Job, mean_colour
    from gcn_cli.run.kinds import open_course

    observed = 120 + 30 * torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    open_course(config, Job("noise", observed, mean_colour(observed)))


def _open_checkpoint(value: str) -> None:
    from gcn_cli.run.checkpoint import load_checkpoint
    from gcn_cli.run.jobs import Job
    from gcn_cli.run.kinds import KINDS, open_course

    saved = load_checkpoint(Path(value))
    open_course(saved.config, Job("saved", saved.observed, saved.mean, known=saved.known))
    KINDS[saved.config.kind].artist(saved)


def _read_words(value: str) -> None:
    """A text as everything that the command line reads from texts."""
    from gcn_cli.cli.inpaint import _parse_pad
    from gcn_cli.cli.options import parse_duration
    from gcn_cli.cli.train import _parse_crop
    from gcn_cli.errors import GcnError
    from gcn_cli.run.sampling import parse_seeds, parse_size
    from gcn_cli.run.texture_mixing import parse_part

    refused: list[GcnError] = []
    for read in (parse_size, parse_seeds, parse_duration, _parse_crop, _parse_pad, parse_part):
        try:
            read(value)
        except GcnError as error:
            refused.append(error)
    if refused:
        raise refused[0]


def _run_line(words: Sequence[str]) -> None:
    from typer.testing import CliRunner

    from gcn_cli.cli.app import app
    from gcn_cli.errors import UsageError

    result = CliRunner().invoke(app, list(words), prog_name="gcn")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code == 2 and not result.stdout:
        raise UsageError("of the command line")
    raise RuntimeError(f"exit code {result.exit_code}")


def _door(folder: Path, case: mutants.Case) -> Callable[[], None]:
    doors: dict[str, Callable[[Any], None]] = {
        "image": _open_image,
        "mask": lambda value: _open_mask(folder, value),
        "yaml": _open_config,
        "set": _open_set,
        "checkpoint": _open_checkpoint,
        "size": _read_words,
        "line": _run_line,
    }
    return lambda: doors[case.door](case.value)


def _control(number: int) -> Callable[[], Any]:
    """A fault made on purpose."""
    return {
        -1: lambda: 1 // 0,
        -2: lambda: time.sleep(10**6),
        -3: lambda: len(bytearray(b"x") * ((MEBIBYTES + 64) * 2**20)),
        -4: os.abort,
    }[number]


def _told(work: Callable[[], Any]) -> tuple[str, str]:
    """What a piece of work raises, and whether that is a fault."""
    from gcn_cli.errors import GcnError

    try:
        work()
    except GcnError as error:
        lines = str(error).splitlines()
        return type(error).__name__, "" if len(lines) == 1 else "not one line"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300], "another exception"
    return "read", ""


@contextlib.contextmanager
def _peak() -> Iterator[list[float]]:
    """Growth of the process's memory, MiB, at its peak; 0 where the system does not tell."""
    grown: list[float] = []
    reset = Path("/proc/self/clear_refs")
    before = 0.0
    with contextlib.suppress(OSError):
        reset.write_text("5")
        before = _status("VmRSS")
    yield grown
    grown.append(max(0.0, _status("VmHWM") - before))


def _status(name: str) -> float:
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(x for x in lines if x.startswith(name)).split()[1]) / 1024
    return 0.0


def work(folder: Path, seed: int) -> None:
    """Read numbers of cases from stdin, write an outcome for each; nothing else gets to stdout."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    import torch

    torch.set_num_threads(1)
    canary = folder / "canary"
    for line in sys.stdin:
        number = int(line)
        case = mutants.Case("control", CONTROLS.get(number, ""), None)
        if number >= 0:
            case = mutants.make(folder, seed, number, canary)
        print(json.dumps([case.door, case.how]), file=answers, flush=True)
        with _peak() as grown:
            told, fault = _told(_control(number) if number < 0 else _door(folder, case))
        if canary.exists():
            fault = "code ran"
        print(json.dumps([told, fault, grown[0]]), file=answers, flush=True)


# ------------------------------------------------------------------------------- the parent


def _processor(pid: int) -> float:
    """Seconds of a processor that a process has taken; 0 where the system does not tell."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


class Worker:
    """A process that opens cases one by one, started anew when it dies."""

    def __init__(self, folder: Path, seed: int, seconds: float):
        self._command = [sys.executable, __file__, "--work", str(folder), "--seed", str(seed)]
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._read = b""  # select knows nothing of what a file object holds back

    def open(self, number: int) -> Outcome:
        """What comes of a case."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n".encode())
        self._process.stdin.flush()
        head = self._answer(60.0)
        door, how = head if isinstance(head, list) else ("?", "?")
        started = time.monotonic()
        answer = self._answer(self._seconds)
        seconds = time.monotonic() - started
        if not isinstance(answer, list):
            self.close()
            return Outcome(door, how, "", answer, 0.0, seconds)
        told, fault, grown = answer
        fault = fault or ("memory" if grown > MEBIBYTES else "")
        return Outcome(door, how, told, fault, grown, seconds)

    def _answer(self, seconds: float) -> list[Any] | str:
        """A line of the worker, or why there is none."""
        assert self._process is not None
        assert self._process.stdout is not None
        used, started = _processor(self._process.pid), time.monotonic()
        while b"\n" not in self._read:
            if select.select([self._process.stdout], [], [], 0.5)[0]:
                new = os.read(self._process.stdout.fileno(), 65536)
                if not new:
                    return "the process died"
                self._read += new
                continue
            busy = _processor(self._process.pid) - used
            if busy > seconds or time.monotonic() - started > 6 * seconds:
                return "time"
        line, _, self._read = self._read.partition(b"\n")
        answer: list[Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            with self._process:
                self._process.kill()
            self._process, self._read = None, b""


def survey(
    folder: Path, seed: int, numbers: Sequence[int], seconds: float = SECONDS
) -> list[Outcome]:
    """What comes of all cases; real files are made in ``folder`` first."""
    if not (folder / "bomb.zip").exists():
        mutants.prepare(folder)
    worker = Worker(folder, seed, seconds)
    try:
        outcomes = []
        for number in numbers:
            one = worker.open(number)
            outcomes.append(one)
            if one.fault:
                print(f"{number}: {one.door}, {one.how}: {one.fault} {one.told}", file=sys.stderr)
        return outcomes
    finally:
        worker.close()


def table(outcomes: Sequence[Outcome]) -> str:
    """Counts by door, as a table of Markdown."""
    rows = ["| door | cases | read | refused | faults | most MiB | most s |", "|---|" + "---|" * 6]
    for door in sorted({one.door for one in outcomes}):
        here = [one for one in outcomes if one.door == door]
        read, faults = sum(o.told == "read" for o in here), sum(bool(o.fault) for o in here)
        most, slowest = max(o.mebibytes for o in here), max(o.seconds for o in here)
        rows.append(
            f"| {door} | {len(here)} | {read} | {len(here) - read - faults} | {faults} | "
            f"{most:.0f} | {slowest:.1f} |"
        )
    return "\n".join(rows)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="every case in a line")
    parser.add_argument("--only", type=int, help="one case, in this process, with its traceback")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work is not None:
        work(args.work, args.seed)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if args.only is not None:
            mutants.prepare(folder)
            case = mutants.make(folder, args.seed, args.only, folder / "canary")
            print(str(case)[:500])
            _door(folder, case)()
            return 0
        outcomes = survey(folder, args.seed, range(args.count))
    print(table(outcomes))
    print(
        ", ".join(f"{n} {told}" for told, n in Counter(o.told[:40] for o in outcomes).most_common())
    )
    if args.out is not None:
        lines = ("\t".join(str(x) for x in (k, *one)) for k, one in enumerate(outcomes))
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if any(one.fault for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
