"""A contact sheet of runs: exemplar, training chain, two fresh samples.

    python scripts/contact_sheet.py --runs runs.txt --out sheet.png

--runs names a file with one run folder per line; fresh samples are read from RUN/fresh/.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gcn_cli.checkpoint import load_checkpoint
from gcn_cli.core.schedule import latest_chains
from gcn_cli.imaging import labelled_sheet, load_image, resize, save_png


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rows = []
    lines = args.runs.read_text().splitlines()
    for line in sorted(lines, key=lambda name: Path(name).name.partition("-")[2]):
        run = Path(line)
        saved = load_checkpoint(run)
        chain = latest_chains(saved.state)[0] + saved.mean
        fresh = [load_image(p) for p in sorted((run / "fresh").glob("sample-*.png"))]
        pictures = [resize(x, (256, 256)) for x in (saved.observed[0], chain, *fresh)]
        rows.append((run.name.partition("-")[2], pictures))
    save_png(args.out, labelled_sheet(rows, ["exemplar", "training chain", "fresh", "fresh"]))


if __name__ == "__main__":
    main()
