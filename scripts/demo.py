"""The demo: train on the bundled textures, synthesize, show where the pictures are.

    python scripts/demo.py [--seconds 300] [--out runs/demo]

The default preset, its updates lowered by ``budget`` to what is left of the time: one process per
core, one thread each. How long the whole preset would take is measured first. Where models of all
the textures would be noise, fewer are learned, the clearest first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXTURES = ("brick", "stones", "gravel", "leaves", "terracotta", "grass")
SKETCH = 1 / 8
"""Share of the preset's updates, and so of its time, that a sketch takes to learn."""
BESIDES = 1 / 16
"""What a model takes besides, as a share of that time: start, estimate, pictures, fresh samples."""
SPARE = 0.95
"""Share of the time that is given away: estimates are off by some."""
MOST = 480
"""Seconds of learning a model, at most: the preset's own budget."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="for everything")
    parser.add_argument("--began", type=float, default=time.time(), help="seconds of the epoch")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "demo")
    parser.add_argument("--jobs", type=int, default=cores())
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    print("Measuring this machine", flush=True)
    whole = whole_seconds(ROOT / "textures" / f"{TEXTURES[0]}.png")
    left = args.seconds - (time.time() - args.began)
    names, budget = share_out(left, whole, args.jobs)
    print(f"Training on {', '.join(names)}: {budget} s each, {args.jobs} at a time", flush=True)
    missing = [name for name in TEXTURES if name not in names]
    if missing:
        print(f"Left out, since all would be noise in that time here: {', '.join(missing)}")
        print(f"A sketch of all of them: make demo DEMO_SECONDS={needed(args, whole)}", flush=True)
    with ThreadPoolExecutor(args.jobs) as pool:
        runs = list(pool.map(partial(learn_and_draw, out=args.out, budget=budget), names))
    listed, sheet = args.out / "runs.txt", args.out / "sheet.png"
    listed.write_text("".join(f"{run}\n" for run in runs))
    run(sys.executable, ROOT / "scripts/contact_sheet.py", "--runs", listed, "--out", sheet)
    print(f"Exemplars and fresh samples side by side: {sheet}")


def cores() -> int:
    """How many cores this process may use."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


def whole_seconds(image: Path) -> float:
    """What all of the preset would take here on one thread, measured as `--dry-run` does."""
    import torch

    from gcn_cli.engine import choose_machine
    from gcn_cli.run.config import choose
    from gcn_cli.run.jobs import load_jobs
    from gcn_cli.run.kinds import open_course

    torch.set_num_threads(1)
    config = choose("texture")
    (job,) = load_jobs(config, image)
    return open_course(config, job).estimate(choose_machine()).seconds


def share_out(left: float, whole: float, jobs: int) -> tuple[tuple[str, ...], int]:
    """Which textures to learn, and seconds of learning for each."""
    left, turns = SPARE * left, -(-len(TEXTURES) // jobs)
    possible = int(left / (whole * (SKETCH + BESIDES)))
    turns = max(1, min(turns, possible))
    budget = left / turns - whole * BESIDES
    return TEXTURES[: turns * jobs], int(max(10, min(MOST, budget)))


def needed(args: argparse.Namespace, whole: float) -> int:
    """Seconds, in tens, in which all textures get a sketch; what was spent so far included."""
    turns = -(-len(TEXTURES) // args.jobs)
    spent = time.time() - args.began
    return -(-int(1.1 * (turns * whole * (SKETCH + BESIDES) / SPARE + spent)) // 10) * 10


def learn_and_draw(name: str, out: Path, budget: int) -> str:
    """Train on one texture and draw two samples; the run folder."""
    gcn = (sys.executable, "-m", "gcn_cli")
    image = ROOT / "textures" / f"{name}.png"
    settings = ("--config", "texture", "--set", f"budget={budget}", "--out", out)
    folder = run(*gcn, "train", "--images", image, *settings).strip()
    drawn = ("--size", "256", "--n", "2", "--seed", "1", "-o", Path(folder) / "fresh", "--quiet")
    run(*gcn, "synthesize", "--ckpt", folder, *drawn)
    return folder


def run(*command: object) -> str:
    """A command's stdout; its stderr is shown."""
    words = [str(word) for word in command]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as failed:  # the command has told why
        sys.exit(failed.returncode)
    except KeyboardInterrupt:  # the trainings got it, too, and have saved
        sys.exit(130)
