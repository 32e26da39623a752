"""Models of the left two thirds of exemplars, so that the right third was never seen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from gcn_cli.images.files import load_image


def seen(picture: Tensor) -> Tensor:
    """The part (C, H, W') of a picture (C, H, W) that is learned from."""
    return picture[..., : picture.shape[-1] * 2 // 3]


def unseen(picture: Tensor) -> Tensor:
    """The rest of it."""
    return picture[..., picture.shape[-1] * 2 // 3 :]


def learn(image: Path, folder: Path, preset: str, overrides: Sequence[str] = ()) -> Path:
    """The run below ``folder`` of the part that is seen; what is there is not learned again."""
    folder = folder / image.stem
    if found := sorted(folder.glob("*/run.pt")):
        return found[-1].parent
    whole = load_image(image)
    height, width = seen(whole).shape[-2:]
    words = [sys.executable, "-m", "gcn_cli", "train", "--images", image, "--preset", preset]
    words += ["--crop", f"0,0,{width},{height}", "--out", folder, "--quiet", "--set", "budget=0"]
    words += [word for text in overrides for word in ("--set", text)]
    threads = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    done = subprocess.run(
        [*map(str, words)], capture_output=True, text=True, check=False, env=threads
    )
    if done.returncode:
        raise RuntimeError(f"{image}: {done.stderr.strip().splitlines()[-1]}")
    return Path(done.stdout.strip().splitlines()[-1])
