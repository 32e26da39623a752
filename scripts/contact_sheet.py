"""A contact sheet of runs: exemplar and fresh samples.

    python scripts/contact_sheet.py --runs runs.txt --out sheet.png

--runs names a file with one run folder per line; fresh samples are read from RUN/fresh/.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gcn_cli.images.files import load_image, save_png
from gcn_cli.images.sheets import labelled_sheet, resize
from gcn_cli.run.checkpoint import load_checkpoint


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--most", type=int, default=3, help="fresh samples of each run")
    args = parser.parse_args()
    rows = []
    lines = args.runs.read_text().splitlines()
    for line in sorted(lines, key=lambda name: Path(name).name.partition("-")[2]):
        run = Path(line)
        files = sorted((run / "fresh").glob("sample-*.png"))[: args.most]
        pictures = [load_checkpoint(run).observed[0], *map(load_image, files)]
        rows.append((run.name.partition("-")[2], [resize(x, (256, 256)) for x in pictures]))
    titles = ["exemplar", *["fresh"] * (max(len(pictures) for _, pictures in rows) - 1)]
    save_png(args.out, labelled_sheet(rows, titles))


if __name__ == "__main__":
    main()
