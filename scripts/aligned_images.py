"""Small aligned images out of packages' own data, as PNGs to learn objects from.

Handwritten digits of scikit-learn (8 px), faces of scikit-image (25 px). The packages need not be
imported: `pip install --no-deps scikit-learn scikit-image` is enough.

    python scripts/aligned_images.py digits --label 3 --count 10 --out threes
    python scripts/aligned_images.py faces --count 10 --out faces
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gcn_cli.images.files import save_png


def data_file(package: str, name: str) -> Path:
    """A file that a package ships."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        sys.exit(f"there is no {package} here; see the head of this script")
    return Path(found.submodule_search_locations[0]) / name


def digits(label: int) -> NDArray[np.float64]:
    """Images (N, 8, 8) of one digit, white on black, 0..255."""
    rows = np.loadtxt(data_file("sklearn", "datasets/data/digits.csv.gz"), delimiter=",")
    return rows[rows[:, -1] == label, :-1].reshape(-1, 8, 8) * (255 / 16)


def faces() -> NDArray[np.float64]:
    """Images (100, 25, 25), 0..255; the other hundred of the file are no faces."""
    return np.load(data_file("skimage", "data/lfw_subset.npy"))[:100] * 255.0


def main() -> None:
    """Write the first so many."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("digits", "faces"))
    parser.add_argument("--label", type=int, default=3, choices=range(10))
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    images = digits(args.label) if args.what == "digits" else faces()
    args.out.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images[: args.count]):
        save_png(args.out / f"{number:03d}.png", torch.from_numpy(image)[None].float())


if __name__ == "__main__":
    main()
