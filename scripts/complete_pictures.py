"""The pictures of docs/complete.md, each drawn by the commands that the page shows.

    python scripts/complete_pictures.py --runs quality --out docs

--runs names the folder that benchmarks/quality.py filled: DIR/0-stones/00000-stones and so on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

ROOT = Path(__file__).resolve().parent.parent
FILLED = ("stones", "terracotta", "brick", "leaves")
TILED = ("stones", "terracotta", "gravel", "grass")
GAP, QUALITY = 6, 88


def gcn(*words: object) -> None:
    """One command."""
    subprocess.run([sys.executable, "-m", "gcn_cli", *map(str, words), "-q"], check=True)


def sheet(rows: list[list[Image.Image]], path: Path) -> None:
    """Pictures in rows, as JPEG."""
    width = max(sum(one.width + GAP for one in row) for row in rows) - GAP
    height = sum(row[0].height + GAP for row in rows) - GAP
    whole, top = Image.new("RGB", (width, height), "white"), 0
    for row in rows:
        left = 0
        for one in row:
            whole.paste(one, (left, top))
            left += one.width + GAP
        top += row[0].height + GAP
    whole.save(path, quality=QUALITY)


def rolled(picture: Image.Image) -> Image.Image:
    """Its seams in the middle."""
    return ImageChops.offset(picture, picture.width // 2, picture.height // 2)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    run = {n: args.runs / f"0-{n}" / f"00000-{n}" for n in {*FILLED, *TILED}}
    exemplar = {n: ROOT / "textures" / f"{n}.png" for n in run}
    examples = ROOT / "examples"
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.png"

        def drawn(*words: object) -> Image.Image:
            gcn(*words, "-o", out, "--overwrite")
            with Image.open(out) as picture:
                return picture.convert("RGB")

        holes, filled, seams, tiles = [], [], [], []
        hole = examples / "hole.png"
        mask = Image.open(hole).convert("L")
        for name in FILLED:
            whole = Image.open(exemplar[name]).convert("RGB")
            holes.append(Image.composite(Image.new("RGB", whole.size, "white"), whole, mask))
            filled.append(drawn("inpaint", exemplar[name], "--mask", hole, "--ckpt", run[name]))
        for name in TILED:
            seams.append(rolled(Image.open(exemplar[name]).convert("RGB")))
            tiles.append(rolled(drawn("seamless", exemplar[name], "--ckpt", run[name])))
        grown = drawn("mix", run["terracotta"], run["stones"], "--map", examples / "ramp.png")
        words = ("--guide", examples / "disc.png", "--size", "384x256")
        guided = drawn("synthesize", "--ckpt", run["stones"], *words)
    sheet([holes, filled], args.out / "complete.jpg")
    sheet([seams, tiles], args.out / "seamless.jpg")
    sheet([[grown, guided]], args.out / "mix.jpg")


if __name__ == "__main__":
    main()
