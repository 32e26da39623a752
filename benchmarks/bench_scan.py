"""Peak memory of reading a scan of 20,000 x 20,000 px: a part of it, and a smaller copy.

    python benchmarks/bench_scan.py [--side 20000] [--json]

The scan, a TIFF of 8 bits in tiles of 512 px, is written first: every px tells its place, so that
what is read can be checked. Each figure is a process of its own: its peak resident memory (MB),
and how much of it came with reading. The largest part is as large as may be held at all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import OpenImageIO as oiio

TILE = 512
CASES = {"crop 2000x2000": "crop=(9001, 7003, 2000, 2000)", "max_side 1024": "max_side=1024"}
LARGEST = {"crop 9400x9400": "crop=(9001, 7003, 9400, 9400)"}
CODE = """
import json, sys, time
from pathlib import Path
from gcn_cli.images.files import read_picture
status = Path("/proc/self/status")
peak = lambda: int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
before, begun = peak(), time.monotonic()
p = read_picture(sys.argv[1], {words})
seconds = time.monotonic() - begun
mean = p.levels.mean((1, 2)).tolist()
told = dict(mean=mean, sides=list(p.levels.shape), seconds=seconds)
print(json.dumps(dict(told, peak_mb=peak(), extra_mb=peak() - before)))
"""


def ramps(side: int) -> tuple[np.ndarray, np.ndarray]:
    """What a place adds to the colours of its column and of its row, (side, 3) each."""
    n = np.arange(side)
    columns = np.stack([n % 251, 0 * n, n // 7 % 2 * 255], -1)
    lines = np.stack([0 * n, n % 241, n // 5 % 2 * 255], -1)
    return columns.astype(np.uint8), lines.astype(np.uint8)


def write(path: Path, side: int) -> None:
    """The scan, band by band."""
    spec = oiio.ImageSpec(side, side, 3, "uint8")
    spec.tile_width = spec.tile_height = TILE
    spec.attribute("compression", "zip")
    out = oiio.ImageOutput.create(str(path))
    if not out.open(str(path), spec):
        raise OSError(out.geterror())
    columns, lines = ramps(side)
    for top in range(0, side, TILE):
        band = columns[None] ^ lines[top : top + TILE, None]
        out.write_tiles(0, side, top, top + len(band), 0, 1, band)
    out.close()
    out.geterror()


def wanted(side: int, words: str) -> np.ndarray:
    """Mean colour of what is asked for."""
    given = words.partition("=")[2]
    columns, lines = ramps(side)
    if words.startswith("crop"):
        x, y, w, h = (int(n) for n in given.strip("()").split(","))
        columns, lines = columns[x : x + w], lines[y : y + h]
    else:
        whole = side // (side // (2 * int(given))) * (side // (2 * int(given)))
        columns, lines = columns[:whole], lines[:whole]
    c, r = columns.mean(0), lines.mean(0)
    return np.array([c[0], r[1], c[2] + r[2] - 2 * c[2] * r[2] / 255])  # the last is a chequer


def measure(path: Path, side: int, words: str) -> dict[str, object]:
    """Figures of a process that reads it so."""
    call = [sys.executable, "-c", CODE.replace("{words}", words), str(path)]
    told = json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout)
    right = np.allclose(told.pop("mean"), wanted(side, words), atol=0.05)
    return {**told, "right": bool(right)}


def main() -> None:
    """Write, measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="where the scan is written; a temporary one")
    parser.add_argument("--json", action="store_true", help="the small cases alone, as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        path = (given.folder or Path(temporary)) / "scan.tif"
        begun = time.monotonic()
        write(path, given.side)
        if given.json:
            print(json.dumps({n: measure(path, given.side, w) for n, w in CASES.items()}))
            return
        print(f"{given.side} px, {path.stat().st_size / 2**20:.0f} MB on disk, written in", end=" ")
        print(f"{time.monotonic() - begun:.0f} s")
        for name, words in (CASES | LARGEST).items():
            one = measure(path, given.side, words)
            print(
                f"{name}: {one['sides']}, peak {one['peak_mb']:.0f} MB, {one['extra_mb']:.0f} MB "
                f"of it for reading, {one['seconds']:.1f} s, {'right' if one['right'] else 'WRONG'}"
            )


if __name__ == "__main__":
    main()
